import { setTimeout as sleep } from 'node:timers/promises';
import { Refusal } from '../refusal.ts';
import type { World } from '../world.ts';
import { Deadline } from './deadline.ts';
import { type EndpointCall, EndpointFault, type EndpointReply } from './endpoint.ts';

/** Pause before the second attempt, 50 to 150 ms: what failed together should not come back together. */
const minPauseMs = 50;
const spreadMs = 100;

/**
 * Does the work, and once more where the first attempt got no byte of an answer, or only that of a gateway. After an answer that broke
 * off a token may exist that nobody saw, and after the deadline nobody waits any more: then the failure stands.
 * @param work makes its whole request anew each time: a DPoP proof and an assertion have a `jti` that is good once.
 */
export async function withOneRetry<T>(work: () => Promise<T>, deadline: Deadline, world: World): Promise<T> {
  try {
    return await work();
  } catch (first) {
    const pauseMs = minPauseMs + (world.random(1).readUInt8() / 256) * spreadMs;
    if (!isPassing(first) || !deadline.allows(pauseMs)) throw first;
    await sleep(pauseMs);
    try {
      return await work();
    } catch (second) {
      // The first attempt may have arrived after all and used up a grant that is good once. The next exchange will know.
      throw second instanceof Refusal && second.code === 'grant_dead' ? first : second;
    }
  }
}

/** A service demands a nonce, which is known now; but the statement that came with the request may be good once, and is used up. */
export class NonceDemanded extends Refusal {
  constructor(service: string) {
    super('exchange_refused', `The token service "${service}" demands another nonce each time.`);
  }
}

/** There is no other statement for a second attempt. The cause was told and counted where it happened: at another service. */
export class NoStatement extends Error {
  constructor(cause: unknown) {
    super('no other statement', { cause });
  }
}

/**
 * Does the work with a statement, and once more, with another one, where a nonce was all that it lacked. Rejects with `NoStatement` where
 * there is no other one.
 */
export async function withNonce<S, T>(
  work: (statement: S) => Promise<T>,
  first: S,
  another: () => Promise<S>,
): Promise<T> {
  try {
    return await work(first);
  } catch (error) {
    if (!(error instanceof NonceDemanded)) throw error;
    const second = await another().catch((cause: unknown) => {
      throw new NoStatement(cause);
    });
    return work(second);
  }
}

/** The same call; public documents (GET: metadata, keys) are asked for once more, within the time of the one call. */
export function retryDocuments(call: EndpointCall, world: World): EndpointCall {
  return async (url, init) => {
    if (init.method !== 'GET') return call(url, init);
    const deadline = new Deadline(world, init.timeoutMs);
    const ask = async (): Promise<EndpointReply> => {
      const reply = await call(url, { ...init, timeoutMs: deadline.leftMs() });
      if (isGatewayFailure(reply)) throw new EndpointFault('unavailable');
      return reply;
    };
    return withOneRetry(ask, deadline, world);
  };
}

/** A gateway's word that nobody stands behind it now. With Retry-After it is not for us to try sooner. */
export function isGatewayFailure({ status, headers }: EndpointReply): boolean {
  return status >= 502 && status <= 504 && headers['retry-after'] === undefined;
}

function isPassing(error: unknown): boolean {
  return error instanceof EndpointFault && (error.reason === 'unreachable' || error.reason === 'unavailable');
}
