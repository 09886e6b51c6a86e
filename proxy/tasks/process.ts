import { readFileSync, readlinkSync, statSync } from 'node:fs';

/** Names one process for good: a pid is given out again, but not with the same start. */
export interface ProcessName {
  readonly pid: number;
  /** Clock ticks from the start of the machine to that of the process, in digits. */
  readonly start: string;
}

/** The file that a process runs. The path is as its own file system names it; device and inode tell whether it is still that file. */
export interface Executable {
  readonly path: string;
  readonly device: bigint;
  readonly inode: bigint;
}

/** A process that could be read. */
export interface SeenProcess extends ProcessName {
  readonly executable: Executable;
}

/** Generations that are looked up: a process that descends from more is nobody's. */
const maxGenerations = 64;

/** Fields of `/proc/<pid>/stat` (proc_pid_stat(5)), or undefined for what is none. */
export function parseStat(text: string): (ProcessName & { readonly parent: number }) | undefined {
  // The name stands in parentheses and is the process's to choose, parentheses and line feeds included: only the last one ends it.
  const end = text.lastIndexOf(')');
  const pid = /^(\d+) \(/.exec(text)?.[1];
  // From field 3 on: the parent is field 4, the start field 22.
  const fields = text.slice(end + 2).split(' ');
  const [parent, start] = [fields[1], fields[19]];
  if (end === -1 || pid === undefined || !isNumber(parent) || !isNumber(start)) return undefined;
  return { pid: Number(pid), start, parent: Number(parent) };
}

function isNumber(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text);
}

/** A process with its executable; undefined where there is none, or where this process may not read it. */
export function readProcess(pid: number): SeenProcess | undefined {
  const before = readProcessName(pid);
  if (before === undefined) return undefined;
  try {
    const link = `/proc/${pid}/exe`;
    const { dev: device, ino: inode } = statSync(link, { bigint: true });
    const path = readlinkSync(link);
    // The process may have ended in between, and its pid be another's.
    if (readProcessName(pid)?.start !== before.start) return undefined;
    return { pid, start: before.start, executable: { path, device, inode } };
  } catch {
    return undefined;
  }
}

/** Whether a process is another one, or descends from it. One whose parent ended belongs to init, and descends from nobody else. */
export function descendsFrom(pid: number, { pid: ancestor, start }: ProcessName): boolean {
  let at = pid;
  for (let generation = 0; generation < maxGenerations; generation += 1) {
    const found = readProcessName(at);
    if (found === undefined) return false;
    if (at === ancestor) return found.start === start;
    at = found.parent;
  }
  return false;
}

export function isSameProcess(a: ProcessName, b: ProcessName): boolean {
  return a.pid === b.pid && a.start === b.start;
}

export function isSameExecutable(a: Executable, b: Executable): boolean {
  return a.path === b.path && a.device === b.device && a.inode === b.inode;
}

/** Which process has this number now, and its parent; undefined where there is none, or it cannot be read (no Linux, a closed /proc). */
export function readProcessName(pid: number): ReturnType<typeof parseStat> {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}
