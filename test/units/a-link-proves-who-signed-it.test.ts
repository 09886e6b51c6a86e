import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { expect, test } from 'vitest';
import { formatChain } from '../../proxy/delegation/chain.ts';
import { signLink } from '../../proxy/delegation/link.ts';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openReceiver } from '../fakes/chain-receiver.ts';
import { chainAlong, openHop, root, tool, type Change } from '../fakes/delegation-hops.ts';

const { nowMs, authority, three, honest, expecting, outcome, changed } = await openReceiver();
const [planner, worker, clerk] = three;
const [first, second, third] = honest;

const own = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

test('broken: signed with another key, or by another workload', async () => {
  const rows: [string, string][] = [];
  for (const [index, hop] of three.entries()) {
    const impostor = { ...hop, identity: { ...hop.identity, privateKey: own } };
    const swapped = three.map((one, at) => (at === index ? impostor : one));
    rows.push([`own key at ${index}`, formatChain(chainAlong(swapped, {}, nowMs))]);
    // A member of the trust domain that signs in the name of another.
    const member = {
      ...hop,
      identity: { ...worker.identity, spiffeId: index === 1 ? planner.identity.spiffeId : hop.identity.spiffeId },
    };
    rows.push([
      `member at ${index}`,
      formatChain(
        chainAlong(
          three.map((one, at) => (at === index ? member : one)),
          {},
          nowMs,
        ),
      ),
    ]);
  }
  const stranger = await openHop(await openAuthority('evil.org'), 'clerk');
  const namesake = await openHop(await openAuthority('example.org'), 'clerk');
  rows.push(['foreign trust domain', formatChain(chainAlong([planner, worker, stranger], {}, nowMs))]);
  rows.push(['another authority of the same name', formatChain(chainAlong([planner, worker, namesake], {}, nowMs))]);
  rows.push(['signatures swapped', formatChain([first, second, third.slice(0, -86) + second.slice(-86)])]);
  for (const [name, value] of rows) {
    const jkts = [clerk.jkt, stranger.jkt, namesake.jkt];
    for (const jkt of jkts) expect(outcome(value, expecting(clerk, { presenter: { jkt } })), name).toBe('chain_broken');
  }
});

test('broken: every changed character', () => {
  const value = formatChain(honest);
  for (let at = 0; at < value.length; at += 13) {
    const other = value[at] === 'A' ? 'B' : 'A';
    expect(outcome(value.slice(0, at) + other + value.slice(at + 1)), `character ${at}`).toBe('chain_broken');
  }
  for (const end of [1, 20, 86, 87, 400, 900])
    expect(outcome(value.slice(0, -end)), `cut by ${end}`).toBe('chain_broken');
});

test('broken: over, not begun, or signed with an SVID that is over', async () => {
  const seconds = Math.floor(nowMs / 1000);
  expect(outcome(changed({ 2: { exp: seconds } }))).toBe('chain_broken');
  expect(outcome(changed({ 0: { exp: seconds - 1 }, 1: { exp: seconds - 1 }, 2: { exp: seconds - 1 } }))).toBe(
    'chain_broken',
  );
  expect(outcome(changed({ 1: { iat: seconds + 60 } }))).toBe('chain_broken');
  // A link that proves nothing is not compared with others.
  expect(outcome(changed({ 1: { sub: 'mallory' }, 2: { exp: seconds } }))).toBe('chain_broken');
  expect(outcome(changed({ 1: { iat: seconds + 20 } }))).toBe('ok');
  // Over before it began: no clock of an honest hop writes that.
  for (const iat of [seconds + 20, seconds + 10])
    expect(outcome(changed({ 1: { iat, exp: seconds + 10 }, 2: { exp: seconds + 5 } }))).toBe('chain_broken');
  const brief = await openHop(authority, 'clerk', 5);
  const value = formatChain(chainAlong([planner, worker, brief], {}, nowMs));
  expect(outcome(value, expecting(brief))).toBe('ok');
  // Known by now, and over nonetheless.
  expect(outcome(value, expecting(brief, { nowMs: nowMs + 6000 }))).toBe('chain_broken');
  expect(
    outcome(
      formatChain(chainAlong([planner, worker, brief], {}, nowMs + 6000)),
      expecting(brief, { nowMs: nowMs + 6000 }),
    ),
  ).toBe('chain_broken');
});

test('broken: claims and headers of another form', () => {
  const seconds = Math.floor(nowMs / 1000);
  const may = { resources: [tool], risk: 'write', hops: 0 };
  const changes: Record<string, object> = {
    'no subject': { without: ['sub'] },
    'no issuer of it': { without: ['sub_iss'] },
    'no audience': { without: ['aud'] },
    'no txn': { without: ['txn'] },
    'no purpose': { without: ['purpose'] },
    'no may': { without: ['may'] },
    'no cnf': { without: ['cnf'] },
    'no prev': { without: ['prev'] },
    'no exp': { without: ['exp'] },
    'no iat': { without: ['iat'] },
    'both prev and root': { root },
    'an empty subject': { sub: '' },
    'a list of audiences': { aud: [tool] },
    'a key in full': { cnf: { jwk: {} } },
    'a short thumbprint': { cnf: { jkt: 'x' } },
    'a start of its own': { nbf: seconds },
    'exp as text': { exp: String(seconds + 60) },
    'a fraction': { exp: seconds + 60.5 },
    'prev in hex': { prev: 'ab'.repeat(32) },
    'unknown risk': { may: { ...may, risk: 'none' } },
    'no resource': { may: { ...may, resources: [] } },
    'resource as text': { may: { ...may, resources: tool } },
    'negative hops': { may: { ...may, hops: -1 } },
    'half a hop': { may: { ...may, hops: 0.5 } },
    'no hops': { may: { resources: [tool], risk: 'write' } },
    'a limit that nobody knows': { may: { ...may, amount: 10 } },
    'an inherited risk': { may: { ...may, risk: 'constructor' } },
  };
  for (const [name, change] of Object.entries(changes))
    expect(outcome(changed({ 2: change })), name).toBe('chain_broken');
  // What later versions may add does not break a chain.
  expect(outcome(changed({ 2: { jti: 'x' } as Change }))).toBe('ok');
  const x5c = clerk.identity.chain.map((der) => der.toString('base64'));
  const payload = third.split('.')[1]!;
  const resign = (header: object, hash = 'sha256'): string => {
    const input = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}`;
    const signature = sign(hash, Buffer.from(input), { key: clerk.identity.privateKey, dsaEncoding: 'ieee-p1363' });
    return formatChain([first, second, `${input}.${signature.toString('base64url')}`]);
  };
  const good = { alg: 'ES256', typ: 'waybill-delegation+jwt', x5c };
  expect(outcome(resign(good))).toBe('ok');
  expect(outcome(resign({ ...good, kid: 'x' }))).toBe('ok');
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const headers: Record<string, object> = {
    'another typ': { ...good, typ: 'at+jwt' },
    'no typ': { alg: 'ES256', x5c },
    'no certificate': { alg: good.alg, typ: good.typ },
    'an empty list': { ...good, x5c: [] },
    'a key beside it': { ...good, jwk: publicKey.export({ format: 'jwk' }) },
    'a place to fetch from': { ...good, jku: 'https://evil.example.org' },
    'a URL of certificates': { ...good, x5u: 'https://evil.example.org' },
    crit: { ...good, crit: ['exp'] },
    none: { ...good, alg: 'none' },
    HS256: { ...good, alg: 'HS256' },
    'alg of another curve': { ...good, alg: 'ES384' },
    'alg of another kind': { ...good, alg: 'RS256' },
    EdDSA: { ...good, alg: 'EdDSA' },
    base64url: { ...good, x5c: [clerk.identity.chain[0]!.toString('base64url')] },
    'a line end in it': { ...good, x5c: [`${x5c[0]}\n`] },
    'no text': { ...good, x5c: [1] },
    'certificates of another': { ...good, x5c: worker.identity.chain.map((der) => der.toString('base64')) },
    'too many': { ...good, x5c: Array(5).fill(x5c[0]) },
    'one twice': { ...good, x5c: [...x5c, ...x5c] },
    'a text for a list': { ...good, x5c: x5c[0] },
  };
  for (const [name, header] of Object.entries(headers)) expect(outcome(resign(header)), name).toBe('chain_broken');
  expect(outcome(resign(good, 'sha384'))).toBe('chain_broken');
});

test('links of larger keys are signed with their own algorithm, and none with keys that no SVID has', () => {
  const claims = {
    sub: 'a',
    sub_iss: '',
    aud: tool,
    txn: 't',
    purpose: '',
    may: { resources: [tool], risk: 'read', hops: 0 },
    cnf: { jkt: clerk.jkt },
    root,
    iat: 0,
    exp: 0,
  } as const;
  const algOf = (privateKey: KeyObject): unknown =>
    JSON.parse(Buffer.from(signLink({ ...clerk.identity, privateKey }, claims).split('.')[0]!, 'base64url').toString())
      .alg;
  expect(algOf(own)).toBe('ES256');
  expect(algOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey)).toBe('ES384');
  expect(algOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey)).toBe('ES512');
  expect(algOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)).toBe('RS256');
  expect(() => algOf(generateKeyPairSync('ed25519').privateKey)).toThrow('algorithm');
  expect(() => algOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey)).toThrow('algorithm');
});
