import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';

const dir = mkdtempSync(join(tmpdir(), 'waybill-named-'));
const at = (name: string): string => join(dir, name);
const { cert, key } = await makeToolCertificate('localhost');

writeFileSync(at('cert.pem'), cert);
writeFileSync(at('key.pem'), key);
writeFileSync(at('text'), 'no PEM at all, but long enough');
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(at('other.pem'), privateKey.export({ format: 'pem', type: 'pkcs8' }));
mkdirSync(at('folder'));

afterAll(() => {
  killRemaining();
  rmSync(dir, { recursive: true });
});

const pair = (first: string, own: string): string =>
  `operator: { socket: ${dir}/s }
signals: { listen: "127.0.0.1:0", tls: { certificate: ${at(first)}, key: ${at(own)} }, transmitters: [{ issuer: "https://s.example.org", audience: a }] }`;
const token = (file: string): string =>
  `operator: { socket: ${dir}/s, listen: "127.0.0.1:0", tokens: { reader: ${at(file)} } }`;

test.each([
  ['a certificate that is none', pair('text', 'key.pem'), `${at('text')} holds no certificate (PEM)`],
  ['a key that is none', pair('cert.pem', 'text'), `${at('text')} holds no private key (PEM`],
  ['a certificate for a key', pair('cert.pem', 'cert.pem'), `${at('cert.pem')} holds no private key (PEM`],
  [
    'the key of another',
    pair('cert.pem', 'other.pem'),
    `the certificate in ${at('cert.pem')} is not of the key in ${at('other.pem')}`,
  ],
  ['a folder for a certificate', pair('folder', 'key.pem'), `${at('folder')} is a folder`],
  ['a folder for a token', token('folder'), `${at('folder')} is a folder`],
])('W1: %s is told with its name, and is no fault', async (_name, sections, expected) => {
  writeFileSync(
    at('waybill.yaml'),
    `version: 1
agent: { name: a }
listen: { outbound: "127.0.0.1:0", metrics: "127.0.0.1:0", health: "127.0.0.1:0" }
ca: { dir: ${dir}/ca, publish: ${dir}/trust }
record: { file: ${dir}/events }
${sections}
`,
  );
  const { code, stderr } = await runWaybill(['run', '--config', at('waybill.yaml')]);
  expect([code, stderr]).toEqual([64, expect.stringContaining(`the sidecar cannot start: ${expected}`)]);
});
