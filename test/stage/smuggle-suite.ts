import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './free-port.ts';
import { removeFolder, startSidecar } from './sidecar-process.ts';
import { makeToolCertificate } from './tool-certificate.ts';

/** The suites beside the repository, with their runner; absent on most machines. */
const suitesDir = join(import.meta.dirname, '..', '..', '..', 'shared', 'suites');
export const hasSuites = existsSync(join(suitesDir, 'tools', 'smuggle-run.mjs'));

/** How the runner speaks to the way out. */
export type Mode = 'forward' | 'connect' | 'tls';
export const modes: readonly Mode[] = ['forward', 'connect', 'tls'];

/** Verdict on one row; the words are in the suites' README. */
export interface Verdict {
  readonly id: string;
  readonly expect: 'accept' | 'reject' | 'safe';
  readonly verdict: string;
  readonly why: string;
  readonly pass: boolean;
}

/** Rows of a suite; `every` takes each n-th of them. */
export function readRows(suite: string, every = 1): string[] {
  const rows = readFileSync(join(suitesDir, suite, 'dev.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  return rows.filter((_row, at) => at % every === 0);
}

/**
 * Sends rows through a sidecar of their own to the runner's upstream, raw, and returns the runner's verdicts. The tool has no token; the
 * rules allow all but the paths that an attack aims at.
 */
export async function runRows(mode: Mode, rows: readonly string[], limitMs: number): Promise<Verdict[]> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-suites-'));
  const upstream = await freePort();
  const { ca, cert, key } = await makeToolCertificate('upstream.test');
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir, name), content);
    return join(dir, name);
  };
  const tool = {
    match: { host: 'upstream.test' },
    dial: `127.0.0.1:${upstream}`,
    tls: { ca: file('tool-ca.pem', ca) },
  };
  const aimedAt = ['/smuggled-canary', '/evil', '/bad_path'].map((path) => `call.path.startsWith("${path}")`);
  const rules = [
    { name: 'all', effect: 'allow', when: 'true' },
    { name: 'aimed-at', effect: 'deny', when: aimedAt.join(' || ') },
  ];
  const sidecar = await startSidecar(`tools: ${JSON.stringify({ upstream: tool })}\nrules: ${JSON.stringify(rules)}`, {
    dir,
  });
  try {
    const secrets = ['--ca', sidecar.caFile, '--cert', file('tool.pem', cert), '--key', file('tool.key', key)];
    return await judgeRows(mode, { proxy: sidecar.addresses.outbound, upstream, dir }, rows, limitMs, secrets);
  } finally {
    await sidecar.stop();
    removeFolder(dir);
  }
}

/** Runs the runner over rows. It is the upstream at that port; its files go to the folder. */
export async function judgeRows(
  mode: Mode | 'reverse',
  at: { readonly proxy: string; readonly upstream: number; readonly dir: string },
  rows: readonly string[],
  limitMs: number,
  more: readonly string[] = [],
): Promise<Verdict[]> {
  const [out, corpus] = [join(at.dir, 'verdicts.jsonl'), join(at.dir, 'rows.jsonl')];
  writeFileSync(corpus, rows.join('\n'));
  const places = ['--proxy', at.proxy, '--upstream', String(at.upstream), '--out', out, '--mode', mode];
  const args = [join(suitesDir, 'tools', 'smuggle-run.mjs'), '--name', 'waybill', ...places, ...more, corpus];
  await promisify(execFile)(process.execPath, args, { timeout: limitMs });
  return readFileSync(out, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Verdict);
}
