import type { SignalsSettings } from '../config/signals.ts';
import type { OpenRecord } from './open-record.ts';
import { faultFacts, type ProcessLog } from './process-log.ts';
import { MemoryLedger } from './replay/ledgers/memory.ts';
import type { KillSwitch } from './steward/kill-switch.ts';
import type { StewardListener } from './steward/operator-listener.ts';
import { openSignalListener } from './steward/signal-listener.ts';
import { maxSeenSignals, readAuthorization, SignalReceiver } from './steward/signal-receiver.ts';
import { IssuerMetadata, transmitterUrls } from './trust/issuer-metadata.ts';
import { JwksCache } from './trust/jwks.ts';
import { SecurityEvents } from './trust/security-event.ts';
import type { WayOut } from './way-out.ts';

/** Opens the receiver of signals: what it believes goes to the same kill switch as the operator's word. */
export async function openSignals(
  settings: SignalsSettings,
  wayOut: Pick<WayOut, 'endpoints' | 'world'>,
  killSwitch: KillSwitch,
  record: Pick<OpenRecord, 'trail'>,
  log: ProcessLog,
): Promise<StewardListener> {
  const { world } = wayOut;
  const { call, vouchedBy } = wayOut.endpoints;
  const { transmitters } = settings;
  for (const { authorization_file: file } of transmitters) if (file !== undefined) await readAuthorization(file);
  const keys = new JwksCache(world, call, vouchedBy);
  const receiver = new SignalReceiver({
    transmitters,
    events: new SecurityEvents(keys, new IssuerMetadata(world, call, vouchedBy, transmitterUrls), world),
    killSwitch,
    seen: new MemoryLedger(world, maxSeenSignals),
    trail: record.trail,
    world,
    onIgnored: (issuer, type) =>
      log.warn({ issuer, type }, 'a signal names its subject in a way that is not mapped here'),
    onFault: (error) => {
      record.trail.fault();
      log.error(faultFacts(error), 'fault of the receiver of signals');
    },
  });
  return openSignalListener(settings, receiver, (error) =>
    log.error(faultFacts(error), 'the certificate of the receiver of signals cannot be read; the one before goes on'),
  );
}
