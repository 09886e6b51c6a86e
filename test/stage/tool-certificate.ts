import 'reflect-metadata';
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  BasicConstraintsExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type Extension,
} from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A certificate of a tool, and the authority that signed it; all PEM. */
export interface ToolCertificate {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Makes an authority of its own and one leaf for these hosts (DNS names or IP addresses). */
export async function makeToolCertificate(...hosts: string[]): Promise<ToolCertificate> {
  const authority = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const leaf = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const ca = await X509CertificateGenerator.createSelfSigned({
    ...serialAndLife(),
    name: 'CN=tool authority',
    signingAlgorithm: algorithm,
    keys: authority,
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  const names: Extension = new SubjectAlternativeNameExtension(
    hosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }) as const),
  );
  const certificate = await X509CertificateGenerator.create({
    ...serialAndLife(),
    subject: 'CN=tool',
    issuer: ca.subject,
    signingAlgorithm: algorithm,
    publicKey: leaf.publicKey,
    signingKey: authority.privateKey,
    extensions: [names],
  });
  return {
    ca: ca.toString('pem'),
    cert: certificate.toString('pem'),
    key: KeyObject.from(leaf.privateKey).export({ type: 'pkcs8', format: 'pem' }),
  };
}

function serialAndLife() {
  const now = Date.now();
  return {
    serialNumber: randomBytes(8).toString('hex'),
    notBefore: new Date(now - 60_000),
    notAfter: new Date(now + 3_600_000),
  };
}
