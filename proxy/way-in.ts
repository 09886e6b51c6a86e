import type { InboundSettings } from '../config/inbound.ts';
import type { LoadedSettings } from '../config/load.ts';
import { hearTurnedAway } from './hear-turned-away.ts';
import { runIngress } from './ingress.ts';
import { formatAddress } from './intercept/authority.ts';
import { openInboundListener } from './intercept/inbound-listener.ts';
import type { Listener } from './intercept/listener.ts';
import { serverIdentity } from './open-identity.ts';
import { makeDoor, openIngressKeep, openIngressRooms } from './open-ingress.ts';
import type { OpenRecord } from './open-record.ts';
import { openInertTokens, type InertTokens } from './present/inert-token.ts';
import type { Gate } from './verify/verify.ts';
import type { WayOut } from './way-out.ts';

/** The way in, opened and not yet listening. */
export interface WayIn {
  /** Keys of the inert tokens, for agents that insist on verifying. */
  readonly inert: InertTokens;
  listen(): Promise<{ readonly address: string; readonly port: number }>;
  /** Makes everything for another configuration. What it returns puts it in force, and does not throw. */
  prepare(config: LoadedSettings, inbound: InboundSettings): () => void;
  close(graceMs: number): Promise<void>;
}

/** Opens the rooms of the way in beside those of the way out: tasks, connections and identity are the same. */
export function openWayIn(config: LoadedSettings, inbound: InboundSettings, wayOut: WayOut, record: OpenRecord): WayIn {
  const inert = openInertTokens(config.settings.agent.name, inbound.inert_alg);
  const lasting = { ...openIngressKeep(config, wayOut, record), inert };
  let rooms = openIngressRooms(config, inbound, wayOut, record, lasting);
  const { listen } = config.settings;
  const inForce = (): Gate => rooms.gate;
  let listener: Listener | undefined;
  return {
    inert: lasting.inert,
    async listen() {
      listener = await openInboundListener(
        {
          host: listen.inbound.address,
          port: listen.inbound.port,
          plain: inbound.tls === 'svid' ? 'never' : inbound.unsafe_plaintext ? 'always' : 'loopback',
          clientCertificates: inbound.client_certificates,
          identity: () => serverIdentity(wayOut.workload),
        },
        {
          onRequest: (arrival) => void runIngress(arrival, rooms, inForce),
          checkTunnel: () => undefined,
          onRefused: (id, refusal, target, wasAdmitted) =>
            record.trail.refused({ id, way: 'in', refusal, status: refusal.kind.status, target }, wasAdmitted),
          onTurnedAway: hearTurnedAway('in', wayOut, record.trail),
          nextCallId: wayOut.nextCallId,
          monotonic: wayOut.world.monotonic,
        },
      );
      return { address: formatAddress(listener.address, listener.port), port: listener.port };
    },
    prepare(next, nextInbound) {
      const door = makeDoor(next, wayOut, lasting.lingering);
      const prepared = openIngressRooms(next, nextInbound, wayOut, record, lasting);
      return () => {
        wayOut.upstreams.forget(rooms.reader.program);
        lasting.inForce.door = door;
        rooms = prepared;
      };
    },
    async close(graceMs) {
      await listener?.close(graceMs);
      for (const lingering of lasting.lingering.values()) lingering.endAll();
    },
  };
}
