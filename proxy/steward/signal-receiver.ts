import { createHash, timingSafeEqual } from 'node:crypto';
import type { TransmitterSettings } from '../../config/signals.ts';
import type { ReceivedSignal } from '../record/signal-events.ts';
import { claimKey, type ReplayLedger } from '../replay/claim.ts';
import { readBounded } from '../spiffe/bounded-file.ts';
import { KeysUnavailable } from '../trust/jwks.ts';
import { readSecurityEvent, type SecurityEvent, SignalRejected } from '../trust/security-event.ts';
import type { StrictJws } from '../trust/strict-jws.ts';
import type { World } from '../world.ts';
import type { Revoked } from './kill-switch.ts';
import { Problem } from './problem.ts';
import type { RevokeRequest } from './revoke-request.ts';
import { principalsOf } from './signal-subjects.ts';

/** Port: takes principals out. What it resolves with is done and kept; it may reach others before. */
export interface Revoker {
  revoke(order: RevokeRequest, by: string): Revoked | Promise<Revoked>;
}

/** Port: believes an event only after every check. */
export interface EventVerifier {
  verify(jws: StrictJws, transmitter: TransmitterSettings): Promise<SecurityEvent>;
}

export interface SignalReceiverParts {
  readonly transmitters: readonly TransmitterSettings[];
  readonly events: EventVerifier;
  readonly killSwitch: Revoker;
  /** Events that were followed. */
  readonly seen: ReplayLedger;
  readonly trail: { signalReceived(signal: ReceivedSignal): void };
  readonly world: World;
  /** Told of a type that we act on, about somebody whom nothing here names. */
  readonly onIgnored: (issuer: string, type: string) => void;
  readonly onFault: (error: unknown) => void;
}

/** Events that are remembered: beyond, one that comes again revokes again what its time says, which changes nothing. */
export const maxSeenSignals = 65_536;
const maxAuthorizationBytes = 8192;

const caep = 'https://schemas.openid.net/secevent/caep/event-type/';
const risc = 'https://schemas.openid.net/secevent/risc/event-type/';
const ssf = 'https://schemas.openid.net/secevent/ssf/event-type/';
/** What all of these say is the same to us: what was issued to the subject before must not count any more. */
const revoking: ReadonlySet<string> = new Set([
  ...['session-revoked', 'token-claims-change', 'credential-change'].map((name) => caep + name),
  ...['credential-compromise', 'account-disabled', 'account-purged', 'sessions-revoked'].map((name) => risc + name),
]);
const verification = `${ssf}verification`;
const known: ReadonlySet<string> = new Set([...revoking, verification, `${ssf}stream-updated`]);

/** What the event told of itself, as far as it was read. */
type Told = { -readonly [Member in 'issuer' | 'type' | 'jti']?: ReceivedSignal[Member] };

/** Follows security events: what the transmitter says of its own subject is done as if the operator had asked for it. */
export class SignalReceiver {
  readonly #parts: SignalReceiverParts;
  readonly #byIssuer: ReadonlyMap<string, TransmitterSettings>;

  constructor(parts: SignalReceiverParts) {
    this.#parts = parts;
    this.#byIssuer = new Map(parts.transmitters.map((each) => [each.issuer, each]));
  }

  /**
   * Takes one security event token. Never rejects.
   * @returns `accepted` only after what it asks for is done and on disk; `later` where that failed and it has to come again.
   */
  async receive(text: string, authorization: string | undefined): Promise<'accepted' | 'later' | SignalRejected> {
    const { trail, onFault } = this.#parts;
    const told: Told = {};
    try {
      const outcome = await this.#follow(text, authorization, told);
      trail.signalReceived({ ...told, ...outcome });
      return 'accepted';
    } catch (error) {
      if (error instanceof SignalRejected) {
        trail.signalReceived({ ...told, outcome: 'refused', cause: error.err });
        return error;
      }
      const cause = causeOf(error);
      trail.signalReceived({ ...told, outcome: 'failed', cause });
      if (cause === 'fault') onFault(error);
      return 'later';
    }
  }

  async #follow(text: string, authorization: string | undefined, told: Told): Promise<ReceivedSignal> {
    const { events, seen, world, onIgnored } = this.#parts;
    const jws = readSecurityEvent(text);
    const { iss } = jws.payload;
    const transmitter = typeof iss === 'string' ? this.#byIssuer.get(iss) : undefined;
    if (transmitter === undefined) throw new SignalRejected('invalid_issuer', 'iss is not one of our transmitters');
    const { issuer, authorization_file: file } = transmitter;
    told.issuer = issuer;
    if (file !== undefined) await checkAuthorization(file, authorization);
    const event = await events.verify(jws, transmitter);
    const type = known.has(event.type) ? event.type.slice(event.type.lastIndexOf('/') + 1) : 'other';
    told.type = type;
    told.jti = createHash('sha256').update(event.jti).digest('hex').slice(0, 16);
    if (event.type === verification) return { outcome: 'verified' };
    if (!revoking.has(event.type)) return { outcome: 'ignored', cause: 'type' };
    const key = claimKey('signal', issuer, event.jti);
    if (seen.has(key, world.now())) return { outcome: 'repeated' };
    const principals = principalsOf(event.subject, transmitter);
    if (principals.length === 0) {
      onIgnored(issuer, type);
      return { outcome: 'ignored', cause: 'subject' };
    }
    // `iat` has whole seconds: what was issued in the second of the event counts as before.
    const beforeMs = (event.occurredAt + 1) * 1000;
    const came = { tasks: 0, credentials: 0 };
    for (const what of principals) {
      const { tasks, credentials } = await this.#parts.killSwitch.revoke(
        { what, reason: type, beforeMs },
        `signal:${issuer}`,
      );
      came.tasks += tasks;
      came.credentials += credentials;
    }
    // Only now: one that failed half-way must not be taken for done when it comes again.
    seen.claim(key, event.acceptedUntilMs, world.now());
    return { outcome: 'revoked', ...came };
  }
}

/** The value that a transmitter has to send. Rejects where there is none that is worth comparing. */
export async function readAuthorization(file: string): Promise<string> {
  const value = (await readBounded(file, maxAuthorizationBytes)).toString('utf8').replace(/\r?\n$/, '');
  if (!/^[\x20-\x7e]{16,}$/.test(value))
    throw new Error(`${file} must hold a value of at least 16 characters, all printable ASCII`);
  return value;
}

async function checkAuthorization(file: string, presented: string | undefined): Promise<void> {
  let expected: string;
  try {
    expected = await readAuthorization(file);
  } catch {
    throw new AuthorizationUnreadable();
  }
  // In constant time, also where the lengths differ.
  if (!timingSafeEqual(digestOf(expected), digestOf(presented ?? '')))
    throw new SignalRejected('authentication_failed', 'Authorization is not what was agreed');
}

class AuthorizationUnreadable extends Error {}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest();

function causeOf(error: unknown): string {
  if (error instanceof KeysUnavailable) return 'keys_unavailable';
  if (error instanceof AuthorizationUnreadable) return 'authorization_unreadable';
  return error instanceof Problem ? error.code : 'fault';
}
