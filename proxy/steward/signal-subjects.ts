import type { TransmitterSettings } from '../../config/signals.ts';
import { tokenOf, type Principal } from '../tasks/principals.ts';
import { SignalRejected } from '../trust/security-event.ts';
import { isObject } from '../trust/strict-json.ts';

/** As long as a name may be that is kept. */
const maxLength = 1024;
const maxAliases = 32;

/**
 * Whom an event is about (RFC 9493 3, SSF 1.0 3), as principals of the kill switch. Empty where nothing here says who that is: a format
 * without issuer that the configuration does not map, a device, a tenant.
 * @throws SignalRejected for a subject that is malformed, or of an issuer that the transmitter does not speak for.
 */
export function principalsOf(subject: unknown, transmitter: TransmitterSettings): readonly Principal[] {
  if (!isObject(subject) || typeof subject['format'] !== 'string') throw malformed();
  if (subject['format'] !== 'complex') return named(subject, transmitter);
  // Tasks know no session and no device: all that is open of the user ends, which is more than was asked and never less.
  const { user } = subject;
  return user === undefined ? [] : named(user, transmitter);
}

function named(subject: unknown, transmitter: TransmitterSettings): readonly Principal[] {
  if (!isObject(subject) || subject['format'] !== 'aliases') return simple(subject, transmitter);
  const { identifiers } = subject;
  if (!Array.isArray(identifiers) || identifiers.length === 0 || identifiers.length > maxAliases) throw malformed();
  return aliases(identifiers, transmitter);
}

/** All names of one subject. Those of foreign issuers do nothing; if there are no others, that is said. */
function aliases(identifiers: readonly unknown[], transmitter: TransmitterSettings): readonly Principal[] {
  const principals: Principal[] = [];
  let denied: SignalRejected | undefined;
  for (const each of identifiers) {
    try {
      principals.push(...simple(each, transmitter));
    } catch (error) {
      if (!(error instanceof SignalRejected) || error.err !== 'access_denied') throw error;
      denied = error;
    }
  }
  if (denied !== undefined && principals.length === 0) throw denied;
  return principals;
}

function simple(subject: unknown, transmitter: TransmitterSettings): readonly Principal[] {
  if (!isObject(subject)) throw malformed();
  const { opaque, email, account, uri } = transmitter.subjects;
  switch (subject['format']) {
    case 'iss_sub':
      return [{ kind: 'subject', iss: ownIssuer(subject['iss'], transmitter), sub: nameOf(subject['sub']) }];
    case 'jwt_id':
      return [tokenOf(ownIssuer(subject['iss'], transmitter), nameOf(subject['jti']))];
    case 'opaque':
      return mapped(opaque, subject['id']);
    case 'email':
      return mapped(email, subject['email']);
    case 'account':
      return mapped(account, subject['uri']);
    case 'uri':
      return mapped(uri, subject['uri']);
    default:
      return [];
  }
}

/** A name that the configuration says is the `sub` of an issuer. */
function mapped(iss: string | undefined, name: unknown): readonly Principal[] {
  return iss === undefined ? [] : [{ kind: 'subject', iss, sub: nameOf(name) }];
}

/** Whoever may sign events of one issuer must not be able to cut the users of another one off. */
function ownIssuer(iss: unknown, { issuer, subjects }: TransmitterSettings): string {
  const name = nameOf(iss);
  if (!(subjects.issuers ?? [issuer]).includes(name))
    throw new SignalRejected('access_denied', 'the subject is of an issuer that this transmitter does not speak for');
  return name;
}

function nameOf(value: unknown): string {
  if (typeof value !== 'string' || value === '' || value.length > maxLength || !value.isWellFormed()) throw malformed();
  return value;
}

function malformed(): SignalRejected {
  return new SignalRejected('invalid_request', 'sub_id is not a subject identifier');
}
