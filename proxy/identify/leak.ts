import type { BodyWatch } from '../intercept/body-watch.ts';
import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { handleLength, handleTextsIn, mayHoldHandle } from '../tasks/handle-text.ts';
import type { HandleBook } from '../tasks/handle.ts';
import { unfolded } from './unfolded.ts';

/** Port: the secrets of this sidecar that could stand where they do not belong. */
export interface KnownSecrets {
  /** Whether one of a wanted kind is in these bytes, in a form that a tool or its logs could read back. */
  finds(
    bytes: Buffer,
    wanted: { readonly handles: boolean; readonly marks: boolean; readonly tokens: boolean },
  ): boolean;
  /** The same also behind escapes that nobody needs: takes longer. */
  findsEscaped: KnownSecrets['finds'];
  /** How many bytes at the end could be the beginning of one. */
  tail(bytes: Buffer): number;
  /** Bytes of the longest text by which one is found. */
  readonly span: number;
}

/** What is shorter holds neither a handle nor a token. */
const shortest = 16;
const inHeaders = { handles: true, marks: false, tokens: true };
const tokensOnly = { handles: false, marks: false, tokens: true };

/**
 * Refuses a call that carries a handle or a token of ours where none belongs: path, query, cookie, a header that is passed on or its name,
 * a host of the agent's choice. Such a call would hand it to the tool, its logs and our record (DESIGN 7, `credential_leak`; W8).
 */
export function checkLeak(call: Call, { handles, secrets }: Known): void {
  const { path } = call.target;
  checkText(path, handles);
  const { forward, cookies, selection, credentials, via } = call.headers;
  let all = path.length < shortest ? '' : path;
  all = withPassed(withPassed(all, forward, handles), cookies, handles);
  if (selection.length > 0 && passesSelection(call)) all = withPassed(all, selection, handles);
  if (via !== undefined) all = withPassed(all, ['via', via], handles);
  all += hostIn(call);
  if (all !== '' && secrets.findsEscaped(Buffer.from(all, 'latin1'), inHeaders)) throw new Refusal('credential_leak');
  // Where a credential of ours goes in, the agent's own is taken out; elsewhere its key passes, and nothing of ours is one of its keys.
  if (!call.tool.credentialed && credentials.length > 0) checkKeys(credentials, { handles, secrets });
}

interface Known {
  readonly handles: HandleBook;
  readonly secrets: KnownSecrets;
}

/** The text with what is long enough of these headers, so that all is searched at once. */
function withPassed(text: string, headers: readonly string[], handles: HandleBook): string {
  let all = text;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    checkText(value, handles);
    if (name.length >= shortest) all += `\n${name}`;
    if (value.length >= shortest) all += `\n${value}`;
  }
  return all;
}

/** Whether the tool gets to see in which form the agent wants the answer: where it is screened, we choose. */
function passesSelection({ tool }: Call): boolean {
  return !tool.credentialed || tool.settings.unsafe_response_screen === 'off';
}

/** The host, where the agent chooses it, as it is and without the dots that a name has to have every 63 characters. */
function hostIn({ target: { origin }, tool }: Call): string {
  return tool.host === origin.host ? '' : `\n${origin.host}\n${origin.host.replaceAll('.', '')}`;
}

/** A handle in a form that the ladder reads names the task, and is taken out. */
function checkKeys(credentials: readonly string[], { handles, secrets }: Known): void {
  const keys = credentials.filter((_text, at) => at % 2 === 1);
  if (!secrets.findsEscaped(Buffer.from(keys.join('\n'), 'latin1'), inHeaders)) return;
  for (const key of keys) {
    const wanted = handles.carries(key) ? tokensOnly : inHeaders;
    if (secrets.findsEscaped(Buffer.from(key, 'latin1'), wanted)) throw new Refusal('credential_leak');
  }
}

function checkText(text: string, handles: HandleBook): void {
  // The way of nearly every call: nothing to do, or a few scans for a character or two, and nothing is built.
  if (text.length < handleLength || !mayHoldHandle(text)) return;
  for (const found of handleTextsIn(text)) {
    if (typeof handles.find(found) === 'object') throw new Refusal('credential_leak');
  }
}

const nothing = Buffer.alloc(0);

/** Where OpenTelemetry sends spans, each with the `tracestate` that we put our mark into (OTLP/HTTP). */
const isOfTraces = /\/v1\/traces$/;

/**
 * What must not leave in the body of a call: nothing of ours belongs there. Marks count where a credential of ours goes, but for stores
 * of traces, which are meant to see them.
 */
export function watchBody(call: Call, secrets: KnownSecrets): BodyWatch {
  const marks = call.tool.credentialed && !isOfTraces.test(call.rawPath);
  const wanted = { handles: true, marks, tokens: true };
  return {
    isIn: (body) => {
      if (secrets.findsEscaped(body, wanted)) return true;
      const plain = unfolded(call, body);
      return plain !== undefined && secrets.findsEscaped(plain, wanted);
    },
    holds: (bytes) => secrets.finds(bytes, wanted),
    tail: (bytes) => secrets.tail(bytes),
    span: secrets.span,
    before: nothing,
    refusal: () => new Refusal('credential_leak', 'The body of the call holds a handle or a credential.'),
  };
}
