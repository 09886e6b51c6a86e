import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readBounded } from './bounded-file.ts';
import { readPemCertificates } from './bundle-document.ts';
import { parseJwtBundle, type JwtAuthority } from './bundles.ts';
import { MalformedAnswer } from './identity-unavailable.ts';
import type { X509SvidMessage } from './service-definition.ts';
import { SpiffeId } from './spiffe-id.ts';
import { isObject, parseMembers } from './strict-members.ts';

/** What a folder of SVIDs holds at one moment. */
export interface SvidFolder {
  /** Undefined where there are JWT-SVIDs only. */
  readonly x509: X509SvidMessage | undefined;
  /** DER certificates by trust domain. */
  readonly authorities: ReadonlyMap<string, readonly Buffer[]>;
  /** By trust domain; undefined where there is no JWT bundle. */
  readonly jwtAuthorities: ReadonlyMap<string, readonly JwtAuthority[]> | undefined;
  /** Compact JWS. */
  readonly tokens: readonly string[];
  /** Whether users other than the owner may read the key. */
  readonly keyIsShared: boolean;
}

/** Names of the files of an X.509-SVID: those of cert-manager's csi-driver-spiffe, and the usual ones of spiffe-helper. */
const layouts = [
  { certificate: 'tls.crt', key: 'tls.key', bundle: 'ca.crt' },
  { certificate: 'svid.pem', key: 'svid_key.pem', bundle: 'svid_bundle.pem' },
] as const;
/** spiffe-helper writes one or the other; the first that is there counts. */
const jwtBundles = ['jwt_bundle.json', 'bundle.json'] as const;
const known: ReadonlySet<string> = new Set([
  ...layouts.flatMap(({ certificate, key, bundle }) => [certificate, key, bundle]),
  ...jwtBundles,
]);
const maxTokens = 64;
const maxTokenBytes = 16 * 1024;
const maxBytes = 1024 * 1024;

/** One file of an SVID cannot be read, or holds something else; `cause` says which. */
export class FileFault extends Error {
  override readonly name = 'FileFault';
  readonly file: string;

  constructor(file: string, cause: unknown) {
    super('a file of an SVID cannot be taken', { cause });
    this.file = file;
  }
}

/** Reads one file by its name in the folder. Rejects with FileFault. */
type ReadPart = <Part>(name: string, parse: (bytes: Buffer) => Part, limit?: number) => Promise<Part>;

/** There is no SVID in the folder, or no folder. */
export class NoSvid extends MalformedAnswer {
  /** Of the system, where it gave no folder. */
  readonly code: string | undefined;

  constructor(code?: string) {
    super('the folder holds no SVID');
    this.code = code;
  }
}

/** The files of a folder that belong to an SVID, sorted; none where there is no folder. JWT-SVIDs are those with `.token` at their end. */
export async function listSvidFiles(folder: string): Promise<readonly string[]> {
  try {
    return (await listNames(folder)).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

async function listNames(folder: string): Promise<readonly string[]> {
  const names = (await readdir(folder)).toSorted();
  const tokens = names.filter((name) => name.endsWith('.token')).slice(0, maxTokens);
  return [...names.filter((name) => known.has(name)), ...tokens];
}

/** The same, where a folder that is not there holds nothing. Rejects where it is there and cannot be read. */
async function findNames(folder: string): Promise<ReadonlySet<string>> {
  try {
    return new Set(await listNames(folder));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw new NoSvid(error.code);
    throw error;
  }
}

/**
 * Reads a folder. What is half-written does not fit together, and is an error as a whole: certificate and key are compared by whoever
 * takes the result. Throws MalformedAnswer where the files do not make an SVID, FileFault for one of them, or the error of the operating
 * system for the folder.
 */
export async function readSvidFolder(folder: string): Promise<SvidFolder> {
  const names = await findNames(folder);
  const layout = layouts.find(({ certificate }) => names.has(certificate));
  const tokenNames = [...names].filter((name) => name.endsWith('.token'));
  if (layout === undefined && tokenNames.length === 0) throw new NoSvid();
  const read: ReadPart = async (name, parse, limit = maxBytes) => {
    const file = join(folder, name);
    try {
      return parse(await readBounded(file, limit));
    } catch (error) {
      throw new FileFault(file, error);
    }
  };
  const jwtBundle = jwtBundles.find((name) => names.has(name));
  const tokens = await Promise.all(
    tokenNames.map(async (name) => read(name, (bytes) => bytes.toString('latin1').trim(), maxTokenBytes)),
  );
  const x509 = layout === undefined ? undefined : await readX509(layout, read);
  const trustDomain = x509 === undefined ? undefined : SpiffeId.parse(x509.message.spiffe_id).trustDomain;
  return {
    x509: x509?.message,
    authorities: x509 === undefined ? new Map() : groupByDomain(x509.authorities, trustDomain ?? ''),
    jwtAuthorities:
      jwtBundle === undefined ? undefined : await read(jwtBundle, (bytes) => readJwtBundles(bytes, trustDomain)),
    tokens,
    keyIsShared: layout !== undefined && ((await stat(join(folder, layout.key))).mode & 0o077) !== 0,
  };
}

async function readX509(
  { certificate, key, bundle }: (typeof layouts)[number],
  read: ReadPart,
): Promise<{ message: X509SvidMessage; authorities: readonly Buffer[] }> {
  const chain = await read(certificate, (bytes) => readPemCertificates(bytes.toString('latin1')));
  const authorities = await read(bundle, (bytes) => readPemCertificates(bytes.toString('latin1')));
  const message = {
    spiffe_id: idOf(chain[0]),
    x509_svid: Buffer.concat(chain),
    x509_svid_key: await read(key, (bytes) => readKey(bytes.toString('latin1'))),
    bundle: Buffer.concat(authorities),
    hint: '',
  };
  return { message, authorities };
}

/** Only the text of the one key: the same file may hold certificates too. */
function readKey(text: string): Buffer {
  const block = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[^-]+-----END \1-----/.exec(text)?.[0];
  try {
    return createPrivateKey(block ?? '').export({ type: 'pkcs8', format: 'der' });
  } catch {
    // The library's own error could quote what it read.
    throw new MalformedAnswer('the key of an X509-SVID cannot be parsed');
  }
}

/** The one URI name of a certificate; empty where there are none or several. */
function idOf(der: Buffer | undefined): string {
  const names = der === undefined ? '' : (new X509Certificate(der).subjectAltName ?? '');
  const uris = names.split(', ').filter((name) => name.startsWith('URI:'));
  return uris.length === 1 ? (uris[0]?.slice(4) ?? '') : '';
}

/** An authority that is named for a trust domain is that domain's, one that is not named at all is ours: spiffe-helper puts all into one file. */
function groupByDomain(authorities: readonly Buffer[], own: string): ReadonlyMap<string, readonly Buffer[]> {
  const groups = new Map<string, Buffer[]>([[own, []]]);
  for (const der of authorities) {
    const name = /^spiffe:\/\/([a-z0-9._-]+)$/.exec(idOf(der))?.[1] ?? own;
    const group = groups.get(name) ?? [];
    groups.set(name, group);
    group.push(der);
  }
  return groups;
}

/** A JWKS of our own domain, or, as spiffe-helper writes it, base64 of one for each domain. */
function readJwtBundles(bytes: Buffer, own: string | undefined): ReadonlyMap<string, readonly JwtAuthority[]> {
  const members = parseMembers(bytes);
  if (members === undefined) throw new MalformedAnswer('a JWT bundle is not a JSON object');
  if (Array.isArray(members['keys'])) return new Map([[own ?? '', parseJwtBundle(bytes.toString('utf8'))]]);
  return new Map(
    Object.entries(members).map(([name, value]) => {
      const text = isObject(value) ? JSON.stringify(value) : Buffer.from(String(value), 'base64').toString('utf8');
      return [name, parseJwtBundle(text)];
    }),
  );
}
