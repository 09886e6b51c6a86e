import { decodeJwt } from 'jose';
import { afterEach, describe, expect, test } from 'vitest';
import { openCaller, type Caller } from '../stage/caller.ts';
import { eventually } from '../fakes/eventually.ts';
import { chainAlong, openHops } from '../stage/chain-maker.ts';
import { expectPasses } from '../stage/refused-way-in.ts';
import { signJws } from '../stage/signing-key.ts';
import { openKeyIssuer } from '../fakes/key-issuer.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const origin = 'http://agent.localhost';
let stage: WayInStage;
afterEach(() => stage?.close());

const headersSeen = () => stage.program.seen.at(-1)!.headers;

/** `Waybill-Subject` as the program reads it, for a user of this name; undefined where the request is refused. */
async function subjectSeen(sub: string): Promise<string | undefined> {
  const caller = await stage.caller({ sub });
  const answer = await caller.send();
  expect([sub, answer.status < 500]).toEqual([sub, true]);
  return answer.status === 200 ? String(headersSeen()['waybill-subject']) : undefined;
}

describe('present: headers', () => {
  test('no two subjects look the same, however they are spelled', async () => {
    stage = await openWayIn({ inbound: { present: 'headers' } });
    const spaced = ['alice', ' alice', 'alice ', ' alice ', '  alice', 'al ice', 'al  ice', ' ', '  '];
    const escaped = ['%20alice', 'alice%20', '%', '%25', '\talice', 'alice\r\n', 'alice\u0000', 'alice\u00a0'];
    const beyond = ['Zoë', 'Zoe\u0308', 'Zo%C3%AB', '李雷', '😀', 'alice\u200b', 'ALICE'];
    const subjects = [...spaced, ...escaped, ...beyond];
    const seen = new Map<string, string>();
    for (const sub of subjects) {
      const found = await subjectSeen(sub);
      expect([sub, found]).toEqual([sub, expect.stringMatching(/^[!-~](?:[ -~]*[!-~])?$/)]);
      expect([sub, seen.get(found ?? '')]).toEqual([sub, undefined]);
      seen.set(found ?? '', sub);
    }
    expect([...seen.keys()].slice(0, 3)).toEqual(['alice', '%20alice', 'alice%20']);
    expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
  });

  test('a name that is no text names nobody: written down, halves of pairs of surrogates would all be the same', async () => {
    const issuer = await openKeyIssuer(origin);
    try {
      stage = await openWayIn({
        inbound: { present: 'headers', accept: [{ issuer: issuer.issuer, proof: 'dpop' }] },
        sections: { trust: { issuers: [{ issuer: issuer.issuer, audience: 'agent' }] } },
      });
      const mint = (claims: Readonly<Record<string, unknown>>) => Promise.resolve(tokenOf(claims));
      const tokenOf = (claims: Readonly<Record<string, unknown>>): string => {
        const key = issuer.keys['ES256']!;
        const { sub, ...others } = issuer.claims(claims);
        // Escapes in the JSON: half of a pair of surrogates cannot be written otherwise.
        const raw = JSON.stringify(others).replace('{', `{"sub":"${String(sub)}",`);
        return signJws({ alg: key.alg, kid: key.kid, typ: 'at+jwt' }, { raw }, key);
      };
      const halves = ['\\ud800', 'alice\\udc00', 'alice\\udc01', '\\udc00\\ud800'];
      for (const sub of [...halves, 'a\\u00ebb', '\\ud83d\\ude00']) {
        const caller = await openCaller({ ...stage.to, mint }, { sub });
        const answer = await caller.call();
        expect([sub, answer.code]).toEqual([sub, halves.includes(sub) ? 'token_invalid' : undefined]);
        if (answer.status === 200) expect(String(headersSeen()['waybill-subject'])).toMatch(/^[!-~]+$/);
      }
      expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
    } finally {
      await issuer.close();
    }
  });
});

describe('present: inert-jwt', () => {
  test('names the issuer of the user’s token, since users of two issuers may have one name', async () => {
    stage = await openWayIn();
    const caller = await stage.caller({ sub: 'alice', sub_iss: 'https://forged.example.org' });
    await expectPasses(stage, 'call', () => caller.send());
    const given = decodeJwt(String(headersSeen().authorization).replace('Bearer ', ''));
    expect([given.iss, given.sub, given['sub_iss']]).toEqual(['http://waybill.local', 'alice', stage.service.issuer]);
  });
});

describe('present: original', () => {
  /** Caller and the value of a chain along these hops for it. */
  async function openWithChain(): Promise<{ caller: Caller; chain: string }> {
    const authority = await openDomain();
    stage = await openWayIn({ authority, inbound: { program: 'tool', present: 'original' } });
    const caller = await stage.caller();
    const hops = await openHops(authority, 'front', 'planner');
    const subject = { iss: stage.service.issuer, sub: 'alice' };
    return { caller, chain: chainAlong(hops, { subject, resource: stage.origin, jkt: caller.key.jkt }) };
  }

  test('a tool that checks tokens itself reads the verified path with it, and no other', async () => {
    const { caller, chain } = await openWithChain();
    const forged = [['Waybill-Chain', 'spiffe://example.org/root']] as const;
    await expectPasses(stage, 'with a chain', () => caller.send({ chain, headers: forged }));
    expect(headersSeen()['waybill-chain']).toBe('spiffe://example.org/front spiffe://example.org/planner');
    expect(headersSeen()).not.toHaveProperty('waybill-delegation');
    expect(headersSeen().authorization).toBe(`DPoP ${caller.token}`);
    await expectPasses(stage, 'without', () => caller.send({ headers: forged }));
    expect(headersSeen()).not.toHaveProperty('waybill-chain');
  });

  test('W12: a signature that nobody here looked at does not arrive there either', async () => {
    stage = await openWayIn({ inbound: { program: 'tool', present: 'original' } });
    const caller = await stage.caller();
    const headers: [string, string][] = [
      ['Signature-Input', 'sig=("@method");created=1'],
      ['Signature', 'sig=:AAAA:'],
    ];
    await expectPasses(stage, 'signed', () => caller.send({ headers }));
    expect(Object.keys(headersSeen()).filter((name) => name.startsWith('signature'))).toEqual([]);
  });
});

describe('a nonce that the program asks for (RFC 9449 9)', () => {
  const nonceOfProof = (): unknown => decodeJwt(String(headersSeen()['dpop']))['nonce'];

  /** A program that takes proofs with its own nonce only. */
  const openAsking = async (present: string, nonce: 'off' | 'required'): Promise<Caller> => {
    stage = await openWayIn({
      inbound: { ...(present === 'original' ? { program: 'tool' } : {}), present },
      sections: { replay: { nonce, future: '0s' } },
      answer: ({ headers }, response) => {
        const isProved = headers['dpop'] !== undefined && decodeJwt(String(headers['dpop']))['nonce'] === 'program-1';
        const challenge = { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': 'program-1' };
        response.writeHead(isProved ? 200 : 401, isProved ? {} : challenge).end();
      },
    });
    const caller = await stage.caller();
    // Proofs that are older than the process are refused for a while, where they hold no nonce of it.
    await eventually('proofs are taken', async () => (await caller.send()).code !== 'ledger_warming');
    return caller;
  };

  test('reaches the caller where the program checks proofs and we ask for none', async () => {
    const caller = await openAsking('original', 'off');
    expect(caller.nonce).toBe('program-1');
    expect((await caller.send()).status).toBe(200);
    expect(nonceOfProof()).toBe('program-1');
  });

  test('stays here where proofs hold ours, with which the next one would be refused', async () => {
    const caller = await openAsking('original', 'required');
    const ours = caller.nonce;
    const answer = await caller.send();
    expect([answer.status, answer.headers['dpop-nonce'], caller.nonce]).toEqual([401, undefined, ours]);
  });

  test('stays here where the program gets no proof', async () => {
    const caller = await openAsking('handle', 'off');
    const answer = await caller.send();
    expect([answer.status, answer.headers['dpop-nonce']]).toEqual([401, undefined]);
  });
});

test('the caller’s token beside itself, as a key of the program, does not arrive; another key does', async () => {
  stage = await openWayIn();
  const caller = await stage.caller();
  const withKey = (key: string) => () => caller.send({ headers: [['X-Api-Key', key]] });
  const { token } = caller;
  const signature = token.split('.')[2] ?? '';
  for (const key of [token, `Bearer ${token}`, `key-${token}-1`]) {
    await expectPasses(stage, 'token as key', withKey(key));
    expect(headersSeen()).not.toHaveProperty('x-api-key');
    expect(JSON.stringify(stage.program.seen.at(-1)?.rawHeaders)).not.toContain(signature);
  }
  await expectPasses(stage, 'own key', withKey('program-key-1'));
  expect(headersSeen()['x-api-key']).toBe('program-key-1');
});

test('nor do copies of it in headers of other names; what stands beside them does', async () => {
  stage = await openWayIn({ inbound: { present: 'handle' } });
  const caller = await stage.caller();
  const headers: [string, string][] = [
    ['X-Forwarded-Access-Token', caller.token],
    ['X-Request-Name', 'one'],
    ['X-Authorization', `Bearer ${caller.token}`],
    ['X-Auth-Token', `${caller.token}A`],
    ['X-Long', 'x'.repeat(2000)],
  ];
  await expectPasses(stage, 'copies', () => caller.send({ path: '/x', headers }));
  expect(JSON.stringify(headersSeen())).not.toContain(caller.token);
  expect(headersSeen()).toMatchObject({ 'x-request-name': 'one', 'x-long': 'x'.repeat(2000) });
});

test('of its cookies neither; the others do', async () => {
  stage = await openWayIn({ inbound: { present: 'handle' } });
  const caller = await stage.caller();
  const { token } = caller;
  const cookies = (value: string) => expectPasses(stage, value, () => caller.send({ headers: [['Cookie', value]] }));
  await cookies(`a=1; access_token=${token}; b=2`);
  expect(headersSeen().cookie).toBe('a=1; b=2');
  await cookies(`access_token="Bearer ${token}";b=2`);
  expect(headersSeen().cookie).toBe('b=2');
  await cookies(`access_token=${token}`);
  expect(headersSeen()).not.toHaveProperty('cookie');
  await cookies('a=1;b=2');
  expect(headersSeen().cookie).toBe('a=1;b=2');
});

test('a token in the query, where a second one stands as it should, is refused and its proof not spent (RFC 6750 2)', async () => {
  stage = await openWayIn();
  const caller = await stage.caller();
  const path = `/x?access_token=${caller.token}&page=1`;
  const answer = await caller.call({ path });
  expect(answer).toMatchObject({ status: 400, code: 'message_malformed' });
  expect(stage.program.seen).toEqual([]);
  expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(0);
  expect(JSON.stringify(stage.sidecar.events())).not.toContain(caller.token.split('.')[2]);
  await expectPasses(stage, 'without it', () => caller.send({ path: '/x?page=1' }));
});
