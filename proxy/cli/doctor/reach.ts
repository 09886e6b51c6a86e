import { isIP } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { formatAddress } from '../../intercept/authority.ts';
import { Refusal } from '../../refusal.ts';
import type { Destination, Way } from '../../route/egress-guard.ts';
import { readAuthorities } from '../../spiffe/authorities-file.ts';
import { inStep, Late, wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

/** Codes of a certificate that nobody vouches for. */
const untrusted = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  // The authority that is trusted has the name of the issuer and another key: a CA that was made anew.
  'CERT_SIGNATURE_FAILURE',
]);
/** Codes of an answer that is no TLS. */
const plain = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO']);

/** How a destination is to be reached, and what is to be said of its settings. */
export interface Attempt {
  readonly destination: Destination;
  /** Terms of TLS; undefined for plain HTTP. */
  readonly tls: ConnectionOptions | undefined;
  /** Says why plain HTTP is not spoken to an address, as a call would be told; undefined: it is spoken to all. */
  readonly plainFault?: (way: Way) => string | undefined;
  /** Setting that names the CA, such as `tools.crm.tls.ca`. */
  readonly authority: string;
  /** Whether that setting names a file, which stands in place of the public authorities. */
  readonly isPinned: boolean;
  /** Setting that says which kinds of address are good; undefined where none does. */
  readonly addresses: string | undefined;
}

/**
 * Resolves, checks, connects and shakes hands, as a call would, and says nothing: no credential is sent. Whether that went well to its end
 * is the result; what did not is among the findings.
 */
export async function reach(attempt: Attempt, { guard, world }: Patient, found: Findings): Promise<boolean> {
  const { destination, tls } = attempt;
  let at = `${destination.host}:${destination.port}`;
  try {
    const way = await inStep(Promise.resolve(guard.find(destination)));
    at = `${destination.host} at ${formatAddress(way.address, way.port)}`;
    const fault = tls === undefined ? attempt.plainFault?.(way) : undefined;
    if (fault !== undefined) {
      found.fail(`${at}: every call is refused: ${fault}`, 'Call it over https (match.scheme), or see that setting.');
      return false;
    }
    const socket = world.dial(way.address, way.port, way.others);
    socket.on('error', () => undefined);
    try {
      await inStep(once(socket, 'connect'));
      // Of several, the one that answered.
      at = `${destination.host} at ${formatAddress(socket.remoteAddress ?? way.address, way.port)}`;
      if (tls === undefined) {
        found.ok(`${at} takes connections, called over plain http`);
        return true;
      }
      const secure = connectTls({ socket, ...tls });
      secure.on('error', () => undefined);
      await inStep(once(secure, 'secureConnect'));
      tellCertificate(secure, at, found, world.now());
      return true;
    } finally {
      socket.destroy();
    }
  } catch (error) {
    tellFailure(error, at, attempt, found);
    return false;
  }
}

function once(socket: TLSSocket | ReturnType<Patient['world']['dial']>, event: 'connect' | 'secureConnect') {
  return new Promise<void>((resolve, reject) => {
    socket.once(event, resolve).once('error', reject);
    socket.once('close', () => reject(Object.assign(new Error('closed'), { code: 'the other side closed it' })));
  });
}

/** Days in which a certificate has to be renewed to be no matter of concern. */
const soonMs = 3 * 24 * 3_600_000;

function tellCertificate(secure: TLSSocket, at: string, found: Findings, now: number): void {
  const end = Date.parse(secure.getPeerCertificate().valid_to);
  found.ok(`${at} takes connections, with a certificate that is trusted (${secure.getProtocol()})`);
  // SVIDs live for an hour, and are renewed.
  const begin = Date.parse(secure.getPeerCertificate().valid_from);
  if (end - begin > soonMs * 2 && end - now < soonMs)
    found.warn(`its certificate ends at ${new Date(end).toISOString()}`, 'Have it renewed.');
}

function tellFailure(error: unknown, at: string, attempt: Attempt, found: Findings): void {
  if (error instanceof Refusal) {
    tellRefusal(error, attempt, found);
    return;
  }
  const word = wordOf(error);
  if (error instanceof Late) found.fail(`${at}: ${word}`, 'See that something listens there, and what stands between.');
  else if (untrusted.has(word))
    found.fail(
      `${at}: no authority that is trusted vouches for its certificate (${word})`,
      attempt.isPinned
        ? `The file in ${attempt.authority} does not hold the CA of this server: put it there, or see who answers.`
        : `Name its CA in ${attempt.authority}.`,
    );
  else if (word === 'ERR_TLS_CERT_ALTNAME_INVALID')
    found.fail(`${at}: its certificate is for another name`, 'Call it by the name in its certificate.');
  else if (word === 'ERR_TLS_FOREIGN_SVID')
    found.fail(`${at}: its certificate is not the SVID that is expected`, 'Compare tls.spiffe_id and trust.domains.');
  else if (word.startsWith('CERT_'))
    found.fail(`${at}: its certificate is not valid (${word})`, 'Have it renewed; see the clocks.');
  else if (plain.has(word))
    found.fail(`${at}: what answers speaks no TLS`, 'Name the right port, or say match.scheme: http if that is meant.');
  else found.fail(`${at}: no connection (${word})`, 'See that something listens there, and what stands between.');
}

function tellRefusal({ code }: Refusal, { destination, addresses }: Attempt, found: Findings): void {
  const { host, dial } = destination;
  if (code === 'address_forbidden')
    found.fail(
      `${host} resolves to an address that it may not have (${destination.addresses.join(', ')} would be good)`,
      addresses === undefined
        ? 'Metadata and link-local addresses are never dialled.'
        : `Say what it may resolve to in ${addresses}.`,
    );
  else if (dial === undefined)
    found.fail(`${host} has no address`, 'Correct the name, or see dns.servers and the DNS of this machine.');
  else found.fail(`${host} cannot be reached (${code})`, 'See its settings.');
}

/** TLS to a host by its name, as to token services. @param ca file with the authorities, in place of the public ones. */
export function trustIn(host: string, ca: string | undefined): ConnectionOptions {
  return {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca: readAuthorities(ca) }),
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
  };
}
