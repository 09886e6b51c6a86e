import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { inStep, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';
import { askSidecar } from './sidecar-check.ts';

/** What the system says of an address that this machine does not have, or has at no interface that was named. */
const notOurs: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL']);

/** Whether the sidecar may have its ports, and they are free, unless one answers at the operator's socket: it has them. */
export async function checkPorts(patient: Patient, found: Findings): Promise<void> {
  const { config, world } = patient;
  const isRunning = await askSidecar(patient).then(
    () => true,
    () => false,
  );
  if (isRunning) return;
  const { listen, inbound, operator, signals } = config.settings;
  const { outbound, metrics, health } = listen;
  const wanted = {
    'listen.outbound': outbound,
    'listen.metrics': metrics,
    'listen.health': health,
    ...(inbound === undefined ? {} : { 'listen.inbound': listen.inbound }),
    // Without a token nobody could use it, and it is not opened.
    ...(Object.values(operator.tokens).every((file) => file === undefined)
      ? {}
      : { 'operator.listen': operator.listen }),
    ...(signals === undefined ? {} : { 'signals.listen': signals.listen }),
  };
  const looks = Object.entries(wanted).map(async ([name, { address, port }]) => {
    const fault = await findFault(address, port);
    if (fault !== undefined && notOurs.has(fault)) {
      found.fail(
        `${name}: this machine has no address ${address}`,
        'Name one that it has; with one that it has not, the sidecar does not start.',
      );
      return;
    }
    if (fault === 'EACCES')
      found.warn(
        `${name}: this user may not listen on port ${port}`,
        'Take a higher port, or start the sidecar with CAP_NET_BIND_SERVICE (Linux: net.ipv4.ip_unprivileged_port_start is the first port without).',
      );
    if (port === 0 || !(await takesConnections(world, reachable.get(address) ?? address, port))) return;
    found.warn(
      `${name}: something listens on port ${port} already`,
      'If that is not a sidecar that runs as another user, or in another container, none will start: stop it, or take another port.',
    );
  });
  await Promise.all(looks);
}

/**
 * Why the system gives this address and port to nobody here, as its code; undefined where it would. Asked for UDP and given back at once:
 * the rules are those of TCP, and nothing is opened that a call could come to.
 */
async function findFault(address: string, port: number): Promise<string | undefined> {
  const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4' });
  try {
    const bound = once(socket, 'listening');
    socket.bind({ address, port, exclusive: true });
    await bound;
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : undefined;
  } finally {
    socket.close();
  }
}

/** Whether the program behind the way in is there. It may well start after us, so its absence is no failure. */
export async function checkProgram({ config, world }: Patient, found: Findings): Promise<void> {
  const to = config.settings.inbound?.forward_to;
  if (to === undefined) return;
  // As the way in does: names of this machine are not asked for.
  if (await takesConnections(world, to.host === 'localhost' ? '127.0.0.1' : to.host, to.port))
    found.ok(`${to.origin} takes connections`);
  else
    found.warn(
      `nothing listens at ${to.origin} (inbound.forward_to)`,
      'Start the program behind the way in, or name its port; until then every request is refused.',
    );
}

/** Who listens on all addresses is met on loopback. */
const reachable: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

async function takesConnections(world: Patient['world'], host: string, port: number): Promise<boolean> {
  const socket = world.dial(host, port);
  socket.on('error', () => undefined);
  try {
    await inStep(once(socket, 'connect'));
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
