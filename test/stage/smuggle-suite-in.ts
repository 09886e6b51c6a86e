import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openTlsWrapper } from '../fakes/tls-wrapper.ts';
import { freePort } from './free-port.ts';
import { removeFolder } from './sidecar-process.ts';
import { judgeRows, type Verdict } from './smuggle-suite.ts';
import { certificateOf } from './tls-caller.ts';
import { openDomain, openWayIn } from './way-in-stage.ts';

const host = 'upstream.test';

/**
 * Sends rows to a way in, raw, and returns the runner's verdicts. The rows have no credentials of their own, so they come as a workload
 * that is known by its certificate: what is refused, is refused for how it is written.
 */
export async function runRowsIn(rows: readonly string[], limitMs: number): Promise<Verdict[]> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-suites-'));
  const [authority, upstream] = [await openDomain(), await freePort()];
  const aimedAt = ['/smuggled-canary', '/evil', '/bad_path'].map((path) => `call.path.startsWith("${path}")`);
  const stage = await openWayIn({
    authority,
    origin: `https://${host}`,
    inbound: {
      accept: [{ trust_domain: authority.trustDomain, proof: 'mtls' }],
      program: 'tool',
      present: 'headers',
      forward_to: `http://127.0.0.1:${upstream}`,
    },
    sections: {
      rules: [{ name: 'aimed-at', effect: 'deny', when: aimedAt.join(' || ') }],
      tasks: { linger: '0s' },
    },
  });
  const client = certificateOf(await authority.issueX509('spiffe://example.org/runner', 3600));
  const wrapper = await openTlsWrapper(stage.to.address(), client);
  try {
    return await judgeRows('reverse', { proxy: wrapper.address, upstream, dir }, rows.map(fitToOrigin), limitMs);
  } finally {
    await wrapper.close();
    await stage.close();
    removeFolder(dir);
  }
}

/** A row that must pass gets our Host; where it names another target, or has no Host, it may also be refused. */
function fitToOrigin(line: string): string {
  const row = JSON.parse(line) as { b64: string; expect: string };
  if (row.expect !== 'accept') return line;
  const text = Buffer.from(row.b64, 'base64').toString('latin1');
  const names = /^host:[ \t]*[^\r\n]*/im;
  const fitted = text.replace(names, `Host: ${host}`);
  const isOurs = names.test(text) && /^[A-Z]+ \/[^ ]* HTTP\/1\.1\r\n/.test(text);
  return JSON.stringify({
    ...row,
    b64: Buffer.from(fitted, 'latin1').toString('base64'),
    expect: isOurs ? 'accept' : 'safe',
  });
}
