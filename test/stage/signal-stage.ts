import type { Socket } from 'node:net';
import {
  push,
  signalAudience,
  type PushAnswer,
  type PushOptions,
  type SignalTransmitter,
} from '../fakes/signal-transmitter.ts';
import { eventually } from '../fakes/eventually.ts';
import type { EchoTool } from './echo-tool.ts';
import { readRecord, type RecordedEvent } from './event-record.ts';
import { basic, callThrough, dial, requestBytes, type RawAnswer } from './raw-call.ts';
import { callOperator, type StagedTask } from './sidecar-process.ts';
import { openStage, type Stage } from './way-out-stage.ts';

/** A sidecar that hears a transmitter, with a tool that can stream. */
export interface SignalStage extends Stage {
  readonly transmitter: SignalTransmitter;
  /** Delivers an event, and waits until the record tells of it. */
  push(body: string, options?: PushOptions): Promise<PushAnswer>;
  use(task: Pick<StagedTask, 'handle'>): Promise<RawAnswer>;
  /** A stream of a task that has begun to flow. */
  stream(task: Pick<StagedTask, 'handle'>): Promise<{ socket: Socket; closed: Promise<void> }>;
  /** Status of an attempt to open a task with this token. */
  tryOpen(subjectToken: string): Promise<number>;
  /** `sub_id` of a user of the token service. */
  user(sub: string): Record<string, string>;
  /** Events `signal.received`, and those of revocations. */
  signals(): RecordedEvent[];
  revocations(): RecordedEvent[];
  /** Value of `waybill_signals_total`. */
  count(outcome: string): Promise<number>;
}

export interface SignalStageOptions {
  /** Changes the table `signals`. */
  readonly signals?: Record<string, unknown>;
  /** Changes the entry of the transmitter; by default it speaks for the users of the token service too. */
  readonly transmitter?: (issuerOfUsers: string) => Record<string, unknown>;
  /** Further transmitters. */
  readonly more?: (issuerOfUsers: string) => readonly Record<string, unknown>[];
  readonly dir?: string;
}

export async function openSignalStage(
  tool: EchoTool,
  transmitter: SignalTransmitter,
  options: SignalStageOptions = {},
): Promise<SignalStage> {
  const stage = await openStage({
    tools: { crm: { port: tool.port } },
    ...(options.dir === undefined ? {} : { dir: options.dir }),
    sections: ({ issuer }) => ({
      trust: { issuers: [{ issuer, audience: 'invoice-bot' }] },
      signals: {
        listen: '127.0.0.1:0',
        ...options.signals,
        transmitters: [
          {
            issuer: transmitter.issuer,
            audience: signalAudience,
            subjects: { issuers: [issuer] },
            ...options.transmitter?.(issuer),
          },
          ...(options.more?.(issuer) ?? []),
        ],
      },
    }),
  });
  const events = (name: string) => readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === name);
  return Object.assign(stage, {
    transmitter,
    async push(body: string, more?: PushOptions) {
      const before = events('signal.received').length;
      const answer = await push(stage.sidecar.addresses.signals ?? '', body, more);
      await eventually('the record tells of the event', () => events('signal.received').length > before);
      return answer;
    },
    use: ({ handle }: Pick<StagedTask, 'handle'>) =>
      callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle }),
    stream: ({ handle }: Pick<StagedTask, 'handle'>) => streamOf(stage.sidecar.addresses.outbound, handle),
    tryOpen: async (token: string) => {
      const { socket } = stage.sidecar.addresses;
      return (await callOperator(socket, 'POST', '/v1/tasks', { subject_token: token })).status;
    },
    user: (sub: string) => ({ format: 'iss_sub', iss: stage.service.issuer, sub }),
    signals: () => events('signal.received'),
    revocations: () => events('principal.revoked'),
    count: (outcome: string) => stage.sidecar.metric(`waybill_signals_total{outcome="${outcome}"}`),
  });
}

async function streamOf(outbound: string, handle: string): Promise<{ socket: Socket; closed: Promise<void> }> {
  const socket = dial(outbound);
  const headers = { Host: 'crm.test', 'Proxy-Authorization': basic(handle) };
  socket.write(requestBytes('GET', 'http://crm.test/stream', headers));
  await new Promise((done) => socket.once('data', done));
  socket.resume();
  return { socket, closed: new Promise<void>((done) => socket.once('close', () => done())) };
}
