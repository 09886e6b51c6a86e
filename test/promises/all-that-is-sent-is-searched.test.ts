import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLeakStage, type LeakStage } from '../stage/leak-stage.ts';
import { callThrough } from '../stage/raw-call.ts';

let stage: LeakStage;
let handle: string;

beforeAll(async () => {
  stage = await openLeakStage();
  ({ handle } = stage.alice);
});
afterAll(async () => {
  await stage?.close();
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const hex = (text: string): string => Buffer.from(text).toString('hex');
const forms: Readonly<Record<string, (text: string) => string>> = {
  'as it is': (text) => text,
  hex,
  backwards: (text) => Array.from(text).toReversed().join(''),
  'base64 twice': (text) => base64(base64(text)),
};
const named = ([name, write]: [string, (text: string) => string]): readonly [string, string] => [name, write(handle)];

test('W8: a handle in the name of a header or in Via is a leak, in any form', async () => {
  for (const tool of ['open', 'crm']) {
    for (const [form, text] of Object.entries(forms).map(named)) {
      await stage.expectStopped({
        [`${tool}, a name, ${form}`]: () => stage.call(tool, { headers: { [`X-${text.replaceAll('=', '')}`]: '1' } }),
        [`${tool}, Via, ${form}`]: () => stage.call(tool, { headers: { Via: `1.1 ${text}` } }),
      });
    }
  }
});

test('W8: so it is in what a tool without credential is asked for, and as a key that goes on to it', async () => {
  for (const [form, text] of Object.entries(forms).map(named)) {
    await stage.expectStopped({
      [`If-Range, ${form}`]: () => stage.call('open', { headers: { 'If-Range': `"${text}"` } }),
      [`Range, ${form}`]: () => stage.call('open', { headers: { Range: `bytes=0-1, ${text}` } }),
      [`Accept-Encoding, ${form}`]: () => stage.call('unscreened', { headers: { 'Accept-Encoding': `gzip, ${text}` } }),
    });
    if (form === 'as it is') continue;
    await stage.expectStopped({
      [`x-api-key, ${form}`]: () => stage.call('open', { headers: { 'X-Api-Key': text } }),
      [`Authorization, ${form}`]: () => stage.call('open', { headers: { Authorization: `Bearer ${text}` } }),
      [`the key of another tool, ${form}`]: () => stage.call('open', { headers: { 'X-Key': text } }),
    });
  }
});

test('W8: and in the name of a host that the agent may choose; the record does not hold it', async () => {
  const text = hex(handle);
  const labels = (length: number): string => (text.match(new RegExp(`.{1,${length}}`, 'g')) ?? []).join('.');
  const send = (length: number) => () =>
    callThrough(stage.sidecar.addresses.outbound, `http://${labels(length)}.hosts.test/x`);
  await stage.expectStopped({ 'long labels': send(60), 'short labels': send(8) });
  const record = readFileSync(stage.sidecar.eventsFile, 'latin1').replaceAll('.', '');
  for (let at = 0; at + 32 <= text.length; at += 2) expect(record).not.toContain(text.slice(at, at + 32));
});

test('while a handle names its task wherever a rung reads it, and what is the agent’s own goes on', async () => {
  const own = {
    'X-Api-Key': 'sk-live-0123456789abcdef',
    Via: '1.1 other',
    'Accept-Encoding': 'gzip',
    Range: 'bytes=0-9',
  };
  for (const headers of [
    { Authorization: `Bearer ${handle}` },
    { 'X-Api-Key': handle },
    { Authorization: `Basic ${base64(`task:${handle}`)}` },
    own,
  ]) {
    const answer = await callThrough(stage.sidecar.addresses.outbound, 'http://open.test/x', { headers });
    expect([headers, answer.status]).toEqual([headers, 200]);
    expect(JSON.stringify(stage.tool.seen.at(-1)?.headers)).not.toContain(handle);
  }
  expect(stage.tool.seen.at(-1)?.headers).toMatchObject({ 'x-api-key': own['X-Api-Key'], range: own.Range });
  const { outbound } = stage.sidecar.addresses;
  expect((await callThrough(outbound, 'http://any.name.of.hosts.test/x')).status).toBe(200);
});
