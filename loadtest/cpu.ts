import { readdirSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** Nanoseconds of CPU that a process used so far, all its threads together. */
export function readCpuNs(pid: number): number {
  try {
    // The scheduler's own count is exact; `stat` counts in ticks of 10 ms.
    let total = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      total += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 1)[0]);
    }
    return total;
  } catch {
    return readTicks(pid) * 10_000_000;
  }
}

/** `utime` and `stime`: fields 14 and 15, counted after the command name, which may hold blanks. */
function readTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/** Two cores that this process may run on: one for the variant, the other for load generator and upstream. */
export function findCores(): { readonly variant: number; readonly load: number } | undefined {
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  const cores = allowed.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  const [load, variant] = cores;
  return load === undefined || variant === undefined ? undefined : { load, variant };
}

/** One line that says on what the figures were taken. */
export function describeMachine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${model}, ${cpus().length} cores, ${memory} GiB, Linux ${release()}, Node ${process.versions.node}`;
}
