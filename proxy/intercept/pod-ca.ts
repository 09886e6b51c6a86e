import 'reflect-metadata';
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { algorithm, dayMs, loadAuthority, pemOf, type Authority } from './pod-authority.ts';
import { publishTrust } from './published-trust.ts';

const leafLifeMs = dayMs;
const maxLeaves = 512;

/** The pod's own certificate authority: TLS of listed tools is terminated with leaves that it signs. */
export interface PodCa {
  /** Certificate of the authority, PEM. */
  readonly certificate: string;
  /** A TLS context whose leaf names this host (DNS name or IP address). Kept, least recently used out first. */
  contextFor(host: string): Promise<SecureContext>;
}

/** Absolute paths: of what only the sidecar may read, and of what its agent is to trust. */
interface PodCaFolders {
  readonly caDir: string;
  readonly caPublish: string;
}

/**
 * Opens the authority of a pod, making it on the first start. `ca.key` is 0600 in a folder that only the sidecar mounts; it is kept
 * so that a restarted sidecar is still trusted. `ca.pem` and `bundle.pem` (the system's roots and ours) go to the published folder.
 */
export async function openPodCa({ caDir, caPublish }: PodCaFolders, now: () => number): Promise<PodCa> {
  const authority = await loadAuthority(caDir, now());
  publishTrust(caPublish, authority.pem);
  const leafKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const leafKeyPem = pemOf(KeyObject.from(leafKeys.privateKey));
  const ticketKeys = randomBytes(48);
  const leaves = new Map<string, { context: Promise<SecureContext>; mintedAt: number }>();
  const mint = async (host: string, mintedAt: number): Promise<SecureContext> => {
    const leaf = await signLeaf(authority, leafKeys.publicKey, host, mintedAt);
    return createSecureContext({
      key: leafKeyPem,
      cert: `${leaf}\n${authority.pem}`,
      minVersion: 'TLSv1.2',
      ticketKeys,
    });
  };
  return {
    certificate: authority.pem,
    contextFor(host) {
      const known = leaves.get(host);
      leaves.delete(host);
      const mintedAt = now();
      // One of a clock that was ahead is not good yet.
      const isGood = known !== undefined && known.mintedAt <= mintedAt && mintedAt < known.mintedAt + leafLifeMs / 2;
      const entry = isGood ? known : { context: mint(host, mintedAt), mintedAt };
      leaves.set(host, entry);
      // The names are the agent's choice: bounded.
      if (leaves.size > maxLeaves) leaves.delete(leaves.keys().next().value ?? host);
      return entry.context;
    },
  };
}

async function signLeaf(
  authority: Authority,
  publicKey: webcrypto.CryptoKey,
  host: string,
  nowMs: number,
): Promise<string> {
  const leaf = await X509CertificateGenerator.create({
    serialNumber: randomBytes(16).toString('hex'),
    subject: 'CN=waybill',
    issuer: authority.certificate.subject,
    notBefore: new Date(nowMs - 300_000),
    notAfter: new Date(nowMs + leafLifeMs),
    signingAlgorithm: algorithm,
    publicKey,
    signingKey: authority.key,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension([{ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }], true),
      await AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey),
    ],
  });
  return leaf.toString('pem');
}
