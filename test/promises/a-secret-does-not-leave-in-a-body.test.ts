import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { readRecord } from '../stage/event-record.ts';
import { openLeakStage, written, type LeakStage } from '../stage/leak-stage.ts';
import { basic, dial, exchangeOn, requestBytes, type RawAnswer } from '../stage/raw-call.ts';

let stage: LeakStage;
/** Of alice, in whose task all calls here are made, and of bob. */
let handles: { readonly alice: string; readonly bob: string };

beforeAll(async () => {
  stage = await openLeakStage();
  handles = { alice: stage.alice.handle, bob: stage.bob.handle };
});
afterAll(async () => {
  await stage?.close();
});

const json = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from('{"note":"'), bytes, Buffer.from('"}')]);

describe('DESIGN 7: a secret of ours in the body of a call is a leak, and the call does not leave', () => {
  test.for(['alice', 'bob'] as const)(
    'a handle in every form that is masked in answers, of the task itself or another: %s',
    async (who) => {
      const handle = handles[who];
      const sends = written(handle, false).map(
        ([name, bytes], at) => [`${name} ${at}`, () => stage.post(json(bytes))] as const,
      );
      await stage.expectStopped(Object.fromEntries(sends));
    },
  );

  test('a token that went out, and a static key, at any tool', async () => {
    const signature = stage.token.split('.')[2] ?? '';
    const sends: Record<string, () => Promise<RawAnswer>> = {};
    for (const [what, secret] of [
      ['token', stage.token],
      ['signature', signature],
      ['key', stage.key],
    ] as const) {
      for (const [at, [name, bytes]] of written(secret, true).entries()) {
        sends[`${what}, ${name} ${at}`] = () => stage.post(json(bytes), ['crm', 'open', 'keyed'][at % 3]);
      }
    }
    sends['within base64 of more'] = () => stage.post(Buffer.from(`x: Bearer ${stage.token}\n`).toString('base64'));
    await stage.expectStopped(sends);
  });

  test('the token of a tool whose answers are not screened', async () => {
    await stage.call('unscreened', {});
    const other = (stage.tool.seen.at(-1)?.headers.authorization ?? '').replace(/^\w+ /, '');
    await stage.expectStopped({ plain: () => stage.post(other) });
  });

  test('an inert token, raw, within Basic, and a part of its claims', async () => {
    const claims = { iss: 'http://waybill.local', sub: 'alice', jti: handles.alice, aud: 'invoice-bot' };
    const coded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const inert = `${coded({ alg: 'ES256', typ: 'JWT' })}.${coded(claims)}.${randomBytes(64).toString('base64url')}`;
    await stage.expectStopped({
      raw: () => stage.post(JSON.stringify({ token: inert })),
      basic: () => stage.post(Buffer.from(`user:${inert}`).toString('base64')),
      claims: () => stage.post(JSON.stringify(claims)),
    });
  });

  test('in forms of HTML, parts, and with escapes that nobody needs', async () => {
    const handle = handles.alice;
    const part = (content: string): string =>
      `--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n${content}\r\n--b--\r\n`;
    const multipart = { 'Content-Type': 'multipart/form-data; boundary=b' };
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    await stage.expectStopped({
      parts: () => stage.post(part(`before ${handle} after`), 'crm', multipart),
      'parts, base64': () => stage.post(part(Buffer.from(`x${handle}`).toString('base64')), 'crm', multipart),
      form: () => stage.post(`a=1&token=${handle}`, 'crm', form),
      'form, one letter': () => stage.post(`a=%7B1%7D&token=${handle.replace('wbh_', '%77bh%5f')}`, 'crm', form),
      'JSON, one letter': () => stage.post(JSON.stringify({ a: handle }).replace('wbh_', 'w\\u0062h_')),
      gzip: () => stage.post(gzipSync(`[{"log":"${handle}"}]`), 'crm', { 'Content-Encoding': 'gzip' }),
      'parts, deflate': () => stage.post(deflateSync(part(stage.token)), 'open', { 'content-encoding': 'Deflate' }),
      br: () => stage.post(brotliCompressSync(handle), 'crm', { 'Content-Encoding': 'br' }),
      zstd: () => stage.post(zstdCompressSync(handle), 'crm', { 'Content-Encoding': 'zstd' }),
      'without its end': () => stage.post(`x ${handle.slice(0, 20)}`),
    });
  });
});

describe('whatever the size and the framing', () => {
  test.for([0, 1, 3, 1000, 65_400, 65_481])('behind %d bytes, of a declared length', async (before) => {
    for (const at of [0, 1, 2, 3])
      await stage.expectStopped({ [`${at}`]: () => stage.post('x'.repeat(before + at) + handles.alice) });
  });

  const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
  const chunked = (parts: readonly string[], name = 'crm'): Promise<RawAnswer> => {
    const headers = {
      Host: `${name}.test`,
      'Transfer-Encoding': 'chunked',
      'Proxy-Authorization': basic(handles.alice),
    };
    const body = parts.map(chunk).join('');
    return dialled(
      Buffer.concat([requestBytes('POST', `http://${name}.test/x`, headers), Buffer.from(`${body}0\r\n\r\n`)]),
    );
  };
  async function dialled(bytes: Buffer): Promise<RawAnswer> {
    const socket = dial(stage.sidecar.addresses.outbound);
    try {
      return await exchangeOn(socket, bytes);
    } finally {
      socket.destroy();
    }
  }

  test('in chunks, cut wherever it may be', async () => {
    const handle = handles.alice;
    await stage.expectStopped({
      one: () => chunked([`{"a":"${handle}"}`]),
      two: () => chunked([`{"a":"${handle.slice(0, 7)}`, `${handle.slice(7)}"}`]),
      letters: () => chunked(handle.split('')),
    });
  });

  test('at the beginning of an upload that goes on for long', async () => {
    const handle = handles.alice;
    const [seen, before] = [stage.slow.requests.length, await stage.leaks()];
    const answer = await stage.post(`${'x'.repeat(5000)}${handle}${'x'.repeat(3_000_000)}`, 'slow');
    expect([answer.status, answer.code, stage.slow.requests.length - seen]).toEqual([403, 'credential_leak', 0]);
    expect((await stage.leaks()) - before).toBe(1);
  });

  test.for([[200_000], [300_001], [1_000_000]])(
    'deep in one: it is broken off, and what the tool got holds nothing: %d',
    async ([deep]) => {
      const handle = handles.alice;
      const before = await stage.leaks();
      const answer = await stage.post(`${'x'.repeat(deep ?? 0)}${handle}${'y'.repeat(300_000)}`, 'slow');
      expect([answer.status, answer.code]).toEqual([403, 'credential_leak']);
      await sleep(50);
      expect(stage.received()).not.toMatch(/wbh_|y/);
      expect((await stage.leaks()) - before).toBe(1);
      const { event: id } = JSON.parse(answer.body) as { event: string };
      const events = readRecord(stage.sidecar.eventsFile).filter((event) => event['id'] === id);
      expect(events.map(({ event }) => event)).toEqual(['call.admitted', 'call.ended', 'call.refused']);
    },
  );

  test('in a stream that is written piece by piece, cut within the secret', async () => {
    for (const secret of [
      handles.alice,
      stage.token.split('.')[2] ?? '',
      Buffer.from(`ab${handles.bob}`).toString('base64'),
    ]) {
      for (const cut of [3, 9, 14]) {
        const before = await stage.leaks();
        const socket = dial(stage.sidecar.addresses.outbound);
        const headers = {
          Host: 'slow.test',
          'Transfer-Encoding': 'chunked',
          'Proxy-Authorization': basic(handles.alice),
        };
        const answered = exchangeOn(socket, requestBytes('POST', 'http://slow.test/x', headers));
        socket.write(chunk('begin '));
        await eventually('the tool has the beginning', () => stage.received() === 'begin ');
        socket.write(chunk(secret.slice(0, cut)));
        await sleep(40);
        socket.write(chunk(secret.slice(cut)));
        const answer = await answered;
        socket.destroy();
        expect([cut, answer.status, answer.code]).toEqual([cut, 403, 'credential_leak']);
        // Seven characters of a text that holds the secret say nothing of it; in base64, the first four are those of what stands around it.
        expect(stage.received().length).toBeLessThanOrEqual('begin '.length + (secret.startsWith('wbh_') ? 7 : 11));
        expect((await stage.leaks()) - before).toBe(1);
      }
    }
  });

  test('while an honest stream passes at once, byte for byte', async () => {
    const socket = dial(stage.sidecar.addresses.outbound);
    const headers = { Host: 'slow.test', 'Transfer-Encoding': 'chunked', 'Proxy-Authorization': basic(handles.alice) };
    const answered = exchangeOn(socket, requestBytes('POST', 'http://slow.test/x', headers));
    let sent = '';
    for (const part of ['one line\n', 'wbh', '_', 'wbh_is no handle', handles.alice.slice(0, 6), 'eyJ', '\n']) {
      socket.write(chunk(part));
      sent += part;
      await eventually(`it has ${part}`, () => stage.received() === sent);
    }
    // What could be the beginning of a secret waits, and goes when the end shows that it was none.
    socket.write(chunk(handles.alice.slice(0, 11)));
    await sleep(60);
    expect(stage.received()).toBe(sent);
    socket.write('0\r\n\r\n');
    expect((await answered).status).toBe(200);
    socket.destroy();
    expect(stage.received()).toBe(sent + handles.alice.slice(0, 11));
  });
});
