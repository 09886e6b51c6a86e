import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import type { RawAnswer } from '../stage/raw-call.ts';
import { twinSignature } from '../stage/twin-signature.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;
let caller: Caller;

beforeAll(async () => {
  stage = await openWayIn();
  caller = await stage.caller();
});
afterAll(() => stage?.close());

/** The last character of a part with other unused bits: lenient decoders read the same bytes. */
function looseBits(part: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return part.slice(0, -1) + (alphabet[alphabet.indexOf(part.at(-1) ?? '') ^ 1] ?? '');
}

/** Spellings of a compact JWS that some decoder somewhere takes for the same one. */
function respell(jws: string): Record<string, string> {
  const [header = '', payload = '', signature = ''] = jws.split('.');
  const join = (...parts: string[]): string => parts.join('.');
  return {
    'signature padded': `${jws}==`,
    'signature padded once': `${jws}=`,
    'header padded': join(`${header}=`, payload, signature),
    'payload padded': join(header, `${payload}==`, signature),
    'loose bits in the signature': join(header, payload, looseBits(signature)),
    'a dot behind it': `${jws}.`,
    'a dot before it': `.${jws}`,
    'tab inside': join(header, `${payload.slice(0, 9)}\t${payload.slice(9)}`, signature),
    'space inside': join(header, payload, ` ${signature}`),
    quoted: `"${jws}"`,
    'percent-encoded dot': jws.replace('.', '%2E'),
    'percent-encoded letter': `%65${jws.slice(1)}`,
    'a character that decoders skip': join(header, payload, `${signature.slice(0, 8)}*${signature.slice(8)}`),
    'an empty character at the end': `${jws}\u00ad`,
    'a comma behind it': `${jws},`,
    'a parameter': `${jws};a=1`,
    twice: `${jws}, ${jws}`,
    'the other signature': twinSignature(jws),
  };
}

test('twenty spellings of one token count as one use, or are refused', async () => {
  const proof = caller.proofFor({ path: '/once' });
  await expectPasses(stage, 'as it is', () => caller.send({ path: '/once', proof }));
  const seen = stage.program.seen.length;
  const schemes = ['dpop', 'DPOP', 'dPoP', 'DPoP ', 'DPoP   '];
  const spelled = Object.entries(respell(caller.token));
  expect(spelled.length + schemes.length).toBeGreaterThanOrEqual(20);
  const answers = new Map<string, RawAnswer>();
  for (const scheme of schemes) answers.set(`scheme "${scheme}"`, await caller.send({ path: '/once', scheme, proof }));
  for (const [what, token] of spelled) {
    answers.set(what, await caller.send({ path: '/once', token, proof }));
    // With a proof of its own for that very text, a spelling may pass only if it is a token of its own: it is none.
    answers.set(`${what}, proved`, await caller.send({ path: '/once', token }));
  }
  const codes = new Set([...answers.values()].map(({ code }) => code));
  expect([...answers].filter(([, { status }]) => status === 200).map(([what]) => what)).toEqual([
    'the other signature, proved',
  ]);
  expect(stage.program.seen.length - seen).toBe(1);
  for (const scheme of schemes) expect(answers.get(`scheme "${scheme}"`)?.code).toBe('proof_reused');
  expect(codes).toEqual(new Set(['proof_reused', undefined, 'token_invalid', 'proof_wrong_token']));
});

test('twenty spellings of one proof count as one use, or are refused', async () => {
  const proof = caller.proofFor({ path: '/once' });
  await expectPasses(stage, 'as it is', () => caller.send({ path: '/once', proof }));
  const seen = stage.program.seen.length;
  const names = ['dpop', 'DPOP', 'dPOP'];
  const lines: [string, string][] = [
    ...Object.entries(respell(proof)),
    ['spaces before it', `   ${proof}`],
    ['tabs around it', `\t${proof}\t`],
    ['spaces behind it', `${proof}   `],
  ];
  const answers: [string, RawAnswer][] = [];
  for (const [what, value] of lines) answers.push([what, await caller.send({ path: '/once', proof: value })]);
  for (const name of names) {
    answers.push([name, await caller.send({ path: '/once', proof: null, headers: [[name, proof]] })]);
  }
  expect(answers.length).toBeGreaterThanOrEqual(20);
  expect(answers.filter(([, { status }]) => status < 400).map(([what]) => what)).toEqual([]);
  expect(stage.program.seen.length).toBe(seen);
  const told = new Map(answers.map(([what, { code }]) => [what, code]));
  for (const what of ['the other signature', 'spaces before it', 'tabs around it', 'spaces behind it', ...names]) {
    expect([what, told.get(what)]).toEqual([what, 'proof_reused']);
  }
});

test('htu in other spellings: accepted where it is equal after normalisation by syntax and scheme', async () => {
  const same: [path: string, htu: string][] = [
    ['/a/b', 'http://agent.localhost/a/b'],
    ['/a/b', 'HTTP://agent.localhost/a/b'],
    ['/a/b', 'http://AGENT.LocalHost/a/b'],
    ['/a/b', 'http://agent.localhost:80/a/b'],
    ['/a/b', 'http://agent.localhost:/a/b'],
    ['/a/b', 'http://agent.localhost/a/./b'],
    ['/a/b', 'http://agent.localhost/x/../a/b'],
    ['/a/b', 'http://agent.localhost/../a/b'],
    ['/a/b', 'http://agent.localhost/%61/%62'],
    ['/%61/b', 'http://agent.localhost/a/b'],
    ['/a%2fb', 'http://agent.localhost/a%2Fb'],
    ['/a%c3%a9', 'http://agent.localhost/a%C3%A9'],
    ['/~u', 'http://agent.localhost/%7Eu'],
    ['/', 'http://agent.localhost/'],
    ['/', 'http://agent.localhost'],
    ['/', 'http://agent.localhost:80'],
    ['/?q=1', 'http://agent.localhost/'],
    ['/a?', 'http://agent.localhost/a'],
    ['/a/', 'http://agent.localhost/a/'],
  ];
  for (const [path, htu] of same) await expectPasses(stage, `${htu} at ${path}`, () => caller.send({ path, htu }));
});

test('htu in other spellings: refused where it only looks equal', async () => {
  const others = [
    'https://agent.localhost/a/b',
    'http://agent.localhost:8080/a/b',
    'http://agent.localhost:443/a/b',
    'http://agent.localhost:080/a/b',
    'http://agent.localhost./a/b',
    'http://www.agent.localhost/a/b',
    'http://agent.localhost.evil.org/a/b',
    'http://user@agent.localhost/a/b',
    'http://agent.localhost@evil.org/a/b',
    'http://127.0.0.1/a/b',
    `http://${stage.sidecar.addresses.inbound}/a/b`,
    'http://agent.localhost/a/b?',
    'http://agent.localhost/a/b?q=1',
    'http://agent.localhost/a/b#',
    'http://agent.localhost/a/b#x',
    'http://agent.localhost/a/B',
    'http://agent.localhost/a/b/',
    'http://agent.localhost/a//b',
    'http://agent.localhost//a/b',
    'http://agent.localhost/a%2Fb',
    'http://agent.localhost/a/%2562',
    'http://agent.localhost/a/b%00',
    'http://agent.localhost/a\\b',
    'http:\\\\agent.localhost/a/b',
    'http:/agent.localhost/a/b',
    'http:agent.localhost/a/b',
    '//agent.localhost/a/b',
    'agent.localhost/a/b',
    '/a/b',
    ' http://agent.localhost/a/b',
    'http://agent.localhost/a/b ',
    'http://agent.localhost/a/b\n',
    'http://agent.localhost/a/b;v=1',
    'http://agent.locаlhost/a/b',
    'http://agent%2Elocalhost/a/b',
    'http://agent.localhost/a/b/..',
    'http://agent.localhost',
    '*',
    '',
  ];
  const attack = (htu: string): Attack => ({
    what: JSON.stringify(htu),
    code: 'proof_wrong_target',
    send: () => caller.send({ path: '/a/b', htu }),
  });
  await expectEachRefused(stage, others.map(attack));
});

test('htu in other spellings: names the configured origin, whatever Host the request has', async () => {
  const { inbound = '' } = stage.sidecar.addresses;
  const host = (name: string) => [['Host', name]] as const;
  await expectPasses(stage, 'the address as Host', () => caller.send({ path: '/a', framing: host(inbound) }));
  await expectPasses(stage, 'absolute-form', async () => {
    const bytes = caller.bytes({ path: '/a' }).toString('latin1').replace(' /a ', ' http://agent.localhost/a ');
    return caller.sendBytes(Buffer.from(bytes, 'latin1'));
  });
  await expectEachRefused(stage, [
    {
      what: 'the address in the proof too',
      code: 'proof_wrong_target',
      send: () => caller.send({ path: '/a', framing: host(inbound), htu: `http://${inbound}/a` }),
    },
    {
      what: 'another Host, and a proof for it',
      code: 'authority_mismatch',
      send: () => caller.send({ path: '/a', framing: host('evil.org'), htu: 'http://evil.org/a' }),
    },
    {
      what: 'X-Forwarded-Host',
      code: 'proof_wrong_target',
      send: () => caller.send({ path: '/a', headers: [['X-Forwarded-Host', 'evil.org']], htu: 'http://evil.org/a' }),
    },
  ]);
});
