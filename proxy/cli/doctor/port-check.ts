import { once } from 'node:events';
import { callOperator } from '../operator-client.ts';
import { inStep, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

/** Whether the ports of the sidecar are free, unless one answers at the operator's socket: it has them. */
export async function checkPorts({ config, paths, world }: Patient, found: Findings): Promise<void> {
  const isRunning = await inStep(callOperator({ socket: paths.operatorSocket }, 'GET', '/v1/sidecar')).then(
    () => true,
    () => false,
  );
  if (isRunning) return;
  const { listen, inbound } = config.settings;
  const { outbound, metrics, health } = listen;
  const wanted = { outbound, metrics, health, ...(inbound === undefined ? {} : { inbound: listen.inbound }) };
  const looks = Object.entries(wanted).map(async ([name, { address, port }]) => {
    if (port === 0 || !(await takesConnections(world, reachable.get(address) ?? address, port))) return;
    found.warn(
      `listen.${name}: something listens on port ${port} already`,
      'If that is not a sidecar that runs as another user, or in another container, none will start: stop it, or take another port.',
    );
  });
  await Promise.all(looks);
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
