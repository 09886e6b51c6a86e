import 'reflect-metadata';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate as NodeCertificate,
} from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { makeFile, replaceFile } from './whole-file.ts';

export const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
export const dayMs = 86_400_000;

/** What signs the leaves of a pod. */
export interface Authority {
  readonly pem: string;
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
}

/** How often a certificate is made that is not there, or not good, the next moment. */
const maxTries = 5;

/** Its two files. */
interface Pair {
  readonly keyFile: string;
  readonly certificateFile: string;
}

/**
 * Reads the authority that is kept in a folder, or makes one there. Sidecars that do so at once end with one: the key that is there first
 * is everybody's, and is never replaced (where the file system has links), so whatever certificate each of them holds, an agent that trusts one
 * of these trusts all.
 * @throws the system's error, or an Error with a sentence for the operator where what is there cannot be used: nobody trusts a new one
 * before it was published, so damage is told and not mended.
 */
export async function loadAuthority(dir: string, nowMs: number): Promise<Authority> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const pair: Pair = { keyFile: join(dir, 'ca.key'), certificateFile: join(dir, 'ca.pem') };
  const key = readKey(pair, claimKey(pair));
  for (let left = maxTries; left > 0; left -= 1) {
    const kept = readCertificate(pair, key);
    if (kept !== undefined && Date.parse(kept.validTo) > nowMs + dayMs) return authorityOf(kept.pem, key);
    const pem = await signAuthority(key, nowMs);
    // Read again in either case: a neighbour may have been first, or last.
    if (kept === undefined) makeFile(pair.certificateFile, pem, 0o644);
    else replaceFile(pair.certificateFile, pem, 0o644);
  }
  throw unusable(`${pair.certificateFile} leads nowhere, or is taken away all the time`);
}

/** Judges what is kept in a folder as a start does, and makes nothing. @throws as `loadAuthority`. */
export function checkAuthority(dir: string): void {
  const pair: Pair = { keyFile: join(dir, 'ca.key'), certificateFile: join(dir, 'ca.pem') };
  if (existsSync(pair.keyFile)) readCertificate(pair, readKey(pair, readFileSync(pair.keyFile, 'utf8')));
}

/** The text of the key that is there; made where none is. */
function claimKey({ keyFile, certificateFile }: Pair): string {
  // Looked for first: a neighbour makes it last, and then it is not left over.
  const isLeft = existsSync(certificateFile);
  if (existsSync(keyFile)) chmodSync(keyFile, 0o600);
  else {
    // No key fits it. Removed before there is one: whoever is killed between the two leaves no pair that does not belong together.
    if (isLeft) rmSync(certificateFile, { force: true });
    makeFile(keyFile, pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey), 0o600);
  }
  return readFileSync(keyFile, 'utf8');
}

export function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

function readKey({ keyFile, certificateFile }: Pair, text: string): KeyObject {
  const key = read(() => createPrivateKey(text));
  if (key?.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw unusable(`${keyFile} cannot be read as the key (EC, P-256) of ${certificateFile}`);
  return key;
}

/** Undefined where none is there. */
function readCertificate(
  { keyFile, certificateFile }: Pair,
  key: KeyObject,
): { readonly pem: string; readonly validTo: string } | undefined {
  const pem = readIfThere(certificateFile)?.trim();
  if (pem === undefined) return undefined;
  // Read by both: what only one of them takes would be a fault later.
  const both = read(() => ({ certificate: new NodeCertificate(pem), issuer: new X509Certificate(pem) }));
  if (both?.certificate.ca !== true)
    throw unusable(`${certificateFile} cannot be read as the certificate of a CA with the key ${keyFile}`);
  // No agent takes a leaf that such a key signs, and nothing here would tell why.
  if (!both.certificate.checkPrivateKey(key))
    throw unusable(`${certificateFile} is the certificate of another key than ${keyFile}`);
  return { pem, validTo: both.certificate.validTo };
}

/** A neighbour may take it away at any moment, as one that is left over. */
function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
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
  const digest = createHash('sha256').update(createPublicKey(key).export({ type: 'spki', format: 'der' }));
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: randomBytes(16).toString('hex'),
    // Of the key: a leaf that names one certificate of this key as its issuer is found to be good by every other.
    name: `CN=Waybill pod CA ${digest.digest('hex').slice(0, 8)}`,
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
