import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';

let dir: string;
let sidecar: SidecarProcess | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'waybill-open-'));
});
afterEach(async () => {
  await sidecar?.kill();
  sidecar = undefined;
  removeFolder(dir);
});

/** What a sidecar with these listeners tells of itself at its start: to who reads its log, its record, its metrics. */
async function toldOf(outbound: string, operator: string, hasToken: boolean) {
  const token = join(dir, 'token');
  writeFileSync(token, 'reader-token-0123456789', { mode: 0o600 });
  const tokens = hasToken ? `, tokens: { reader: "${token}" }` : '';
  sidecar = await startSidecar(
    `listen: { outbound: "${outbound}", inbound: "0.0.0.0:0", metrics: "0.0.0.0:0", health: "0.0.0.0:0" }
operator: { socket: "${dir}/operator.sock", listen: "${operator}"${tokens} }`,
    { dir },
  );
  const port = sidecar.addresses.metrics.split(':').at(-1);
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return {
    log: sidecar
      .output()
      .split('\n')
      .filter((line) => line.includes('"msg":"unsafe setting"'))
      .map((line) => (JSON.parse(line) as { setting: string }).setting),
    record: sidecar
      .events()
      .filter(({ event }) => event === 'unsafe')
      .map(({ setting }) => setting),
    metrics: [...metrics.matchAll(/^waybill_unsafe_settings\{setting="(?<setting>[^"]+)"\} 1$/gm)].map(
      ({ groups }) => groups?.['setting'],
    ),
  };
}

describe('W9: what other machines may reach and is not for them is told like every unsafe setting', () => {
  const both = ['listen.outbound', 'operator.listen'];

  test.each([
    ['both', '0.0.0.0:0', '0.0.0.0:0', true, both],
    ['the way out', '0.0.0.0:0', '127.0.0.1:0', true, ['listen.outbound']],
    ['the operator’s port', '127.0.0.1:0', '0.0.0.0:0', true, ['operator.listen']],
    ['not a port that is never opened', '127.0.0.1:0', '0.0.0.0:0', false, []],
    ['nothing on loopback', '127.0.0.1:0', '127.0.0.2:0', true, []],
  ])('%s', async (_name, outbound, operator, hasToken, expected) => {
    const told = await toldOf(outbound, operator, hasToken);
    expect(told).toEqual({ log: expected, record: expected, metrics: expected });
  });
});
