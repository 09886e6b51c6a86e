/** W3C Trace Context 3.2: the one form of version 00. */
const traceparent00 = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
/** A later version begins alike and may go on after another dash; `ff` is none. */
const traceparentLater = /^(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;
/** An id of zeros is none; where the two ids stand is the same in all versions. */
const zeroId = /^..-(?:0{32}-|.{32}-0{16}-)/;

/** Whether a value of `traceparent` can be read, by this version or a later one. */
export function isTraceparent(value: string): boolean {
  return (
    (traceparent00.test(value) || (!value.startsWith('00') && traceparentLater.test(value))) && !zeroId.test(value)
  );
}

const maxMembers = 32;
/** Key and value of a member: 256 characters each, and no more forms than both levels of the specification have. */
const member = /^(?<key>[a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$/;

/** Whether `tracestate`, all its lines joined by commas, can be read: else nothing of it is to be used (3.3). */
export function isTracestate(value: string): boolean {
  const keys = new Set<string>();
  let members = 0;
  for (const part of value.split(',')) {
    const trimmed = withoutBlanks(part);
    if (trimmed === '') continue;
    const key = member.exec(trimmed)?.groups?.['key'];
    if (key === undefined || keys.has(key) || ++members > maxMembers) return false;
    keys.add(key);
  }
  return true;
}

/** Without the spaces and tabs at both ends. An expression for the last ones tries each run of them, and takes squared time for a long one. */
function withoutBlanks(text: string): string {
  let [from, to] = [0, text.length];
  while (from < to && isBlank(text.charCodeAt(from))) from += 1;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Values of our member of `tracestate`: one, unless somebody wrote it again. */
export function ownTraceIn(value: string): string[] {
  return value.split(',').flatMap((part) => {
    const found = /^[ \t]*waybill[ \t]*=(?<mark>.*)$/i.exec(part)?.groups?.['mark'];
    return found === undefined ? [] : [found.trim()];
  });
}

/** Members of `tracestate` but ours: it names a task, and nobody else may set it or see it (W12). The others go on as they came. */
export function withoutOwnTrace(value: string): string {
  if (!/waybill/i.test(value)) return value;
  return value
    .split(',')
    .filter((part) => !/^[ \t]*waybill[ \t]*=/i.test(part))
    .join(',');
}
