import { expect, test } from 'vitest';
import { checkAgentUid } from '../../config/task-checks.ts';
import { Written } from '../../config/written.ts';

test('agent.uid is told to be of no use where the system does not tell users of connections', () => {
  const written = new Written({ agent: { name: 'a', uid: 1000 } });
  expect(checkAgentUid(written, 'linux')).toEqual([]);
  expect(checkAgentUid(written, 'darwin')).toEqual([
    { path: ['agent', 'uid'], message: expect.stringMatching(/needs Linux; this is darwin/) },
  ]);
  expect(checkAgentUid(new Written({ agent: { name: 'a' } }), 'darwin')).toEqual([]);
});
