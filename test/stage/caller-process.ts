import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/**
 * What a caller does on a line of its input: `call` on a new connection; let a `child` of its own call; call on a connection that a child
 * `shared` by inheriting it; let a child call on a connection that it has `lent` to it. Its answer is a line.
 */
const script = `
import { spawn } from 'node:child_process';
import { connect, Socket } from 'node:net';
import { createInterface } from 'node:readline';
const script = process.argv[1];
const send = (socket, { bytes }) => {
  let read = '';
  socket.setEncoding('latin1').on('data', (chunk) => {
    read += chunk;
    if (!read.includes('\\r\\n\\r\\n')) return;
    console.log((read.slice(9, 12) + ' ' + (/"code":"(\\w+)"/.exec(read)?.[1] ?? '')).trim());
    socket.destroy();
  });
  socket.resume().write(Buffer.from(bytes, 'base64'));
};
// Paused, or a socket that was lent would be read at both ends.
const open = (order) => new Promise((done) => { const socket = connect(order.port, '127.0.0.1', () => done(socket)).pause(); });
const start = (stdio) => spawn(process.execPath, ['--input-type=module', '-e', script, script, 'child'], { stdio });
const children = new Set();
const lent = new Map();
createInterface({ input: process.stdin }).on('line', async (line) => {
  const order = JSON.parse(line);
  if (order.do === 'call') send(await open(order), order);
  if (order.do === 'take') send(new Socket({ fd: 3 }), order);
  if (order.do === 'child') {
    const child = start(['pipe', 'inherit', 'inherit']);
    child.stdin.write(JSON.stringify({ ...order, do: 'call' }) + '\\n');
    children.add(child);
  }
  if (order.do === 'share') {
    const socket = await open(order);
    children.add(spawn('sleep', ['10'], { stdio: ['ignore', 'ignore', 'ignore', socket._handle.fd] }));
    setTimeout(() => send(socket, order), 100);
  }
  if (order.do === 'lend') {
    const socket = await open(order);
    const child = start(['pipe', 'inherit', 'inherit', socket._handle.fd]);
    children.add(child);
    lent.set(child.pid, child);
    console.log(String(child.pid));
  }
  if (order.do === 'let') lent.get(order.pid).stdin.write(JSON.stringify({ ...order, do: 'take' }) + '\\n');
}).on('close', () => {
  for (const child of children) child.kill('SIGKILL');
  process.exit(0);
});
if (process.argv[2] !== 'child') console.log('here');
`;

/** A process that calls when it is told to. */
export class CallerProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #port: number;

  private constructor(child: ChildProcess, address: string) {
    this.#child = child;
    this.#port = Number(address.slice(address.lastIndexOf(':') + 1));
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  /** Starts one that calls this address, as another user if one is named. */
  static async start(address: string, uid?: number): Promise<CallerProcess> {
    const started = CallerProcess.#spawn(process.execPath, CallerProcess.#args, address, uid);
    await started.#line();
    return started;
  }

  /** Starts a shell that becomes one, under the same pid, when it is told to. */
  static startShell(address: string): CallerProcess {
    const becoming = ['-c', 'read -r line; exec "$@"', 'sh', process.execPath, ...CallerProcess.#args];
    return CallerProcess.#spawn('/bin/sh', becoming, address);
  }

  static readonly #args = ['--input-type=module', '-e', script, script];

  static #spawn(program: string, args: readonly string[], address: string, uid?: number): CallerProcess {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd: '/',
      ...(uid === undefined ? {} : { uid }),
    });
    return new CallerProcess(child, address);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async become(): Promise<void> {
    this.#child.stdin!.write('\n');
    await this.#line();
  }

  /** Status and code of the answer, such as `403 handle_foreign_peer`. */
  ask(what: 'call' | 'child' | 'share', bytes: Buffer): Promise<string> {
    return this.#order({ do: what, bytes: bytes.toString('base64') });
  }

  /** Opens a connection that a child inherits, and resolves with the pid of that. */
  async lend(): Promise<number> {
    return Number(await this.#order({ do: 'lend' }));
  }

  /** Has the child call on the connection that it was lent. */
  letCall(pid: number, bytes: Buffer): Promise<string> {
    return this.#order({ do: 'let', pid, bytes: bytes.toString('base64') });
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await exit;
  }

  #order(order: object): Promise<string> {
    this.#child.stdin!.write(`${JSON.stringify({ ...order, port: this.#port })}\n`);
    return this.#line();
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the caller ended');
    return value;
  }
}
