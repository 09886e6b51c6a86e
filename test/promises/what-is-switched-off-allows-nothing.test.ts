import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-off-'));
const file = join(dir, 'waybill.yaml');

afterAll(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

const begin = `version: 1
agent: { name: a }
ca: { dir: ${dir}/ca, publish: ${dir}/trust }
operator: { socket: ${dir}/s }
record: { file: ${dir}/events }
listen: { outbound: 127.0.0.1:0, metrics: 127.0.0.1:0, health: 127.0.0.1:0 }
`;
const service = `token_services: { s: { issuer: "https://s.example.org", client_auth: client_secret_basic, client_id: a, client_secret_file: ${dir}/k } }`;
const bearer = (more: string): string => `${begin}${service}
tools: { t: { match: { host: t.example.org }, token: { from: s, audience: t }, ${more} } }
`;
const keyed = (more: string): string => `${begin}
tools: { t: { match: { host: t.example.org }, secret: { file: ${dir}/k, in: header }, ${more} } }
`;
const standing = 'purposes: { tidy: { tools: [t], risk: read } }\ntasks: { standing: { purpose: tidy, tools: [t] } }\n';

test.each([
  ['a token without proof, for payments', bearer('risk: payment, unsafe_bearer: false'), /tools\.t\.risk: .*needs/],
  ['a static key, for exports', keyed('risk: export, unsafe_bearer: false'), /tools\.t\.risk: .*needs/],
  [
    'a standing task that may more than its purpose',
    `${keyed('risk: write, on_behalf_of: agent')}${standing}`,
    /tasks\.standing\.tools\[0\]: the purpose of the standing task admits risk read at most; tool `t` is write/,
  ],
  ['a fleet without a store', `${begin}fleet: {}\n`, /fleet: needs `store`/],
])('W9: %s', async (_name, text, expected) => {
  writeFileSync(file, text);
  for (const command of ['validate', 'run']) {
    const { code, stderr } = await runWaybill([command, '--config', file]);
    expect([code, stderr]).toEqual([64, expect.stringMatching(expected)]);
  }
});

test('switched on, or within its purpose, it is good', async () => {
  const within = `${keyed('risk: write, on_behalf_of: agent')}${standing.replace('read', 'write')}`;
  for (const text of [bearer('risk: payment, unsafe_bearer: true'), within]) {
    writeFileSync(file, text);
    expect((await runWaybill(['validate', '--config', file])).code).toBe(0);
  }
});
