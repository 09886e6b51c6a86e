import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Running, runWaybill } from '../stage/command-line.ts';
import { openStage } from '../stage/way-out-stage.ts';

/** As a laptop in a company has it: another proxy for everything, and programs that read a list of authorities of their own. */
const company = {
  ALL_PROXY: 'socks5h://proxy.corp.test:1080',
  all_proxy: 'socks5h://proxy.corp.test:1080',
  HTTPS_PROXY: 'http://proxy.corp.test:3128',
  PIP_PROXY: 'http://proxy.corp.test:3128',
  // As npm and npx hand on what stands in a .npmrc.
  npm_config_https_proxy: 'http://proxy.corp.test:3128',
  npm_config_noproxy: '.corp.test',
  AWS_CA_BUNDLE: '/etc/corp.pem',
  PIP_CERT: '/etc/corp.pem',
  GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: '/etc/corp.pem',
};
/** Prints variables, and whether the files that they name are there, from another folder than that of the sidecar. */
const show = `cd / && env | grep -E '_(PROXY|proxy|noproxy|CERT|CERTS|CAINFO|BUNDLE|FILE|FILE_PATH)=' | sort
for file in "$NODE_EXTRA_CA_CERTS" "$SSL_CERT_FILE" "$AWS_CA_BUNDLE" "$PIP_CERT"; do test -r "$file" && echo there; done; true`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-led-'));
  // The places are relative to the working directory, as the settings allow.
  writeFileSync(
    join(folder, 'waybill.yaml'),
    `version: 1
agent: { name: agent, owner: tests }
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: operator.sock }
ca: { dir: ca, publish: trust }
record: { file: events.jsonl }
`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

const led = { env: { PATH: process.env['PATH'], ...company } };

test('run -- COMMAND: no proxy and no trust that was there before outranks that of the sidecar, in whatever folder', async () => {
  const { code, stdout } = await runWaybill(['run', '--', 'sh', '-c', show], { ...led, cwd: folder });
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ALL_PROXY=http:\/\/127\.0\.0\.1:\d+$/m);
  expect(stdout).toMatch(/^all_proxy=http:\/\/127\.0\.0\.1:\d+$/m);
  expect(stdout).toMatch(/^npm_config_https_proxy=http:\/\/127\.0\.0\.1:\d+\nnpm_config_noproxy=$/m);
  expect(stdout).not.toContain('corp');
  expect(stdout).toContain(`AWS_CA_BUNDLE=${folder}/trust/bundle.pem\n`);
  expect(stdout).toContain(`GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=${folder}/trust/bundle.pem\n`);
  expect(stdout.match(/^there$/gm)).toHaveLength(4);
  // What nobody had set is not set either.
  expect(stdout).not.toContain('CARGO');
});

test('run -- COMMAND: of a way out that listens everywhere it is told the address of this machine', async () => {
  const everywhere = join(folder, 'everywhere.yaml');
  const text = readFileSync(join(folder, 'waybill.yaml'), 'utf8');
  writeFileSync(everywhere, text.replace('outbound: "127.0.0.1:0"', 'outbound: "0.0.0.0:0"'));
  const { stdout } = await runWaybill(['run', '--config', everywhere, '--', 'sh', '-c', 'echo $HTTP_PROXY'], {
    cwd: folder,
  });
  expect(stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n/);
});

test('tasks open: the printed line does the same for the shell that runs it', async () => {
  const stage = await openStage({ tools: { crm: { port: 1 } } });
  try {
    const shell = join(stage.dir, 'shell');
    mkdirSync(shell);
    writeFileSync(join(stage.dir, 'user-token'), await stage.service.subjectToken({ sub: 'alice' }));
    // The same configuration, with a relative place that leads to the same folder.
    const text = readFileSync(join(stage.dir, 'waybill.yaml'), 'utf8');
    writeFileSync(join(stage.dir, 'relative.yaml'), text.replace(`"${stage.dir}/trust"`, '"trust"'));
    const order = ['tasks', 'open', '--subject-token-file', 'user-token', '--config', 'relative.yaml'];
    const opened = await runWaybill(order, { ...led, cwd: stage.dir });
    expect(opened.code).toBe(0);
    const { stdout } = await new Running('sh', ['-c', `${opened.stdout}${show}`], led).finished;
    expect(stdout).toMatch(/^ALL_PROXY=http:\/\/task:wbh_\S+@127\.0\.0\.1:\d+$/m);
    expect(stdout).not.toContain('corp');
    expect(stdout.match(/^there$/gm)).toHaveLength(4);
  } finally {
    await stage.close();
  }
});
