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
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { replaceFile } from './whole-file.ts';

export const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
export const dayMs = 86_400_000;

/** What signs the leaves of a pod. */
export interface Authority {
  readonly pem: string;
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

/** Its two files. */
interface Pair {
  readonly keyFile: string;
  readonly certificateFile: string;
}

/**
 * Reads the authority that is kept in a folder, or makes one there.
 * @throws the system's error, or an Error with a sentence for the operator where what is there cannot be used: nobody trusts a new one
 * before it was published, so damage is told and not mended.
 */
export async function loadAuthority(dir: string, nowMs: number): Promise<Authority> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const pair: Pair = { keyFile: join(dir, 'ca.key'), certificateFile: join(dir, 'ca.pem') };
  const { keyFile, certificateFile } = pair;
  if (existsSync(keyFile) && existsSync(certificateFile)) {
    const key = readKey(pair);
    const { pem, validTo } = readCertificate(pair, key);
    if (Date.parse(validTo) > nowMs + dayMs) {
      chmodSync(keyFile, 0o600);
      return authorityOf(pem, key);
    }
  }
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const pem = await signAuthority(key, nowMs);
  replaceFile(keyFile, pemOf(key), 0o600);
  replaceFile(certificateFile, pem, 0o644);
  return authorityOf(pem, key);
}

export function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

function readKey({ keyFile, certificateFile }: Pair): KeyObject {
  const text = readFileSync(keyFile, 'utf8');
  const key = read(() => createPrivateKey(text));
  if (key?.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw unusable(`${keyFile} cannot be read as the key (EC, P-256) of ${certificateFile}`);
  return key;
}

function readCertificate({ keyFile, certificateFile }: Pair, key: KeyObject): { pem: string; validTo: string } {
  const pem = readFileSync(certificateFile, 'utf8').trim();
  // Read by both: what only one of them takes would be a fault later.
  const both = read(() => ({ certificate: new NodeCertificate(pem), issuer: new X509Certificate(pem) }));
  if (both?.certificate.ca !== true)
    throw unusable(`${certificateFile} cannot be read as the certificate of a CA with the key ${keyFile}`);
  // No agent takes a leaf that such a key signs, and nothing here would tell why.
  if (!both.certificate.checkPrivateKey(key))
    throw unusable(`${certificateFile} is the certificate of another key than ${keyFile}`);
  return { pem, validTo: both.certificate.validTo };
}

/** Undefined for what cannot be parsed. What the parser says of it could quote the key. */
function read<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

function unusable(what: string): Error {
  return new Error(`${what}; restore both from a copy, or remove both: then they are made anew`);
}

async function authorityOf(pem: string, key: KeyObject): Promise<Authority> {
  return { pem, certificate: new X509Certificate(pem), key: await importKey(key) };
}

async function importKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, true, ['sign']);
}

async function signAuthority(key: KeyObject, nowMs: number): Promise<string> {
  const privateKey = await importKey(key);
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
