import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';

const text = readFileSync(join(import.meta.dirname, '../../config/waybill.schema.json'), 'utf8');
const patterns = new Set(
  [...text.matchAll(/"pattern": (".*")/g)].map(([, pattern = '']) => JSON.parse(pattern) as string),
);
const samples = ['a', 'bücher', '🤖 bot', 'a\nb', 'a\u0000', 'a\u0085b', 'a\u007f', '', '/x', '5m', 'spiffe://a.org/b'];

test('a pattern means the same with the u flag, which some validators set, and without', () => {
  expect(patterns.size).toBeGreaterThan(5);
  for (const pattern of patterns) {
    for (const sample of samples) {
      const [plain, unicode] = [new RegExp(pattern), new RegExp(pattern, 'u')].map((one) => one.test(sample));
      expect([pattern, sample, unicode]).toEqual([pattern, sample, plain]);
    }
  }
});

test('text for people has any sign but controls', () => {
  const of = (name: string): string => `version: 1\nagent: { name: ${JSON.stringify(name)} }\n`;
  for (const name of ['🤖 bot', 'Büro 机器人']) expect(loadSettings(of(name), 'w').settings.agent.name).toBe(name);
  for (const name of ['a\nb', 'a\u0085b', 'a\u007fb', '\u0000'])
    expect(() => loadSettings(of(name), 'w')).toThrow('must be one line without control characters');
});
