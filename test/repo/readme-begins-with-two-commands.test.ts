import { expect, test } from 'vitest';
import { readSource } from './sources.ts';

test('the first two sh blocks of the README are the demo and the tests, one command each', () => {
  const blocks = [...readSource('README.md').matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text.trim());
  expect(blocks.slice(0, 2)).toEqual(['npm ci && npm run demo', 'npm ci && npm test']);
});

test('the commands of those blocks are scripts of package.json', () => {
  const { scripts } = JSON.parse(readSource('package.json')) as { scripts: Record<string, string> };
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['check', 'demo', 'loadtest', 'test', 'test:real']));
  expect(scripts['test']).toBe('npm run check');
});
