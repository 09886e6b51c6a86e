import { expect, test } from 'vitest';
import { checkPeerBinding } from '../../config/task-checks.ts';
import { Written } from '../../config/written.ts';

const cases = [
  [['agent', 'uid'], { agent: { name: 'a', uid: 1000 } }, 'a user id'],
  [['agent', 'executable'], { agent: { name: 'a', executable: '/usr/bin/node' } }, 'an executable'],
  [['tasks', 'bind'], { tasks: { bind: 'uid' } }, 'a user id'],
  [['tasks', 'bind'], { tasks: { bind: 'process' } }, 'a process'],
  [['tasks', 'bind'], { tasks: { bind: 'process_tree' } }, 'a process'],
] as const;

test.each(cases)(
  '%s is told to be of no use where the system does not tell whose a connection is',
  (path, value, to) => {
    const written = new Written(value);
    expect(checkPeerBinding(written, 'linux')).toEqual([]);
    expect(checkPeerBinding(written, 'darwin')).toEqual([
      { path, message: `binds handles to ${to}, which needs Linux; this is darwin. Remove it here` },
    ]);
  },
);

test('nothing is told where nothing is bound', () => {
  for (const value of [{ agent: { name: 'a' } }, { tasks: { bind: 'none' } }])
    expect(checkPeerBinding(new Written(value), 'darwin')).toEqual([]);
});
