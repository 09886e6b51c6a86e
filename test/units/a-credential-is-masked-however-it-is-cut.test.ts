import { randomBytes, randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { forms } from '../../proxy/forward/screen/forms.ts';
import { Maskers } from '../../proxy/forward/screen/masker.ts';
import { Pattern } from '../../proxy/forward/screen/pattern.ts';
import { tries } from '../stage/tries.ts';

const part = (bytes: number): string => randomBytes(bytes).toString('base64url');
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Puts a body through the screen in pieces of so many bytes, or of random ones for 0. */
function screen(body: Buffer, pattern: Pattern, size: number): Buffer {
  const maskers = new Maskers([pattern]);
  const out: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + (size === 0 ? randomInt(1, 40) : size);
    out.push(Buffer.from(maskers.push(body.subarray(at, end))));
    at = end;
  }
  out.push(maskers.end());
  return Buffer.concat(out);
}

test('W3: in no form a part of the signature gets through, in whatever pieces it comes', () => {
  for (let round = 0; round < 8; round += 1) {
    const token = `${part(40)}.${part(200)}.${part(64)}`;
    const signature = ascii(token.split('.')[2] ?? '');
    const pattern = new Pattern(token);
    for (const { name, write } of forms) {
      const parts = write(signature).flatMap((text) => {
        // Where a byte is written in many, 23 of them are so few bytes that the claims may have them too.
        const length = Math.max(23, Math.ceil((text.length / signature.length) * 10));
        return Array.from({ length: text.length - length + 1 }, (_, at) => text.subarray(at, at + length));
      });
      for (const text of write(ascii(token))) {
        const body = Buffer.concat([ascii(`{"seen":"${part(3)}`), text, ascii('"} and what follows')]);
        for (const size of [1, 0, 5]) {
          const came = screen(body, pattern, size);
          const leaked = parts.some((one) => came.includes(one));
          expect([name, round, size, came.length, leaked]).toEqual([name, round, size, body.length, false]);
        }
      }
    }
  }
}, 60_000);

test('what begins like a credential by four bytes or fewer goes on at once', () => {
  const token = `${part(40)}.${part(200)}.${part(64)}`;
  const signature = token.split('.')[2] ?? '';
  for (const length of [1, 2, 3, 4]) {
    const maskers = new Maskers([new Pattern(token)]);
    const text = `a line that ends in ${signature.slice(0, length)}`;
    expect(maskers.push(ascii(text)).toString()).toBe(text);
    expect(maskers.push(ascii(' and goes on')).toString()).toBe(' and goes on');
  }
  const maskers = new Maskers([new Pattern(token)]);
  expect(maskers.push(ascii(`: ${signature.slice(0, 9)}`)).toString()).toBe(': ');
  expect(maskers.push(ascii(' no')).toString()).toBe(`${signature.slice(0, 9)} no`);
});

/** Time for one kilobyte, of half a megabyte. */
function msPerKilobyte(unit: Buffer, pattern: Pattern): number {
  const body = Buffer.alloc(500_000, unit);
  const startedAt = performance.now();
  screen(body, pattern, 65_536);
  return (performance.now() - startedAt) / 500;
}

test(
  'text that is made of parts of it, just too short or just long enough, takes no time',
  { ...tries, timeout: 60_000 },
  () => {
    const token = `${part(40)}.${part(200)}.${part(64)}`;
    const signature = ascii(token.split('.')[2] ?? '');
    const pattern = new Pattern(token);
    screen(signature, pattern, 100);
    const units = forms
      .flatMap(({ write }) => write(signature).slice(0, 1))
      .flatMap((text) => [22, 23].map((length) => Buffer.concat([text.subarray(5, 5 + length), ascii('!')])));
    const slow = [...units, ascii(' '), ascii(',\n        {'), ascii(',\n        45')]
      .map((unit) => ({ unit: unit.toString('latin1'), ms: msPerKilobyte(unit, pattern) }))
      // Once it was 2 to 20.
      .filter(({ ms }) => ms > 0.7);
    expect(slow).toEqual([]);
  },
);

test('of a secret that repeats itself, what is too much to compare is masked', tries, () => {
  for (const secret of ['ab'.repeat(1500), '0'.repeat(200)]) {
    const pattern = new Pattern(secret);
    const unit = Buffer.concat([ascii(secret.slice(0, 22)), ascii('!')]);
    screen(unit, pattern, 100);
    expect(msPerKilobyte(unit, pattern)).toBeLessThan(0.7);
    const came = screen(Buffer.concat([unit, Buffer.alloc(200_000, unit), ascii(secret)]), pattern, 65_536);
    expect(came.includes(secret.slice(0, 40))).toBe(false);
  }
});

test('indented JSON passes nearly as fast as any other text', tries, () => {
  const pattern = new Pattern(`${part(40)}.${part(200)}.${part(64)}`);
  const rows = Array.from({ length: 2000 }, (_, id) => ({
    id,
    name: `customer ${id}`,
    at: { lines: [{ amounts: [id * 1.5, 5, 12_345, (id * 13) % 977], paid: true }] },
  }));
  const best = (body: Buffer): number => Math.min(...[1, 2, 3, 4, 5].map(() => msPerKilobyte(body, pattern)));
  const flat = ascii(JSON.stringify(rows).repeat(6).slice(0, 500_000));
  const indented = ascii(JSON.stringify(rows, undefined, 4).slice(0, 500_000));
  // Once it was far more: eight spaces stand in lists of numbers too.
  const ratio = best(indented) / best(flat);

  expect(ratio).toBeLessThan(12);
});
