/** The most that the listener takes for all headers of a request; what a tool sends may be twice as long. */
export const longest = 32_000;
/** Milliseconds that nobody waits for. */
export const mostMs = 50;

/** What a reader may try again from each place of a long run of it: the letters and marks that the readers of this house look for. */
const units = [
  ' |\t|,|, |=|"|\\"|\\|%|%25|%65|%77|%7|/|//|/.|;|:|.|-|_|?|[|{|0|1|a| a|ab |a=|a=1,| =|:1|1.|::|-1|gzip,|://|@|a@|{"a":|"a",|&#',
  'ey|eyJ.|ey.a|a.|wbh_|wbh_%|d2JoX|diaF|3Ymhf|"jti":"wbh_|\\u00|\\u0065|waybill=|waybill |error=|error |dpop |bearer ',
].flatMap((line) => line.split('|'));
/** What stands before, where a reader looks further only behind it, and behind it, where the run then leads to nothing. */
const starts = [
  '',
  'a=1',
  'waybill',
  'Bearer ',
  'https://',
  'https://a.test',
  '/',
  '"',
  '00-',
  'dpop',
  '-----BEGIN CERTIFICATE-----',
  '{"iss":"http://waybill.local",',
];
const ends = ['', '!', '\u00e9', 'b'];

/** Some readers take no more than this. */
const shorter = 8000;

/** Each of these once, long, and with the most telling end also shorter. */
export const worstTexts: readonly { readonly what: string; readonly text: string }[] = units.flatMap((unit) =>
  starts.flatMap((start) => [
    ...ends.map((end) => textOf(start, unit, end, longest)),
    textOf(start, unit, '!', shorter),
  ]),
);

function textOf(start: string, unit: string, end: string, length: number): { what: string; text: string } {
  return {
    what: `${start} ${unit}… ${end} of ${length}`,
    text: start + unit.repeat((length - start.length) / unit.length) + end,
  };
}

/** A refusal is an answer as good as any. */
export function attempt(read: () => unknown): void {
  try {
    read();
  } catch {
    // Told by its time alone.
  }
}

/** The shortest of three: a machine that others use too stops for longer now and then. */
export function timed(read: () => unknown): number {
  let shortest = Infinity;
  for (let round = 0; round < 3 && shortest > mostMs; round += 1) {
    const startedAt = performance.now();
    attempt(read);
    shortest = Math.min(shortest, performance.now() - startedAt);
  }
  return shortest;
}
