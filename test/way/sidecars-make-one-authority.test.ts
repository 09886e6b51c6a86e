import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { connect } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running } from '../stage/command-line.ts';

const rounds = 6;
const together = 4;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'waybill-one-ca-'));
});
afterEach(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

const read = (path: string): string => readFileSync(join(folder, path), 'utf8').trim();

function startAll(): readonly Running[] {
  return Array.from({ length: together }, (_, at) => {
    const config = join(folder, `waybill-${at}.yaml`);
    writeFileSync(
      config,
      `version: 1
agent: { name: agent, owner: tests }
identity: none
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
operator: { socket: ${folder}/operator-${at}.sock, revocations: ${folder}/revocations.json }
ca: { dir: ${folder}/ca, publish: ${folder}/trust-${at} }
record: { file: ${folder}/events-${at}.jsonl }
tools: { crm: { match: { host: crm.test }, dial: "127.0.0.1:9" } }
rules: [{ name: all, effect: allow, when: "true" }]
`,
    );
    return new Running(process.execPath, [launcher, 'run', '--config', config]);
  });
}

/** What a sidecar shows in a tunnel to a listed tool: whether an agent that trusts `ca` takes it, and the authority that signed. */
async function showTls(outbound: string, ca: string): Promise<{ error: Error | undefined; authority: string }> {
  const [host = '', port = ''] = outbound.split(':');
  const raw = connect(Number(port), host);
  raw.write('CONNECT crm.test:443 HTTP/1.1\r\nHost: crm.test:443\r\n\r\n');
  await once(raw, 'data');
  const socket: TLSSocket = connectTls({ socket: raw, servername: 'crm.test', ca, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { authorizationError: error } = socket;
  const authority = socket.getPeerCertificate(true).issuerCertificate.raw;
  socket.destroy();
  return { error, authority: new X509Certificate(authority).fingerprint256 };
}

/**
 * All start at once in the folder as it is; what is published by any of them is good at every one.
 * @param isExact whether all have one certificate, and not only one key.
 */
async function startAndCompare(round: string, isExact = true): Promise<void> {
  const running = startAll();
  const ready = await Promise.all(running.map((one) => one.ready()));
  const published = running.map((_, at) => read(`trust-${at}/ca.pem`));
  const shown = await Promise.all(
    ready.flatMap(({ addresses }) => published.map((pem) => showTls(addresses['outbound'] ?? '', pem))),
  );
  expect(
    shown.map(({ error }) => error ?? undefined),
    round,
  ).toEqual(shown.map(() => undefined));
  const kept = new X509Certificate(read('ca/ca.pem'));
  expect(kept.checkPrivateKey(createPrivateKey(read('ca/ca.key'))), round).toBe(true);
  if (isExact) {
    expect(published, round).toEqual(published.map(() => read('ca/ca.pem')));
    const authorities = shown.map(({ authority }) => authority);
    expect(authorities, round).toEqual(shown.map(() => kept.fingerprint256));
  }
  expect(readdirSync(join(folder, 'ca')).toSorted(), round).toEqual(['ca.key', 'ca.pem']);
  for (const one of running) one.child.kill('SIGTERM');
  for (const one of running) expect(await one.finished).toMatchObject({ code: 0 });
}

test(`${together} sidecars that make one ca.dir at once serve TLS by one authority`, { timeout: 120_000 }, async () => {
  for (let round = 0; round < rounds; round += 1) {
    await startAndCompare(`round ${round}`);
    rmSync(join(folder, 'ca'), { recursive: true });
  }
});

test('so they do where a crash left the key alone, or somebody removed it', { timeout: 120_000 }, async () => {
  await startAndCompare('fresh');
  for (const lost of ['ca.pem', 'ca.key', 'ca.key']) {
    rmSync(join(folder, 'ca', lost));
    // Who takes the certificate without key away may take that of a neighbour with it: another one of the same key comes.
    await startAndCompare(`without ${lost}`, lost === 'ca.pem');
  }
});
