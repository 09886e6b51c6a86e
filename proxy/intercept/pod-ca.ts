import 'reflect-metadata';
import {
  createPrivateKey,
  generateKeyPairSync,
  KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate as NodeCertificate,
} from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { createSecureContext, type SecureContext } from 'node:tls';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { publishTrust } from './published-trust.ts';
import { replaceFile } from './whole-file.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;
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
  const authority = await loadOrMake(caDir, now());
  publishTrust(caPublish, authority.pem);
  const leafKeys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const leafKeyPem = pemOf(KeyObject.from(leafKeys.privateKey));
  const ticketKeys = randomBytes(48);
  const leaves = new Map<string, { context: Promise<SecureContext>; renewAt: number }>();
  const mint = async (host: string): Promise<SecureContext> => {
    const leaf = await signLeaf(authority, leafKeys.publicKey, host, now());
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
      const entry =
        known !== undefined && known.renewAt > now() ? known : { context: mint(host), renewAt: now() + leafLifeMs / 2 };
      leaves.set(host, entry);
      // The names are the agent's choice: bounded.
      if (leaves.size > maxLeaves) leaves.delete(leaves.keys().next().value ?? host);
      return entry.context;
    },
  };
}

interface Authority {
  readonly pem: string;
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

async function loadOrMake(dir: string, nowMs: number): Promise<Authority> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const keyFile = join(dir, 'ca.key');
  const certificateFile = join(dir, 'ca.pem');
  if (existsSync(keyFile) && existsSync(certificateFile)) {
    const pem = readFileSync(certificateFile, 'utf8').trim();
    if (Date.parse(new NodeCertificate(pem).validTo) > nowMs + dayMs) {
      chmodSync(keyFile, 0o600);
      return authorityOf(pem, readFileSync(keyFile, 'utf8'));
    }
  }
  const keyPem = pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  const pem = await signAuthority(keyPem, nowMs);
  replaceFile(keyFile, keyPem, 0o600);
  replaceFile(certificateFile, pem, 0o644);
  return authorityOf(pem, keyPem);
}

async function authorityOf(pem: string, keyPem: string): Promise<Authority> {
  return { pem, certificate: new X509Certificate(pem), key: await importKey(keyPem) };
}

async function importKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, true, ['sign']);
}

async function signAuthority(keyPem: string, nowMs: number): Promise<string> {
  const privateKey = await importKey(keyPem);
  const jwk = await webcrypto.subtle.exportKey('jwk', privateKey);
  const publicJwk = { kty: jwk.kty ?? 'EC', crv: jwk.crv ?? 'P-256', x: jwk.x ?? '', y: jwk.y ?? '' };
  const publicKey = await webcrypto.subtle.importKey('jwk', publicJwk, algorithm, true, ['verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: randomBytes(16).toString('hex'),
    name: `CN=Waybill pod CA ${randomBytes(4).toString('hex')}`,
    notBefore: new Date(nowMs - 300_000),
    notAfter: new Date(nowMs + 365 * dayMs),
    signingAlgorithm: algorithm,
    keys: { privateKey, publicKey },
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return certificate.toString('pem');
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

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}
