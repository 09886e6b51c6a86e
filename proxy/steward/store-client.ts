import type { Redis, RedisOptions } from 'iovalkey';
import { z } from 'zod';
import type { FleetSettings, StorePlace } from '../../config/fleet.ts';
import { readAuthorities } from '../spiffe/authorities-file.ts';
import { readBounded } from '../spiffe/bounded-file.ts';
import { AnswerLimit, type AnswerSize } from './answer-limit.ts';
import { StoreUnfit } from './store-fault.ts';

const maxPasswordBytes = 4096;
const master = z.tuple([z.string().min(1), z.coerce.number().int().min(1).max(65_535)]);
/** Of answers that hold no entries: `HELLO` names the modules of a server, with what each was loaded with. */
export const brief: AnswerSize = { bytes: 65_536, items: 4096 };

/** A connection to a store or a sentinel, and how much it may still say. */
export class StoreConnection {
  readonly redis: Redis;
  readonly #limit = new AnswerLimit(brief);

  constructor(redis: Redis) {
    this.redis = redis;
    // Emitted when the parser listens, before anything can have come.
    redis.once('connect', () => guardParser(redis.stream, this.#limit));
  }

  /** To be told before each question. */
  expect(size: AnswerSize): void {
    this.#limit.expect(size);
  }

  /** Whoever goes on talking then is not heard until the client loses patience. */
  close(): void {
    this.#limit.expect({ bytes: 0, items: 0 });
    this.redis.disconnect();
  }
}

/**
 * The client's parser recurses into lists, and throws from within the event for one that nests too deep: nobody could catch that, and the
 * process would end by what a server says. The connection ends instead.
 */
function guardParser(stream: Redis['stream'], limit: AnswerLimit): void {
  for (const parse of stream.listeners('data')) {
    stream.removeListener('data', parse);
    stream.prependListener('data', (chunk: Buffer) => {
      try {
        limit.check(chunk);
        Reflect.apply(parse, stream, [chunk]);
      } catch (error) {
        stream.destroy(error instanceof StoreUnfit ? error : new StoreUnfit('its answer cannot be read'));
      }
    });
  }
}

/**
 * A connection to the store, found through the sentinels where there are some, that has answered once.
 * @param attempt counts up: each begins with another sentinel, since one that hangs would be asked first for ever.
 */
export async function connectStore(
  settings: FleetSettings,
  attempt: number,
  answerMs: number,
): Promise<StoreConnection> {
  const { store, username, tls } = settings;
  const password = await readPassword(settings.password_file);
  // Said here: left out, NODE_TLS_REJECT_UNAUTHORIZED=0 of the environment lets whoever answers lift revocations.
  const secure = { rejectUnauthorized: true, ...(tls?.ca === undefined ? {} : { ca: readAuthorities(tls.ca) }) };
  const { host, port } = store ?? (await within(findMaster(settings, attempt, secure, answerMs), answerMs));
  const isTls = store === undefined ? tls !== undefined : store.tls;
  const options: RedisOptions = {
    host,
    port,
    disconnectTimeout: answerMs,
    connectTimeout: answerMs,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(isTls ? { tls: secure } : {}),
  };
  return (await openClient(options, (redis) => redis.call('hello'), answerMs)).connection;
}

/** The client's own search for the master has connections of its own, which nobody could guard. */
async function findMaster(
  settings: FleetSettings,
  attempt: number,
  secure: object,
  answerMs: number,
): Promise<StorePlace> {
  const { sentinels = [], master_name: name = '', tls } = settings;
  const password = await readPassword(settings.sentinel_password_file);
  // Those that do not answer must leave time for one that does.
  const eachMs = Math.floor(answerMs / 3);
  let failure: unknown = new StoreUnfit('no sentinel knows the master');
  for (let at = 0; at < sentinels.length; at += 1) {
    const options: RedisOptions = {
      ...sentinels[(at + attempt) % sentinels.length],
      connectTimeout: eachMs,
      ...(password === undefined ? {} : { password }),
      ...(tls === undefined ? {} : { tls: secure }),
    };
    try {
      const ask = (sentinel: Redis): Promise<unknown> => sentinel.call('sentinel', 'get-master-addr-by-name', name);
      const { connection, reply } = await openClient(options, ask, eachMs);
      connection.close();
      const { data } = master.safeParse(reply);
      if (data !== undefined) return { host: data[0], port: data[1] };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Opens a connection and asks the first question on it. */
async function openClient(
  options: RedisOptions,
  ask: (redis: Redis) => Promise<unknown>,
  answerMs: number,
): Promise<{ readonly connection: StoreConnection; readonly reply: unknown }> {
  // Not before it is needed: most sidecars are no fleet.
  const { Redis: Client } = await import('iovalkey');
  const redis = new Client({ ...once, ...options });
  const connection = new StoreConnection(redis);
  // Without a listener it would print. Who asks hears that the connection is closed; why, is told here only.
  let heard: unknown;
  redis.on('error', (error: unknown) => (heard ??= error));
  try {
    const reply = await within(
      redis.connect().then(() => ask(redis)),
      answerMs,
    );
    return { connection, reply };
  } catch (error) {
    connection.close();
    throw heard ?? error;
  }
}

/** A connection that fails is over. */
const once: RedisOptions = {
  lazyConnect: true,
  retryStrategy: () => null,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  autoResendUnfulfilledCommands: false,
};

async function readPassword(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  return (await readBounded(file, maxPasswordBytes)).toString('utf8').replace(/\r?\n$/, '');
}

/** A server that is stopped gives no error, only silence. */
export async function within<Result>(promise: Promise<Result>, ms: number): Promise<Result> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new StoreUnfit('it does not answer in time')), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
