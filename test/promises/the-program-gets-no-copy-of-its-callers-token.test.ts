import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Caller } from '../stage/caller.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';
import { Wire } from '../stage/wire.ts';

let stage: WayInStage;
let caller: Caller;
let signature: string;

const seen = () => stage.program.seen.at(-1)!;
const escaped = (text: string): string => text.replaceAll(/./g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
/** A token as people copy it: whole, its signature alone, with escapes. */
const copies = (token: string): string[] => {
  const own = token.split('.')[2] ?? '';
  return [token, own, token.replaceAll('.', '%2e'), token.replace(own, escaped(own))];
};

async function open(present: string): Promise<void> {
  stage = await openWayIn({ inbound: { present } });
  caller = await stage.caller();
  signature = caller.token.split('.')[2] ?? '';
}

describe.each(['inert-jwt', 'handle', 'headers'])('present: %s', (mode) => {
  beforeAll(() => open(mode));
  afterAll(() => stage?.close());

  test('a copy arrives in no header, whichever passes, nor as the name of one', async () => {
    const names =
      'Range If-Range Accept-Encoding Accept-Language Via Origin Referer User-Agent traceparent tracestate If-None-Match X-Api-Key X-Any Cookie Cookie2';
    for (const name of names.split(' ')) {
      for (const copy of copies(caller.token)) {
        // As a value of `tracestate` it has to look like one.
        const value = name === 'tracestate' ? `v=${copy}` : `1.1 ${copy}`;
        await expectPasses(stage, `${name}: ${value}`, () => caller.send({ headers: [[name, value]] }));
        const arrived = decodeURIComponent(seen().rawHeaders.join('\n'));
        expect([name, value, arrived.includes(signature)]).toEqual([name, value, false]);
      }
    }
    for (const copy of [caller.token, signature]) {
      await expectPasses(stage, copy, () => caller.send({ headers: [[`X-${copy}`, '1']] }));
      expect(seen().rawHeaders.join('\n').toLowerCase()).not.toContain(signature.toLowerCase());
    }
  });

  test('everything else does, beside it too', async () => {
    const honest: [string, string][] = [
      ['Range', 'bytes=0-9'],
      ['If-Range', '"v1"'],
      ['Accept-Encoding', 'gzip'],
      ['Origin', 'https://app.example.org'],
      ['Referer', `https://app.example.org/?q=${'%20'.repeat(400)}%zz`],
      ['Via', '1.1 gate'],
    ];
    await expectPasses(stage, 'honest', () => caller.send({ headers: [...honest, ['X-Copy', caller.token]] }));
    for (const [name, value] of honest.slice(0, -1)) expect(seen().headers[name.toLowerCase()]).toBe(value);
    expect(seen().headers.via).toMatch(/^1\.1 gate, 1\.1 /);
    const pairs = `a=%41; t=${escaped(signature)}; b=2`;
    await expectPasses(stage, pairs, () => caller.send({ headers: [['Cookie', pairs]] }));
    expect(seen().headers.cookie).toBe('a=%41; b=2');
  });
});

describe('a second way of presenting a token is refused, and its proof not spent (RFC 6750 2)', () => {
  const refusedWith = 'message_malformed';
  const form: [string, string] = ['Content-Type', 'application/x-www-form-urlencoded'];
  const posted = (body: string, lines: [string, string][] = [form]) => ({ method: 'POST', body, headers: lines });

  beforeAll(() => open('handle'));
  afterAll(() => stage?.close());

  test('the query, in any spelling', async () => {
    const attacks: Attack[] = [];
    for (const copy of copies(caller.token)) {
      for (const query of [`access_token=${copy}`, `page=1&t=${copy}`, copy, `j=%7B%22t%22%3A%22${copy}%22%7D`])
        attacks.push({ what: query, code: refusedWith, send: () => caller.send({ path: `/x?${query}` }) });
    }
    for (const query of [
      'access_token=other',
      'a=1&access%5ftoken=other',
      'a=1;access_token=',
      escaped('access_token'),
    ])
      attacks.push({
        what: query,
        code: refusedWith,
        send: () => caller.send({ path: `/x?${query.padEnd(60, '=')}` }),
      });
    await expectEachRefused(stage, attacks);
    expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(0);
    const path = '/x?my_access_token=1&q=access_token=2&access_tokens=3&next=/y?access_token=4&r=%41%zz%';
    await expectPasses(stage, 'others', () => caller.send({ path }));
    expect(seen().path).toBe(path);
  });

  test('a form', async () => {
    const named = await stage.sidecar.metric('waybill_ledger_entries');
    const bodies = [
      `access_token=${caller.token}`,
      'a=1&access_token=other&b=2',
      'a=%zz&acces%73%5Ftoken=',
      'a;access_token=1',
    ];
    const large = `a=${'b'.repeat(60_000)}&access_token=x`;
    const lines: [string, string][] = [['content-type', 'Application/X-WWW-Form-Urlencoded; charset=utf-8']];
    const attacks: Attack[] = [...bodies, large].map((body) => ({
      what: body.slice(0, 40),
      code: refusedWith,
      send: () => caller.send(posted(body)),
    }));
    attacks.push({
      what: 'as others write the type',
      code: refusedWith,
      send: () => caller.send(posted(bodies[0] ?? '', lines)),
    });
    await expectEachRefused(stage, attacks);
    expect(await stage.sidecar.metric('waybill_ledger_entries')).toBe(named);
    const honest = [
      posted('my_access_token=1&q=access_token=2&access_tokens=3&next=/y?access_token=4'),
      posted('access_token=1', []),
    ];
    for (const request of [...honest, posted('{"access_token":"1"}', [['Content-Type', 'application/json']])]) {
      await expectPasses(stage, request.body, () => caller.send(request));
      expect(seen().body.toString()).toBe(request.body);
    }
  });

  test('a form that is too long to be collected, or comes in pieces: what follows the name does not arrive', async () => {
    const long = `a=${'b'.repeat(200_000)}`;
    const inPieces: string[][] = [
      [long, `&access_token=${caller.token}`],
      ['', 'acc', `ess_token=${caller.token}`],
    ];
    for (const pieces of inPieces) {
      const before = stage.program.seen.length;
      const framing: [string, string][] = [
        ['Host', 'agent.localhost'],
        ['Transfer-Encoding', 'chunked'],
      ];
      const wire = new Wire(await caller.connect());
      wire.socket.write(caller.bytes({ method: 'POST', headers: [form], framing }));
      for (const piece of pieces) {
        await sleep(60);
        if (piece !== '') wire.socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
      }
      await wire.until(/^HTTP\/1\.1 400 [^]*message_malformed/);
      wire.socket.destroy();
      await sleep(50);
      expect(stage.program.seen.slice(before).map(({ body }) => body.includes(signature))).not.toContain(true);
    }
    await expectPasses(stage, 'an honest one', () => caller.send(posted(`${long}&my_access_token=1`)));
    expect(seen().body.length).toBe(long.length + 18);
  });
});

test('present: original: a tool that checks tokens itself gets its headers as they came', async () => {
  stage = await openWayIn({ inbound: { program: 'tool', present: 'original' } });
  try {
    caller = await stage.caller();
    const headers: [string, string][] = [
      ['If-Range', caller.token],
      ['Via', `1.1 ${caller.token}`],
      ['X-Copy', caller.token],
    ];
    await expectPasses(stage, 'copies', () => caller.send({ headers }));
    expect(seen().headers).toMatchObject({ 'if-range': caller.token, 'x-copy': caller.token });
    expect(seen().headers.via).toContain(caller.token);
  } finally {
    await stage.close();
  }
});
