import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A process of another user that listens on this machine and keeps what it is sent. */
export interface ForeignListener {
  readonly port: number;
  /** The `Authorization` of each request that came. */
  readonly seen: string[];
  close(): Promise<void>;
}

const script = `
import { createServer } from 'node:http';
const server = createServer((request, response) => {
  console.log('seen ' + (request.headers.authorization ?? 'nothing'));
  response.end('mine');
});
server.listen({ host: process.argv[1], port: 0 }, () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
`;

/** Starts one; needs to be root. @param host the address to listen at, also `0.0.0.0` and `::`. */
export async function openForeignListener(uid: number, host: string): Promise<ForeignListener> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, host], {
    uid,
    cwd: '/',
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const [port] = (await once(lines, 'line')) as [string];
  const seen: string[] = [];
  lines.on('line', (line: string) => seen.push(line.replace('seen ', '')));
  return {
    port: Number(port),
    seen,
    async close() {
      const exit = once(child, 'exit');
      child.stdin.end();
      await exit;
    },
  };
}
