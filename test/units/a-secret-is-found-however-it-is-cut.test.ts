import { randomBytes, randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { forms } from '../../proxy/forward/screen/forms.ts';
import { SecretIndex } from '../../proxy/forward/screen/secret-index.ts';
import { type BodyWatch, WatchedStream } from '../../proxy/intercept/body-watch.ts';
import { Refusal } from '../../proxy/refusal.ts';
import { Secret } from '../../proxy/trust/secret.ts';

const all = { handles: true, marks: true, tokens: true };
const part = (bytes: number): string => randomBytes(bytes).toString('base64url');
const epoch = part(6);
const handle = `wbh_${epoch}${part(32)}`;
const mark = `wbt_${part(6)}`;
const openIndex = (): SecretIndex => new SecretIndex(`wbh_${epoch}`, mark);
const watchOf = (index: SecretIndex): BodyWatch => ({
  isIn: (bytes) => index.finds(bytes, all),
  holds: (bytes) => index.finds(bytes, all),
  tail: (bytes) => index.tail(bytes),
  span: index.span,
  before: Buffer.alloc(0),
  refusal: () => new Refusal('credential_leak'),
});

/** Streams a body in pieces of so many bytes, or of random ones for 0; what went on, and whether it was broken off. */
function stream(body: Buffer, watch: BodyWatch, size: number): { out: Buffer; isBroken: boolean } {
  const watched = new WatchedStream(watch);
  const out: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + (size === 0 ? randomInt(1, 300) : size);
    const passes = watched.push(body.subarray(at, end));
    if (passes === undefined) return { out: Buffer.concat(out), isBroken: true };
    out.push(...passes);
    at = end;
  }
  return { out: Buffer.concat([...out, watched.end()]), isBroken: false };
}

test('in every form, at every place, in whatever pieces; nothing of it has gone on', () => {
  const index = openIndex();
  const watch = watchOf(index);
  for (const { name, write } of forms) {
    for (const text of write(Buffer.from(handle))) {
      for (let before = 0; before < 9; before += 1) {
        const body = Buffer.concat([Buffer.alloc(before, '.'), text, Buffer.from(' and what follows')]);
        expect([name, before, index.finds(body, all)]).toEqual([name, before, true]);
        for (const size of [1, 0, 5, 64]) {
          const { out, isBroken } = stream(body, watch, size);
          expect([name, before, size, isBroken]).toEqual([name, before, size, true]);
          // Of 55 bytes fewer than eight in whichever form; the first of base64 may be those of what stands around it.
          if (name === 'as it is') expect(out.length - before).toBeLessThanOrEqual(7);
        }
      }
    }
  }
});

test('what holds nothing comes out byte for byte, in whatever pieces', () => {
  const watch = watchOf(openIndex());
  for (const size of [1, 0, 7, 128, 129, 5000]) {
    const pieces = Array.from({ length: 40 }, () => [
      randomBytes(randomInt(1, 200)),
      Buffer.from(`${handle.slice(0, randomInt(1, 12))}.`),
    ]);
    const body = Buffer.concat(pieces.flat());
    const { out, isBroken } = stream(body, watch, size);
    expect([size, isBroken, out.equals(body)]).toEqual([size, false, true]);
  }
});

test('each kind is found where it is wanted', () => {
  const index = openIndex();
  const token = `${part(40)}.${part(200)}.${part(64)}`;
  const key = part(24);
  index.learn([new Secret(token), new Secret(key), new Secret('short-key-12345')]);
  const text = (body: string, wanted: Partial<typeof all>): boolean =>
    index.finds(Buffer.from(`x ${body}`), { handles: false, marks: false, tokens: false, ...wanted });
  expect([text(handle, { handles: true }), text(handle, { marks: true, tokens: true })]).toEqual([true, false]);
  expect([text(mark, { marks: true }), text(mark, { handles: true, tokens: true })]).toEqual([true, false]);
  expect([text(token, { tokens: true }), text(token, { handles: true, marks: true })]).toEqual([true, false]);
  expect([text(key, { tokens: true }), text('short-key-12345', { tokens: true })]).toEqual([true, false]);
});

test('the last 4,096 tokens are known, the older are forgotten, and the same key takes one place', () => {
  const index = openIndex();
  const tokens = Array.from({ length: 4098 }, () => part(32));
  const key = part(32);
  for (let again = 0; again < 5000; again += 1) index.learn([new Secret(key)]);
  for (const token of tokens) index.learn([new Secret(token)]);
  const known = [key, ...tokens].filter((token) => index.finds(Buffer.from(token), all));
  expect(known).toEqual(tokens.slice(2));
  expect(index.finds(Buffer.from(handle), all)).toBe(true);
});

test('one that is still in use when newer ones have pushed it out is learned again', () => {
  const index = openIndex();
  const inUse = new Secret(part(32));
  const isKnown = (): boolean => index.finds(Buffer.from(inUse.reveal()), all);
  for (let turn = 0; turn < 10_000; turn += 1) {
    index.learn([inUse]);
    expect(isKnown()).toBe(true);
    index.learn([new Secret(part(32))]);
  }
  for (let turn = 0; turn < 4096; turn += 1) index.learn([new Secret(part(32))]);
  expect(isKnown()).toBe(false);
});
