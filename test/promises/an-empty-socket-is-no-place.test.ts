import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

afterEach(() => killRemaining());

test('an empty --socket, as of a variable that is not set, is asked of nobody', async () => {
  // Where it would go else: to whoever listens at port 80. Not everybody may listen there; the answer says it as well.
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  server.listen(80, '127.0.0.1');
  await once(server, 'listening').catch(() => undefined);
  const { code, stderr } = await runWaybill(['tasks', 'list', '--socket', '']);
  server.close();
  expect([code, connections]).toEqual([64, 0]);
  expect(stderr).toContain('--socket is empty');
});

test.each(['validate', 'run', 'doctor', 'health', 'inventory', 'tasks list', 'events verify'])(
  'an empty --config names no file: %s',
  async (command) => {
    const [name = '', ...more] = command.split(' ');
    for (const option of [['--config='], ['--config', '']]) {
      const { code, stdout, stderr } = await runWaybill([name, ...more, ...option]);
      expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
      expect(stderr).toBe(`waybill ${name}: --config is empty: it names the path of a file\n`);
    }
  },
);
