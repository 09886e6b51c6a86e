import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { Recent } from '../../proxy/tasks/recent.ts';

/** Texts as they come: transaction ids, handles, marks. */
const spellings: Record<string, () => string> = {
  txn: () => randomBytes(16).toString('hex'),
  handle: () => `wbh_AAAAAAAA${randomBytes(32).toString('base64url')}`,
  mark: () => `wbt_AAAAAAAA${randomBytes(24).toString('base64url')}`,
};

test.each(Object.keys(spellings))('the last so many are remembered, in their order, and no other: %s', (kind) => {
  for (const max of [1, 3, 64, 1000]) {
    const recent = new Recent<number>(max);
    const texts: string[] = [];
    for (let count = 0; count < max * 3 + 2; count += 1) {
      const text = spellings[kind]?.() ?? '';
      expect(recent.has(text)).toBe(false);
      texts.push(text);
      recent.add(text, count);
      expect(recent.get(text)).toBe(count);
      const oldest = Math.max(0, count - max + 1);
      expect([recent.get(texts[oldest] ?? ''), recent.has(texts[oldest - 1] ?? '')]).toEqual([oldest, false]);
    }
    const kept = texts.map((text, at) => (recent.get(text) === at ? at : undefined)).filter((at) => at !== undefined);
    expect(kept).toEqual(Array.from({ length: max }, (_, at) => texts.length - max + at));
    expect([...recent.values()]).toEqual(kept);
  }
});
