import {
  Server,
  ServerCredentials,
  status,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { workloadApiService, type WorkloadApiService } from '../../proxy/spiffe/service-definition.ts';

/** What a call is answered with: messages, and then nothing (the stream stays open) or an end with this status. */
export interface Answer {
  readonly messages?: readonly object[];
  readonly end?: status;
  /** Waits before anything is said. */
  readonly afterMs?: number;
}

export interface SeenCall {
  readonly method: keyof WorkloadApiService;
  readonly atMs: number;
  readonly header: readonly unknown[];
  readonly request: unknown;
}

/** A Workload API on a real socket that says what a test writes down, right or wrong. A stream without an answer is left open. */
export interface ScriptedWorkloadApi {
  readonly address: string;
  readonly seen: SeenCall[];
  /** Answers by method; the function gets the count of calls of this method so far, from 1, and the request. */
  answers: Partial<Record<keyof WorkloadApiService, (count: number, request: unknown) => Answer>>;
  /** Sends a further message on all open streams of a method. */
  push(method: keyof WorkloadApiService, message: object): void;
  close(): Promise<void>;
}

export async function openScriptedWorkloadApi(listenOn?: 'tcp'): Promise<ScriptedWorkloadApi> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-scripted-'));
  const server = new Server();
  const open = new Set<{ method: string; call: ServerWritableStream<object, object> }>();
  const fake: Omit<ScriptedWorkloadApi, 'address'> = {
    seen: [],
    answers: {},
    push: (method, message) => {
      for (const stream of open) if (stream.method === method) stream.call.write(message);
    },
    close: async () => {
      server.forceShutdown();
      await rm(folder, { recursive: true });
    },
  };
  const see = (
    method: keyof WorkloadApiService,
    call: Pick<ServerUnaryCall<unknown, unknown>, 'metadata' | 'request'>,
  ) => {
    const header = call.metadata.get('workload.spiffe.io');
    fake.seen.push({ method, atMs: performance.now(), header, request: call.request });
    const count = fake.seen.filter((seen) => seen.method === method).length;
    return fake.answers[method]?.(count, call.request);
  };
  const stream = (method: keyof WorkloadApiService) => (call: ServerWritableStream<object, object>) => {
    const answer = see(method, call);
    const entry = { method, call };
    open.add(entry);
    call.on('close', () => open.delete(entry));
    for (const message of answer?.messages ?? []) call.write(message);
    if (answer?.end === status.OK) call.end();
    else if (answer?.end !== undefined) call.emit('error', { code: answer.end, details: 'scripted' });
  };
  server.addService(workloadApiService, {
    FetchX509SVID: stream('FetchX509SVID'),
    FetchX509Bundles: stream('FetchX509Bundles'),
    FetchJWTBundles: stream('FetchJWTBundles'),
    FetchJWTSVID: (call: ServerUnaryCall<object, object>, answer: sendUnaryData<object>) => {
      const { messages, end, afterMs = 0 } = see('FetchJWTSVID', call) ?? {};
      setTimeout(() => {
        if (end !== undefined) answer({ code: end, details: 'scripted' });
        else if (messages?.[0] !== undefined) answer(null, messages[0]);
      }, afterMs);
    },
  });
  const socket = join(folder, 'agent.sock');
  const port = await new Promise<number>((resolve, reject) => {
    const target = listenOn === 'tcp' ? '127.0.0.1:0' : `unix:${socket}`;
    const bound = (error: Error | null, chosen: number) => (error === null ? resolve(chosen) : reject(error));
    server.bindAsync(target, ServerCredentials.createInsecure(), bound);
  });
  return Object.assign(fake, { address: listenOn === 'tcp' ? `tcp://127.0.0.1:${port}` : `unix://${socket}` });
}
