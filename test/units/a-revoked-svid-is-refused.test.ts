import { expect, test } from 'vitest';
import { MalformedAnswer } from '../../proxy/spiffe/identity-unavailable.ts';
import { RevocationList } from '../../proxy/spiffe/revocation-list.ts';
import { checkX509Path, InvalidSvidPath } from '../../proxy/spiffe/x509-path.ts';
import { checkPeer } from '../../proxy/verify/peer.ts';
import { der, extension, mintAuthority, mintLeaf, usages, type Minted } from '../fakes/certificate-mint.ts';
import { mintList, mintListDer } from '../fakes/revocation-mint.ts';

const root = await mintAuthority(undefined);
const intermediate = await mintAuthority(root);
const namesake = await mintAuthority(undefined, { subject: root.subject });
const leaf = await mintLeaf(root);
const neighbour = await mintLeaf(root);
const deep = await mintLeaf(intermediate);
const hour = 3_600_000;

function reasonOf(
  chain: readonly Minted[],
  revocations: readonly RevocationList[],
  nowMs = Date.now(),
  anchor: Minted = root,
): string {
  try {
    const path = checkX509Path(
      chain.map((one) => one.der),
      () => ({ authorities: [anchor.der], revocations }),
      nowMs,
    );
    return `ok, known ${path.revocationKnownUntilMs === Infinity ? 'for ever' : 'for a time'}`;
  } catch (error) {
    if (error instanceof InvalidSvidPath) return error.reason;
    throw error;
  }
}

test('a certificate that a list of its authority names is refused, and its neighbours are not', async () => {
  const list = await mintList(root, [leaf]);
  expect(reasonOf([leaf], [list])).toBe('revoked');
  expect(reasonOf([neighbour], [list])).toBe('ok, known for a time');
  expect(reasonOf([leaf], [])).toBe('ok, known for ever');
  expect(reasonOf([leaf], [await mintList(root, [])])).toBe('ok, known for a time');
});

test('a revoked intermediate takes what it issued with it, and an intermediate revokes its own', async () => {
  expect(reasonOf([deep, intermediate], [await mintList(root, [intermediate])])).toBe('revoked');
  expect(reasonOf([deep, intermediate], [await mintList(intermediate, [deep])])).toBe('revoked');
  expect(reasonOf([deep, intermediate], [await mintList(intermediate, [leaf])])).toBe('ok, known for a time');
});

test('a list counts for the authority that signed it, by name and by key', async () => {
  const otherName = await mintList(root, [leaf], { issuer: 'CN=somebody' });
  for (const list of [await mintList(namesake, [leaf]), await mintList(intermediate, [leaf]), otherName]) {
    expect(reasonOf([leaf], [list])).toBe('ok, known for ever');
  }
  const tampered = await mintListDer(root, [leaf]);
  tampered[tampered.length - 1] = (tampered.at(-1) ?? 0) ^ 1;
  expect(reasonOf([leaf], [RevocationList.parse(tampered)])).toBe('ok, known for ever');
  expect(reasonOf([leaf], [await mintList(root, [leaf], { hash: 'SHA-1' })])).toBe('ok, known for ever');
});

test('an authority whose lists are all out of date, or too early, lets nobody in', async () => {
  const now = Date.now();
  const old = await mintList(root, [], { thisUpdate: now - 2 * hour, nextUpdate: now - 1000 });
  const oldNaming = await mintList(root, [leaf], { thisUpdate: now - 2 * hour, nextUpdate: now - 1000 });
  const early = await mintList(root, [], { thisUpdate: now + hour, nextUpdate: now + 2 * hour });
  const good = await mintList(root, []);
  expect(reasonOf([leaf], [old])).toBe('revocation_unknown');
  expect(reasonOf([leaf], [early])).toBe('revocation_unknown');
  expect(reasonOf([leaf], [oldNaming])).toBe('revoked');
  // Beside one that is in force an old one says nothing more: what it named may have been let go again.
  expect(reasonOf([leaf], [oldNaming, good])).toBe('ok, known for a time');
  expect(reasonOf([leaf], [good], now + hour + 1000)).not.toMatch('ok');
});

test('a list of one part of the certificates does not stand in for that of another', async () => {
  const now = Date.now();
  const over = { thisUpdate: now - 2 * hour, nextUpdate: now - 1000 };
  const pointOf = (tag: number, body = Buffer.of(0xff)) => [extension('2.5.29.28', true, der(0x30, der(tag, body)))];
  const users = pointOf(0x81);
  const others = [pointOf(0x82), pointOf(0x85), pointOf(0x83, Buffer.of(1, 0x20)), []];
  const [oldNaming, old] = [
    await mintList(root, [leaf], { ...over, extensions: users }),
    await mintList(root, [], over),
  ];
  for (const extensions of others) {
    const other = await mintList(root, [], { extensions });
    expect(reasonOf([leaf], [oldNaming, other])).toBe('revoked');
    expect(reasonOf([neighbour], [oldNaming, other])).toBe('revocation_unknown');
    expect(reasonOf([leaf], [oldNaming, other, await mintList(root, [], { extensions: users })])).toBe(
      'ok, known for a time',
    );
  }
  expect(reasonOf([leaf], [old, await mintList(root, [], { extensions: users })])).toBe('revocation_unknown');
  const soon = await mintList(root, [], { extensions: users, nextUpdate: now + 60_000 });
  expect(reasonOf([leaf], [soon, await mintList(root, [])], now + 61_000)).toBe('revocation_unknown');
});

test('a list by a key that may not sign lists leaves its authority without an answer', async () => {
  const mute = await mintAuthority(undefined, { usage: usages.keyCertSign });
  const issued = await mintLeaf(mute);
  expect(reasonOf([issued], [await mintList(mute, [])], Date.now(), mute)).toBe('revocation_unknown');
});

test('what is no whole list of its own issuer is not read', async () => {
  const [delta, indirect, plain] = [
    extension('2.5.29.27', true, der(0x02, Buffer.of(1))),
    extension('2.5.29.28', true, der(0x30, der(0x84, Buffer.of(0xff)))),
    extension('2.5.29.28', true, der(0x30, der(0x81, Buffer.of(0xff)))),
  ];
  const good = await mintListDer(root, [leaf]);
  const unreadable = [
    Buffer.alloc(0),
    leaf.der,
    good.subarray(0, -1),
    Buffer.concat([good, Buffer.of(0)]),
    await mintListDer(root, [], { nextUpdate: false }),
    await mintListDer(root, [], { extensions: [delta] }),
    await mintListDer(root, [], { extensions: [indirect] }),
    await mintListDer(root, [], { extensions: [extension('1.2.3.4', true, der(0x05))] }),
  ];
  for (const bytes of unreadable) expect(() => RevocationList.parse(bytes)).toThrow(MalformedAnswer);
  const partial = await mintList(root, [leaf], { extensions: [plain, extension('1.2.3.4', false, der(0x05))] });
  expect(reasonOf([leaf], [partial])).toBe('revoked');
});

test('no changed byte of a list counts, and none breaks its reader', async () => {
  const good = await mintListDer(root, [leaf, neighbour]);
  let seed = 1;
  let read = 0;
  for (let round = 0; round < 800; round++) {
    seed = (seed * 48_271) % 0x7fffffff;
    const changed = Buffer.from(good);
    const at = seed % changed.length;
    changed[at] = (changed[at] ?? 0) ^ (1 << (round % 8));
    try {
      expect(reasonOf([leaf], [RevocationList.parse(changed)]), `byte ${at}`).toBe('ok, known for ever');
      read += 1;
    } catch (error) {
      if (!(error instanceof MalformedAnswer)) throw error;
    }
  }
  expect(read).toBeGreaterThan(100);
});

test('a caller on an open connection falls with its certificate, and when nobody knows any more', async () => {
  const certificate = { chain: [leaf.der] };
  const nextUpdate = Math.floor(Date.now() / 1000) * 1000 + 60_000;
  const [empty, naming] = [await mintList(root, [], { nextUpdate }), await mintList(root, [leaf])];
  const callerWith = (revocations: readonly RevocationList[], nowMs = Date.now()) =>
    checkPeer(certificate, () => ({ authorities: [root.der], revocations }), nowMs)?.spiffeId;
  expect(callerWith([empty])).toBe('spiffe://example.org/agent');
  expect(() => callerWith([naming])).toThrow('caller_not_allowed');
  expect(callerWith([empty])).toBe('spiffe://example.org/agent');
  expect(callerWith([empty], nextUpdate - 1)).toBe('spiffe://example.org/agent');
  expect(() => callerWith([empty], nextUpdate)).toThrow('caller_not_allowed');
});
