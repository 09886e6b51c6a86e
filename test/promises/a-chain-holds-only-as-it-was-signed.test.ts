import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatChain } from '../../proxy/delegation/chain.ts';
import { type Authority, openAuthority } from '../../proxy/embedded/authority.ts';
import type { Hop } from '../fakes/delegation-hops.ts';
import type { Caller } from '../stage/caller.ts';
import { chainAlong, linkAt, linksAlong, openHops, type Errand, type LinkChange } from '../stage/chain-maker.ts';
import { readRecord } from '../stage/event-record.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let authority: Authority;
let stage: WayInStage;
let caller: Caller;
let errand: Errand;
let hops: readonly Hop[];
let foreign: Authority;

beforeAll(async () => {
  authority = await openDomain();
  foreign = await openAuthority('evil.org');
  // Five links with their certificates are more than the default of 8 KiB.
  stage = await openWayIn({ authority, inbound: { chain: { max_bytes: 16_384 } } });
  hops = await openHops(authority, 'planner', 'worker', 'clerk', 'buyer', 'payer', 'sixth');
  caller = await stage.caller();
  errand = errandOf(caller);
});
afterAll(() => stage?.close());

function errandOf({ key }: Caller, sub = 'alice'): Errand {
  return { subject: { iss: stage.service.issuer, sub }, resource: stage.origin, jkt: key.jkt };
}

const three = (): readonly Hop[] => hops.slice(0, 3);

function attack(code: string, what: string, links: readonly string[] | string): Attack {
  const chain = typeof links === 'string' ? links : formatChain(links);
  return { what, code, send: () => caller.send({ path: '/x', chain }) };
}

/** A chain of three hops in which one link is signed with other claims; those behind it are honest. */
function changed(at: number, change: LinkChange): string[] {
  return linksAlong(three(), errand, { [at]: change });
}

describe('chain', () => {
  test.for([1, 2, 3, 5])('of %i honest links passes, and the record names its hops', async (count) => {
    const path = hops.slice(0, count);
    await expectPasses(stage, 'honest', () => caller.send({ path: `/${count}`, chain: chainAlong(path, errand) }));
    const admitted = readRecord(stage.sidecar.eventsFile).findLast(({ event }) => event === 'call.admitted');
    expect(admitted).toMatchObject({
      chain: path.map(({ identity }) => identity.spiffeId),
      subject: errand.subject,
      caller: path.at(-1)?.identity.spiffeId,
    });
  });

  test('truncated, reordered, with a link left out or put in: spliced', async () => {
    const [first = '', second = '', third = ''] = linksAlong(three(), errand);
    const other = linksAlong(three(), { ...errand, txn: 'txn-2' });
    await expectEachRefused(stage, [
      attack('chain_spliced', 'without the first link', [second, third]),
      attack('chain_spliced', 'the last link alone', [third]),
      attack('chain_spliced', 'without the link in the middle', [first, third]),
      attack('chain_spliced', 'reordered', [second, first, third]),
      attack('chain_spliced', 'turned round', [third, second, first]),
      attack('chain_spliced', 'the first link of another task', [other[0] ?? '', second, third]),
      attack('chain_spliced', 'the middle of another task', [first, other[1] ?? '', third]),
      attack('chain_spliced', 'a link put in', [first, other[1] ?? '', second, third]),
      attack('chain_spliced', 'two whole chains', [first, second, third, ...other.slice(0, 2)]),
      attack('chain_spliced', 'one link twice', [first, second, second, third]),
      attack('chain_off_path', 'cut behind the second', [first, second]),
      attack('chain_off_path', 'cut behind the first', [first]),
    ]);
  });

  test('looped: no hop comes twice', async () => {
    const [planner, worker] = hops as [Hop, Hop];
    await expectEachRefused(stage, [
      attack('chain_spliced', 'there and back', linksAlong([planner, worker, planner], errand)),
      attack('chain_spliced', 'to itself', linksAlong([planner, planner], errand)),
    ]);
  });

  test('over-deep: too many links, too many bytes', async () => {
    const links = linksAlong(hops, errand);
    const long = linksAlong(three(), errand, { 0: { purpose: 'p'.repeat(9000) } });
    await expectEachRefused(stage, [
      attack('chain_too_deep', 'six links', links),
      attack('chain_too_deep', 'over 16 KiB', long),
      attack(
        'chain_too_deep',
        'the same link, eight times',
        Array.from({ length: 8 }, () => links[0] ?? ''),
      ),
    ]);
  });

  test('widened, longer, or for another subject: spliced', async () => {
    const resources = ['http://worker.example.org', stage.origin, 'http://bank.localhost'];
    const [, , last] = three();
    const narrow = { may: { resources: [last?.resource ?? '', stage.origin], risk: 'read', hops: 1 } };
    const other = { ...errand.subject, sub: 'mallory' };
    const root = { ...other, jti_hash: 'A'.repeat(43) };
    const iat = Math.floor(Date.now() / 1000);
    await expectEachRefused(stage, [
      attack('chain_spliced', 'another resource', changed(1, { may: { resources, risk: 'write', hops: 1 } })),
      attack(
        'chain_spliced',
        'a graver risk',
        changed(2, { may: { resources: [stage.origin], risk: 'payment', hops: 0 } }),
      ),
      attack('chain_spliced', 'as many hops as before', changed(1, { may: { ...narrow.may, hops: 2 } })),
      attack(
        'chain_spliced',
        'a hop where none was left',
        linksAlong(three(), errand, {
          0: { may: { resources: [three()[1]?.resource, last?.resource, stage.origin], risk: 'write', hops: 0 } },
        }),
      ),
      attack(
        'chain_spliced',
        'not to be used here',
        changed(2, { may: { resources: [last?.resource], risk: 'write', hops: 0 } }),
      ),
      attack('chain_spliced', 'a later end', changed(1, { exp: iat + 4000 })),
      attack('chain_spliced', 'the last link ends later', changed(2, { exp: iat + 300 })),
      attack('chain_spliced', 'changed subject', changed(1, { sub: 'mallory' })),
      attack('chain_spliced', 'changed issuer of the subject', changed(2, { sub_iss: 'http://evil.localhost' })),
      attack('chain_spliced', 'a root that is not its subject', changed(0, { root })),
      attack('chain_spliced', 'a second root', changed(1, { root, prev: undefined })),
      attack('chain_spliced', 'a whole chain of another subject', linksAlong(three(), { ...errand, subject: other })),
    ]);
  });

  test('for somewhere else or somebody else: off its path', async () => {
    const elsewhere = { ...errand, resource: 'http://other.localhost' };
    const both = { resources: ['http://other.localhost', stage.origin], risk: 'write', hops: 0 };
    const stranger = await stage.caller();
    await expectEachRefused(stage, [
      attack('chain_off_path', 'for another resource', linksAlong(three(), elsewhere)),
      attack(
        'chain_off_path',
        'wrong aud',
        linksAlong(hops.slice(0, 1), errand, { 0: { aud: 'http://other.localhost', may: both } }),
      ),
      attack(
        'chain_off_path',
        'aud in another spelling',
        linksAlong(three(), errand, { 2: { aud: `${stage.origin}/` } }),
      ),
      attack('chain_off_path', 'by another key', linksAlong(three(), { ...errand, jkt: stranger.key.jkt })),
    ]);
  });

  test('foreign-signed, expired, forged or malformed: broken', async () => {
    const [evil] = await openHops(foreign, 'planner');
    const [double] = await openHops(await openAuthority('example.org'), 'worker');
    const [short] = await openHops(authority, 'planner');
    const good = linksAlong(three(), errand);
    const value = formatChain(good);
    const iat = Math.floor(Date.now() / 1000);
    const [first = '', second = ''] = good;
    const lent = { ...hops[1]!, identity: { ...hops[1]!.identity, chain: hops[0]!.identity.chain } };
    const posing = { ...hops[1]!, identity: { ...hops[1]!.identity, spiffeId: hops[3]!.identity.spiffeId } };
    const inPlace = (hop: Hop): string[] => linksAlong([hops[0]!, hop, hops[2]!], errand);
    const flipped = `${second.slice(0, -10)}${second.at(-10) === 'A' ? 'B' : 'A'}${second.slice(-9)}`;
    await expectEachRefused(stage, [
      attack('chain_broken', 'another trust domain', linksAlong([evil!, ...hops.slice(1, 3)], errand)),
      attack('chain_broken', 'an authority that only says it is ours', inPlace(double!)),
      attack('chain_broken', 'expired', linksAlong(three(), errand, { 0: { iat: iat - 600, exp: iat - 1 } })),
      attack('chain_broken', 'the last link expired', changed(2, { iat: iat - 600, exp: iat - 1 })),
      attack('chain_broken', 'not yet begun', changed(0, { iat: iat + 3600, exp: iat + 7200 })),
      attack('chain_broken', 'certificate of another hop', inPlace(lent)),
      attack('chain_broken', 'in the name of another hop', inPlace(posing)),
      attack('chain_broken', 'a flipped bit', [first, flipped, good[2] ?? '']),
      attack('chain_broken', 'unsigned', [first, second.replace(/\.[^.]*$/, '.'), good[2] ?? '']),
      attack('chain_broken', 'claims of its own', changed(1, { may: undefined })),
      attack('chain_broken', 'nbf', changed(1, { nbf: iat })),
      attack('chain_broken', 'no key', linksAlong([short!], errand, { 0: { cnf: {} } })),
      attack('chain_broken', 'empty', ''),
      attack('chain_broken', 'text', 'planner, worker'),
      attack('chain_broken', 'as strings', good.map((link) => `"${link}"`).join(', ')),
      attack('chain_broken', 'without spaces', good.join(',')),
      attack('chain_broken', 'with a parameter', `${value};a=1`),
      attack('chain_broken', 'a comma at the end', `${value}, `.concat('x')),
    ]);
  });

  test('swapped between two live requests, added or taken away: the proof is for another chain', async () => {
    const bob = await stage.caller({ sub: 'bob' });
    const [mine, second] = [chainAlong(three(), errand), chainAlong(three(), { ...errand, txn: 'txn-2' })];
    const his = chainAlong(three(), errandOf(bob, 'bob'));
    const wrong = (what: string, proofOf: string | undefined, sent: string | undefined): Attack => ({
      what,
      code: 'proof_wrong_chain',
      send: () => {
        const proof = caller.proofFor({ path: '/x', ...(proofOf === undefined ? {} : { chain: proofOf }) });
        return caller.send({ path: '/x', proof, ...(sent === undefined ? {} : { chain: sent }) });
      },
    });
    await expectEachRefused(stage, [
      wrong('the chain of another task of the same user', mine, second),
      wrong('the chain of another user', mine, his),
      wrong('a chain that the proof knows nothing of', undefined, mine),
      wrong('without the chain that the proof names', mine, undefined),
      wrong('one link less than proved', mine, mine.split(', ').slice(1).join(', ')),
    ]);
    await expectPasses(stage, 'each with its own', () => caller.send({ path: '/x', chain: second }));
    await expectPasses(stage, 'each with its own', () => bob.send({ path: '/x', chain: his }));
  });

  test('in two header lines, or named in Connection, is no chain', async () => {
    const chain = chainAlong(three(), errand);
    const [first = '', ...rest] = chain.split(', ');
    const lines = [['Waybill-Delegation', rest.join(', ')]] as const;
    await expectEachRefused(stage, [
      { what: 'two lines', code: 'message_malformed', send: () => caller.send({ chain: first, headers: lines }) },
      {
        what: 'nominated',
        code: 'header_forbidden',
        send: () => caller.send({ chain, headers: [['Connection', 'waybill-delegation']] }),
      },
    ]);
    // Another spelling of the name is somebody else's header, and falls away.
    const headers = [['Waybill_Delegation', chain]] as const;
    await expectPasses(stage, 'underscore', () => caller.send({ headers }));
    expect(stage.program.seen.at(-1)?.rawHeaders.join()).not.toMatch(/delegation/i);
  });

  test('where it is required, none is refused; a link of a single hop is enough', async () => {
    const strict = await openWayIn({ name: 'strict', authority, inbound: { chain: { require: true } } });
    try {
      const user = await strict.caller();
      const own: Errand = {
        subject: { iss: strict.service.issuer, sub: 'alice' },
        resource: strict.origin,
        jkt: user.key.jkt,
      };
      const deep = linksAlong(hops.slice(0, 2), own, { 0: { purpose: 'p'.repeat(4500) } });
      await expectEachRefused(strict, [
        { what: 'none', code: 'chain_missing', send: () => user.send() },
        { what: 'over 8 KiB', code: 'chain_too_deep', send: () => user.send({ chain: formatChain(deep) }) },
      ]);
      const link = linkAt(hops.slice(0, 1), 0, undefined, own);
      await expectPasses(strict, 'one link', () => user.send({ chain: link }));
    } finally {
      await strict.close();
    }
  });
});
