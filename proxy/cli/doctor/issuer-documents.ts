import type { EndpointCall, EndpointReply } from '../../exchange/endpoint.ts';
import { clockSkewSeconds } from '../../trust/issuers.ts';
import type { Metadata } from '../../trust/issuer-metadata.ts';
import { readKey } from '../../trust/jwks.ts';
import { parseStrictJson } from '../../trust/strict-json.ts';
import { inStep, stepMs, wordOf, type Findings } from './finding.ts';

/** What a service answered when it was asked for its documents, as far as it tells why they are of no use. */
export interface Heard {
  readonly answers: { readonly url: URL; readonly reply: EndpointReply; readonly atMs: number }[];
  readonly faults: string[];
}

/** A call that keeps what it heard. */
export function listenTo(
  call: EndpointCall,
  now: () => number,
): { readonly call: EndpointCall; readonly heard: Heard } {
  const heard: Heard = { answers: [], faults: [] };
  return {
    heard,
    call: async (url, init) => {
      try {
        const reply = await call(url, init);
        heard.answers.push({ url, reply, atMs: now() });
        return reply;
      } catch (error) {
        heard.faults.push(error instanceof Error && 'reason' in error ? String(error.reason) : wordOf(error));
        throw error;
      }
    },
  };
}

/** Says why there is no metadata: nobody answers, somebody else is named in it, or it is none. */
export function tellMissing({ answers, faults }: Heard, issuer: string, found: Findings): void {
  const [fault] = faults;
  const named = answers.map(({ reply }) => readMember(reply, 'issuer')).find((name) => name !== undefined);
  if (named !== undefined && named !== issuer)
    found.fail(
      `its metadata names the issuer ${JSON.stringify(named).slice(0, 200)}, and not ${issuer}`,
      'Write the issuer as the service does, letter by letter and with its slash, or ask the right service.',
    );
  else if (fault !== undefined) found.fail(`its metadata cannot be fetched (${fault})`, 'See that the service runs.');
  else {
    const said = answers.map(({ url, reply }) => `${reply.status} at ${url.pathname}`).join(', ');
    found.fail(
      `it has no metadata (${said === '' ? 'no answer' : said})`,
      'Correct the issuer, or name the endpoints of the service.',
    );
  }
}

/** Compares its clock with ours, by the header of an answer, which has whole seconds. */
export function compareClocks({ answers }: Heard, found: Findings): void {
  const [first] = answers;
  const theirs = Date.parse(first?.reply.headers['date'] ?? '');
  if (first === undefined || Number.isNaN(theirs)) return;
  const seconds = Math.round((theirs - first.atMs) / 1000);
  const [size, which] = [Math.abs(seconds), seconds > 0 ? 'ahead of' : 'behind'];
  const advice = 'Have both clocks kept by NTP.';
  if (size > clockSkewSeconds)
    found.fail(`its clock is ${size} s ${which} ours: tokens are refused as too early or over`, advice);
  else if (size > 5) found.warn(`its clock is ${size} s ${which} ours`, advice);
  else found.ok('its clock agrees with ours');
}

/** Fetches a key set and counts the keys that a signature could be verified with. */
export async function checkKeys(url: URL, call: EndpointCall, found: Findings): Promise<void> {
  const where = `${url.origin}${url.pathname}`;
  const advice = 'Signatures of its tokens cannot be verified: correct jwks, or have the service publish its keys.';
  try {
    const headers = { accept: 'application/jwk-set+json, application/json' };
    const reply = await inStep(call(url, { method: 'GET', headers, timeoutMs: stepMs, maxBytes: 256 * 1024 }));
    const { keys } = reply.status === 200 ? parseStrictJson(reply.body) : { keys: undefined };
    const usable = Array.isArray(keys) ? keys.map(readKey).filter((key) => key !== undefined) : [];
    const signing = usable.filter(({ use }) => use === undefined || use === 'sig');
    if (reply.status !== 200) found.fail(`its keys at ${where} are not there (${reply.status})`, advice);
    else if (signing.length === 0) found.fail(`none of its keys at ${where} can be used`, advice);
    else found.ok(`${signing.length} of its keys can be used`);
  } catch (error) {
    const why = error instanceof Error && 'reason' in error ? String(error.reason) : wordOf(error);
    found.fail(`its keys at ${where} cannot be fetched (${why})`, advice);
  }
}

/** Says what the service does not list. Some list less than they do, so that is no failure. */
export function compareLists(
  metadata: Metadata,
  wanted: readonly (readonly [member: string, good: readonly string[], setting: string])[],
  found: Findings,
): void {
  for (const [member, good, setting] of wanted) {
    const listed = metadata[member];
    if (!Array.isArray(listed)) continue;
    if (good.some((name) => listed.includes(name))) found.ok(`it lists ${good.join(' or ')}`);
    else
      found.warn(
        `its ${member} does not list ${good.join(' or ')}`,
        `Services that do not know it refuse: see ${setting}, and what the client is registered for.`,
      );
  }
}

function readMember({ status, body }: EndpointReply, name: string): string | undefined {
  try {
    const value = status === 200 ? parseStrictJson(body)[name] : undefined;
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}
