import { createHmac } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeJwt } from 'jose';
import { expect, test } from 'vitest';
import { ProofFault, readDpopProof, verifyDpopProof } from '../../proxy/proofs/dpop-check.ts';
import { Claims } from '../../proxy/replay/claim.ts';
import { MemoryLedger } from '../../proxy/replay/ledgers/memory.ts';
import { ServerNonces } from '../../proxy/replay/nonces.ts';
import { PresenterShares } from '../../proxy/replay/presenter-shares.ts';
import { realWorld } from '../../proxy/world.ts';
import { encode, forgeProof, makeCallerKey, sha256, type CallerKey } from '../fakes/proof-forge.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'rfc9449.json');

interface Vectors {
  readonly jkt: string;
  readonly ath: string;
  readonly proofs: readonly { name: string; proof: string; method: string; url: string; verifyAt: number }[];
  readonly mutations: readonly { case: string; expect: string }[];
}

function readVectors(): Vectors | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Vectors) : undefined;
}

/** A resource with a frozen clock: what the way in does with the header of one request, in its order. */
class Resource {
  readonly nowMs: number;
  readonly #jkt: string;
  readonly #url: URL;
  readonly #method: string;
  readonly #ath: string;
  readonly nonces = new ServerNonces(Buffer.alloc(32, 1));
  demandNonce = false;
  readonly #spent = new Claims(
    new MemoryLedger(realWorld([]), 100),
    new PresenterShares(realWorld([]), { perPresenter: 100, horizonMs: 70_000 }),
  );

  constructor(request: { method: string; url: string; verifyAt: number }, ath: string, jkt: string) {
    this.nowMs = request.verifyAt * 1000;
    this.#url = new URL(request.url);
    this.#method = request.method;
    this.#ath = ath;
    this.#jkt = jkt;
  }

  /** `accept`, or the check that failed. */
  receive(header: string): string {
    const { nowMs } = this;
    try {
      const read = readDpopProof(header);
      if (read.jkt !== this.#jkt) return 'jkt';
      const proof = verifyDpopProof(read, {
        method: this.#method,
        origin: this.#url.origin,
        path: this.#url.pathname,
        ath: this.#ath,
        nowMs,
        maxAgeMs: 60_000,
        futureMs: 5000,
      });
      const thing = { kind: 'dpop' as const, owner: proof.jkt, id: proof.jti, expiresAtMs: nowMs + 65_000 };
      if (this.demandNonce && this.nonces.judge(proof.nonce, nowMs) !== 'good') return 'use_dpop_nonce';
      const { said } = this.#spent.claim([{ thing, presenter: proof.jkt }], nowMs);
      return said === 'claimed' ? 'accept' : 'replay';
    } catch (error) {
      return error instanceof ProofFault ? error.check : String(error);
    }
  }
}

/** One mutation: proofs that all have to end in the expected check. */
type Build = (made: { base: Claimed; key: CallerKey; resource: Resource; published: string }) => readonly string[];
type Claimed = Readonly<Record<string, unknown>> & { readonly htu: string; readonly iat: number };

function without(base: Claimed, name: string): object {
  return Object.fromEntries(Object.entries(base).filter(([member]) => member !== name));
}

const builds: Readonly<Record<string, Build>> = {
  'not a JWT': ({ published }) => ['', 'abc', 'a.b', `${published}.x`, `${published}=`, ` ${published}`, '{}'],
  'typ absent or JWT': ({ base, key }) => [undefined, 'JWT', 'at+jwt', ''].map((typ) => forgeProof(key, base, { typ })),
  'alg none': ({ base, key }) => [forgeProof(key, base, { alg: 'none' }), forgeProof(key, base, { alg: 'None' })],
  'alg HS256': ({ base, key }) => {
    const input = `${encode(JSON.stringify({ typ: 'dpop+jwt', alg: 'HS256', jwk: key.jwk }))}.${encode(JSON.stringify(base))}`;
    return [`${input}.${createHmac('sha256', JSON.stringify(key.jwk)).update(input).digest('base64url')}`];
  },
  'alg not in server set': ({ base, key }) => [
    forgeProof(makeCallerKey('ES512'), base),
    forgeProof({ ...makeCallerKey('RS256'), alg: 'RS512' }, base),
    forgeProof(key, base, { alg: 'ES256K' }),
  ],
  'jwk missing': ({ base, key }) => [undefined, null, 'x', []].map((jwk) => forgeProof(key, base, { jwk })),
  'jwk carries d (private)': ({ base, key }) => [
    forgeProof(key, base, { jwk: key.privateKey.export({ format: 'jwk' }) }),
    forgeProof(key, base, { jwk: { ...key.jwk, d: '' } }),
  ],
  'jwk kty oct': ({ base, key }) => [forgeProof(key, base, { jwk: { kty: 'oct', k: 'AAAA' } })],
  'signature byte flipped': ({ published, base, key }) =>
    [published, forgeProof(key, base)].map((proof) => {
      const [header, payload, signature = ''] = proof.split('.');
      const bytes = Buffer.from(signature, 'base64url');
      bytes[5]! ^= 1;
      return `${header}.${payload}.${bytes.toString('base64url')}`;
    }),
  'signed by other key': ({ base, key }) => [forgeProof(makeCallerKey(), base, { jwk: key.jwk })],
  'htm lower-case or different': ({ base, key }) =>
    ['get', 'POST', '', 'GET '].map((htm) => forgeProof(key, { ...base, htm })),
  'htu other host': ({ base, key }) =>
    ['resource.example.org.evil', 'evil', 'u@resource.example.org', 'resource.example.org:444'].map((host) =>
      forgeProof(key, { ...base, htu: base.htu.replace('resource.example.org', host) }),
    ),
  'htu other scheme': ({ base, key }) =>
    ['http', 'wss', 'x'].map((scheme) => forgeProof(key, { ...base, htu: base.htu.replace('https', scheme) })),
  'htu other path': ({ base, key }) =>
    ['/', 's', '/..', '%2f'].map((more) => forgeProof(key, { ...base, htu: `${base.htu}${more}` })),
  'htu with query (compare ignores query and fragment of the request; a proof htu must have neither)': ({
    base,
    key,
  }) => ['?', '?a=b', '#', '#f'].map((more) => forgeProof(key, { ...base, htu: `${base.htu}${more}` })),
  'htu default port / case / dot-segments variants (accept after RFC 3986 6.2.2-6.2.3 normalisation)': ({
    base,
    key,
  }) =>
    [
      'https://resource.example.org:443/protectedresource',
      'HTTPS://Resource.EXAMPLE.org/protectedresource',
      'https://resource.example.org/a/../protectedresource',
      'https://resource.example.org/%70rotected%72esource',
    ].map((htu, index) => forgeProof(key, { ...base, htu, jti: `variant ${index}` })),
  'jti missing': ({ base, key }) => [
    forgeProof(key, without(base, 'jti')),
    ...['', 7, null, 'x'.repeat(257), 'ü'.repeat(129)].map((jti) => forgeProof(key, { ...base, jti })),
    ...['htm', 'htu', 'iat'].map((name) => forgeProof(key, without(base, name))),
    ...['1562262618', 1562262618.5, -1, null].map((iat) => forgeProof(key, { ...base, iat })),
  ],
  'jti seen before for this htu in window': ({ base, key, resource }) => {
    const proof = forgeProof(key, { ...base, jti: 'once' });
    expect(resource.receive(proof)).toBe('accept');
    return [proof, forgeProof(key, { ...base, jti: 'once', iat: base.iat - 1 })];
  },
  'iat too old': ({ base, key }) => [forgeProof(key, { ...base, iat: base.iat - 61 })],
  'iat in the future beyond skew': ({ base, key }) => [forgeProof(key, { ...base, iat: base.iat + 6 })],
  'nonce required but absent': ({ base, key, resource }) => {
    resource.demandNonce = true;
    return [forgeProof(key, base)];
  },
  'nonce stale or foreign': ({ base, key, resource }) => {
    resource.demandNonce = true;
    const good = resource.nonces.current(resource.nowMs - 60_000);
    expect(resource.receive(forgeProof(key, { ...base, jti: 'with nonce', nonce: good }))).toBe('accept');
    const stale = resource.nonces.current(resource.nowMs - 120_000);
    const foreign = new ServerNonces(Buffer.alloc(32, 2)).current(resource.nowMs);
    return [stale, foreign, 'x'].map((nonce) => forgeProof(key, { ...base, nonce }));
  },
  'ath missing at resource': ({ base, key }) => [forgeProof(key, without(base, 'ath'))],
  'ath of another token': ({ base, key }) => [forgeProof(key, { ...base, ath: sha256('another') })],
  'token cnf.jkt differs from proof key': ({ base }) => [forgeProof(makeCallerKey(), base)],
  'crit header unknown': ({ base, key }) => [
    forgeProof(key, base, { crit: ['x'], x: 1 }),
    forgeProof(key, base, { crit: [] }),
  ],
};

/** What is settled before this room is asked: how many headers there are, and whether scheme and token fit. */
const elsewhere = [
  'no DPoP header',
  'two DPoP headers',
  'DPoP-bound token sent as Bearer',
  'Bearer-only token sent with scheme DPoP',
];
/** The strict reading refuses a `crit` as it refuses all that it cannot read. */
const names: Readonly<Record<string, string>> = { crit: 'malformed' };

test('the published proof of a request to a resource is accepted once, and the one without a token is not', ({
  skip,
}) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const [atTokenEndpoint, atResource] = vectors.proofs;
  const resource = new Resource(atResource!, vectors.ath, vectors.jkt);
  expect(resource.receive(atResource!.proof)).toBe('accept');
  expect(resource.receive(atResource!.proof)).toBe('replay');
  expect(new Resource(atTokenEndpoint!, vectors.ath, vectors.jkt).receive(atTokenEndpoint!.proof)).toBe('ath');
});

test('each mutation of the published proof fails at the check that is named for it', ({ skip }) => {
  const vectors = readVectors();
  if (vectors === undefined) {
    skip('vectors not present');
    return;
  }
  const request = vectors.proofs[1]!;
  const base = decodeJwt(request.proof) as unknown as Claimed;
  const key = makeCallerKey();
  const { jkt } = readDpopProof(forgeProof(key, base));
  const said: Record<string, string[]> = {};
  const expected: Record<string, string[]> = {};
  for (const mutation of vectors.mutations.filter((one) => !elsewhere.includes(one.case))) {
    const resource = new Resource(request, vectors.ath, jkt);
    const proofs = builds[mutation.case]!({ base, key, resource, published: request.proof });
    const isPublished = (proof: string): boolean => proof.startsWith(request.proof.split('.', 1)[0]!);
    const published = new Resource(request, vectors.ath, vectors.jkt);
    said[mutation.case] = proofs.map((proof) => (isPublished(proof) ? published : resource).receive(proof));
    expected[mutation.case] = proofs.map(() => names[mutation.expect] ?? mutation.expect);
  }
  expect(said).toEqual(expected);
  expect(Object.keys(said).length + elsewhere.length).toBe(vectors.mutations.length);
});
