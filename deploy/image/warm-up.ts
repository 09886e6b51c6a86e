/**
 * Fills the compile cache of the image: `node deploy/image/warm-up.ts FOLDER` runs the bundle in FOLDER as the image will run it, by the
 * same user and with the same flags, since Node.js keeps a cache for each and finds none of another. A sidecar with a Workload API is
 * started and stopped, so that gRPC is in the cache too.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('usage: node deploy/image/warm-up.ts FOLDER');
const waybill = join(folder, 'waybill');
const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'cache') };
const own = mkdtempSync(join(tmpdir(), 'warm-up-'));
const config = join(own, 'waybill.yaml');
// Nobody answers at that socket; the sidecar listens all the same and says that it is not ready.
writeFileSync(
  config,
  `version: 1
agent: { name: warm-up, purpose: start }
identity: { workload_api: 'unix://${own}/none.sock' }
tools: { tool: { match: { host: tool.example.org } } }
rules: [{ name: all, effect: allow, when: 'call.tool == "tool" && call.path.startsWith("/")' }]
listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' }
ca: { dir: '${own}/ca', publish: '${own}/trust' }
operator: { socket: '${own}/operator.sock' }
record: { file: '${own}/events.jsonl' }
`,
);
for (const args of [['validate', '--config', config], ['tasks', 'list', '--socket', `${own}/none.sock`], ['health']])
  spawnSync(waybill, args, { cwd: own, env, stdio: 'ignore' });
await runOnce();
rmSync(own, { recursive: true });

async function runOnce(): Promise<void> {
  const sidecar = spawn(waybill, ['run', '--config', config], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  for await (const chunk of sidecar.stderr.setEncoding('utf8')) {
    log += String(chunk);
    if (log.includes('"msg":"ready"')) sidecar.kill('SIGTERM');
  }
  if (!log.includes('"msg":"ready"')) throw new Error(log);
}
