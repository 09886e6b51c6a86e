import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A process of another user that listens on this machine and keeps what it is sent. */
export interface ForeignListener {
  readonly port: number;
  /** The `Authorization` of each request that came. */
  readonly seen: string[];
  /** Gives the port back, and keeps the connections that it has. */
  release(): Promise<void>;
  kill(): Promise<void>;
  close(): Promise<void>;
}

const script = `
import { createServer } from 'node:http';
import { Server } from 'node:net';
const [host, port, busyMs] = process.argv.slice(1);
const server = createServer((request, response) => {
  console.log('seen ' + (request.headers.authorization ?? 'nothing'));
  response.end('mine');
});
server.keepAliveTimeout = 60_000;
const listen = () => server.listen({ host, port: Number(port) });
server.on('error', () => setTimeout(listen, 1));
server.on('listening', () => {
  console.log(server.address().port);
  if (busyMs !== '0') setTimeout(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(busyMs)), 20);
});
listen();
process.stdin.on('data', () => {
  Server.prototype.close.call(server);
  console.log('released');
});
process.stdin.on('end', () => process.exit(0));
`;

/** Where it listens, and how. */
export interface ForeignListenerOptions {
  /** Waited for where somebody has it; default one that is free. */
  readonly port?: number;
  /** For so long, milliseconds, it accepts nothing, though it listens. */
  readonly busyMs?: number;
}

/** Starts one; needs to be root. @param host the address to listen at, also `0.0.0.0` and `::`. */
export async function openForeignListener(
  uid: number,
  host: string,
  { port = 0, busyMs = 0 }: ForeignListenerOptions = {},
): Promise<ForeignListener> {
  const args = ['--input-type=module', '-e', script, host, String(port), String(busyMs)];
  const child = spawn(process.execPath, args, { uid, cwd: '/', stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const [listening] = (await once(lines, 'line')) as [string];
  const seen: string[] = [];
  lines.on('line', (line: string) => {
    if (line.startsWith('seen ')) seen.push(line.slice('seen '.length));
  });
  const exit = once(child, 'exit');
  return {
    port: Number(listening),
    seen,
    async release() {
      const released = once(lines, 'line');
      child.stdin.write('release');
      await released;
    },
    async kill() {
      child.kill('SIGKILL');
      await exit;
    },
    async close() {
      child.stdin.end();
      await exit;
    },
  };
}
