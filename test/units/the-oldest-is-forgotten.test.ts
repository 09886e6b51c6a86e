import { expect, test } from 'vitest';
import { Recent } from '../../proxy/tasks/recent.ts';

test('the last so many are remembered, in their order, and no other', () => {
  const recent = new Recent<number, string>(3);
  for (let key = 0; key < 10; key += 1) {
    recent.add(key, `value ${key}`);
    const oldest = Math.max(0, key - 2);
    expect([...recent.values()]).toEqual(Array.from({ length: key - oldest + 1 }, (_, at) => `value ${oldest + at}`));
    expect([recent.has(oldest), recent.has(oldest - 1), recent.get(key)]).toEqual([true, false, `value ${key}`]);
  }
});
