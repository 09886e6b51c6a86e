import type { Client } from 'undici';
import type { CallEnd } from '../record/call-events.ts';
import type { Admissible, Admitted } from '../record/admit.ts';
import { Refusal } from '../refusal.ts';
import type { HandleBook } from '../tasks/handle.ts';
import type { Task } from '../tasks/task.ts';
import type { TaskCookies } from './cookies/cookie-jars.ts';
import { Relay, type RelayEnd, UnreadableAnswer } from './relay.ts';
import { nothingToScreen, screenFor } from './screen/screen.ts';
import type { Lease } from './upstream.ts';

/** What a send came to. A challenge has not reached the agent: the call goes back to `bind` (nonce) or `exchange` (token). */
export type Forwarded =
  | { readonly kind: 'ended'; readonly end: CallEnd; readonly wasSent: boolean }
  | { readonly kind: 'challenged'; readonly by: 'nonce' | 'token'; readonly end: CallEnd }
  | {
      readonly kind: 'refused';
      readonly refusal: Refusal;
      readonly end: CallEnd;
      /** Whether to send it again could do the work twice. */
      readonly mayBeDone: boolean;
    };

/** What forwarding needs beside the connection: the handles that must not leave, and our name. */
export interface Road {
  readonly handles: HandleBook;
  /** Whether what is known here of revocations is all that there is. */
  readonly revocations: { readonly isCurrent: boolean };
  /** Our name in `Via`, by which a loop is found. */
  readonly pseudonym: string;
  /** The cookies that stay with the sidecar. */
  readonly cookies: TaskCookies;
  /** Hears of the secrets that a tool gets to know: from then on they could come back from anywhere. */
  onSecrets(secrets: readonly { reveal(): string }[]): void;
  /** Hears of a nonce that a tool sent in `DPoP-Nonce`. */
  onNonce(origin: string, nonce: string): void;
}

/** What a program behind the way in says is between it and its callers. */
export const programsOwn: Pick<Road, 'cookies' | 'onSecrets' | 'onNonce'> = {
  cookies: { headerFor: () => undefined, take: () => undefined, secretsOf: () => [] },
  onSecrets: () => undefined,
  onNonce: () => undefined,
};

/** Forwards an admitted call, once. Resolves when the answer has ended; never rejects for what the tool or the agent does. */
export function forward(admitted: Admitted, lease: Lease, road: Road): Promise<Forwarded> {
  const sent = admitted.spend();
  const { call, body, secrets, cookieOwner } = sent;
  // Broken off while it waited: nothing leaves at all.
  if (body.refusal !== undefined) return Promise.resolve(refused(body.refusal, false, 0));
  if (secrets !== undefined) road.onSecrets(secrets);
  const cookies = cookieOwner === undefined ? undefined : road.cookies.headerFor(cookieOwner, call.target);
  return cookies instanceof Promise
    ? cookies.then((value) => send(sent, value, lease, road))
    : send(sent, cookies, lease, road);
}

/** @param cookies Value of `Cookie` that the sidecar adds. */
function send(sent: Admissible, cookies: string | undefined, lease: Lease, road: Road): Promise<Forwarded> {
  const { call, body, task, screened, cookieOwner: owner } = sent;
  const client = clientFor(sent, lease);
  const { promise, resolve } = Promise.withResolvers<Forwarded>();
  const relay = new Relay(call, sent, {
    onNonce: (nonce) => {
      lease.keepNonce(nonce);
      road.onNonce(call.target.origin.text, nonce);
    },
    onHead: (lines) => {
      if (owner !== undefined) road.cookies.take(owner, call.target, lines);
      if (screened === undefined) return nothingToScreen;
      return screenFor(owner === undefined ? screened : [...screened, ...road.cookies.secretsOf(owner, call.target)]);
    },
    onEnd: (end) => {
      if (slot !== undefined) task?.letGo(slot);
      if (end.kind === 'failed' || (end.kind === 'answered' && end.outcome !== 'ok')) lease.spoil();
      resolve(forwardedOf(end, sent, relay.wasSent));
    },
  });
  const slot = task?.holdOpen(relay);
  if (call.response.destroyed) relay.stop('aborted');
  else if (task !== undefined && (task.state !== 'open' || isClosed(sent, task, road))) relay.stop('cut');
  client.dispatch(
    {
      method: call.method,
      path: sent.revealPath(),
      headers: headersFor(sent, cookies, road),
      body: body.content ?? null,
    },
    relay,
  );
  return promise;
}

/** Revoked, or perhaps revoked, since the credential was taken: what waited for the record, or for a nonce, does not leave with it. */
function isClosed({ way, call }: Admissible, task: Task, { revocations }: Road): boolean {
  if (way === 'in') return !revocations.isCurrent;
  return call.tool.credentialed && (task.hasClosed(call.tool.name) || !revocations.isCurrent);
}

/** The last look: a token that is bound to a certificate leaves on a connection that shows this one, or not at all (RFC 8705 3). */
function clientFor(sent: Admissible, lease: Lease): Client {
  const client = lease.client();
  const bound = sent.way === 'out' ? sent.credential.certificate : undefined;
  if (bound !== undefined && lease.certificate !== bound.thumbprint) {
    throw new Error('a bound token on a connection of another certificate');
  }
  return client;
}

/** Methods whose requests do the work once, however often they are sent (RFC 9110 9.2.2). */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

function forwardedOf(end: RelayEnd, { call, body }: Admissible, wasSent: boolean): Forwarded {
  const { handedOn: bytesIn, refusal } = body;
  const mayBeDone = wasSent && !idempotent.has(call.method);
  if (refusal !== undefined) {
    const told = refused(refusal, mayBeDone, bytesIn);
    // Too late for the refusal to reach the agent: the record says what did.
    return end.kind === 'answered' ? { ...told, end: { ...end, outcome: cutBy(end), bytesIn } } : told;
  }
  switch (end.kind) {
    case 'answered':
      return { kind: 'ended', end: { ...end, bytesIn }, wasSent };
    case 'challenged':
      return {
        kind: 'challenged',
        by: end.by,
        end: { status: end.status, outcome: 'upstream_error', bytesIn, bytesOut: 0, masked: false },
      };
    default:
      return refused(refusalOf(end.error, wasSent), mayBeDone, bytesIn);
  }
}

function cutBy({ outcome }: { readonly outcome: CallEnd['outcome'] }): CallEnd['outcome'] {
  return outcome === 'aborted' ? outcome : 'cut';
}

function refused(refusal: Refusal, mayBeDone: boolean, bytesIn: number): Forwarded {
  const { status } = refusal.kind;
  const end = { status, outcome: 'upstream_error', bytesIn, bytesOut: 0, masked: false } as const;
  return { kind: 'refused', refusal, end, mayBeDone };
}

/** The one place that puts together what leaves: Host, the caller's end-to-end headers, then what we inject. */
function headersFor(sent: Admissible, cookies: string | undefined, { handles, pseudonym }: Road): string[] {
  const { call, body } = sent;
  const { headers } = call;
  // Of the caller's headers nothing leaves but what is passed: on the way in, without copies of its token.
  const { forward: passed, selection, cookies: own, via } = sent.passed;
  const out: string[] = ['Host', sent.host, ...passed];
  // What is to be screened has to be readable, and whole: two ranges could share a secret between them.
  if (sent.screened === undefined) out.push(...selection);
  else out.push('Accept-Encoding', 'identity');
  // The agent's own could be the session of somebody else: a session names a user, like the headers that are removed (W12).
  if (sent.keepsCookies) out.push(...own);
  else if (cookies !== undefined) out.push('Cookie', cookies);
  if (sent.keepsCredentials) {
    // The caller's own keys go on where none of ours is injected; a handle never does.
    for (let at = 0; at < headers.credentials.length; at += 2) {
      const value = headers.credentials[at + 1] ?? '';
      if (!handles.carries(value)) out.push(headers.credentials[at] ?? '', value);
    }
  }
  const { length } = body;
  if (length !== undefined && (length > 0 || headers.contentLength !== undefined))
    out.push('Content-Length', String(length));
  out.push('Via', via === undefined ? `1.1 ${pseudonym}` : `${via}, 1.1 ${pseudonym}`);
  out.push(...sent.revealInjected());
  return out;
}

const unanswered = 'The connection ended before there was an answer that can be read.';
/** Undici ends a connection at a 100, and has this message for nothing else that comes while a call waits. */
const continued = 'The answer began with a 100 Continue that was not asked for; what followed it could not be read.';
const tlsCodes = /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|EPROTO|HOSTNAME_MISMATCH)/;

function refusalOf(error: Error, wasSent: boolean): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof UnreadableAnswer) return new Refusal('answer_unreadable');
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (tlsCodes.test(code)) return new Refusal('upstream_tls');
  if (!wasSent) return new Refusal('upstream_unreachable');
  return new Refusal('upstream_unreachable', error.message === 'bad response' ? continued : unanswered);
}
