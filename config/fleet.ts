import { z } from 'zod';
import { duration } from './durations.ts';
import { identifier, line, path } from './text.ts';

/** Where a server listens: a name or an address (IPv6 without brackets) and a port. */
export interface StorePlace {
  readonly host: string;
  readonly port: number;
}

/** A store, and whether it is spoken to over TLS. */
export interface StoreUrl extends StorePlace {
  readonly tls: boolean;
}

const hostAndPort = /^(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<name>[A-Za-z0-9_.-]{1,253})):(?<port>\d{1,5})$/;

/** Reads `valkey.example.org:6379` or `[::1]:6379`; undefined for anything else. */
export function parseStorePlace(text: string): StorePlace | undefined {
  const groups = hostAndPort.exec(text)?.groups;
  const host = groups?.['v6'] ?? groups?.['name'];
  const port = Number(groups?.['port']);
  return host !== undefined && port > 0 && port <= 65_535 ? Object.freeze({ host, port }) : undefined;
}

/** Reads a store; undefined where it is not in the one form that we take. Redis is another name for the same protocol. */
export function parseStoreUrl(text: string): StoreUrl | undefined {
  const groups = /^(?:valkey|redis)(?<tls>s?):\/\/(?<place>[^/?#@]+?)(?<port>:\d{1,5})?\/?$/.exec(text)?.groups;
  const place = parseStorePlace(`${groups?.['place'] ?? ''}${groups?.['port'] ?? ':6379'}`);
  return place === undefined ? undefined : Object.freeze({ ...place, tls: groups?.['tls'] === 's' });
}

/** Whatever is written before an `@` may be a password, which no message may repeat. */
function faultOf(text: string): string | undefined {
  if (text.includes('@')) return 'must not hold a user name or password; write `username` and `password_file`';
  return parseStoreUrl(text) === undefined
    ? 'must be valkey://HOST:PORT, or valkeys://HOST:PORT for TLS, without path and query'
    : undefined;
}

const storeUrl = z
  .string()
  .check((context) => {
    const message = faultOf(context.value);
    if (message !== undefined) context.issues.push({ code: 'custom', message, input: context.value });
  })
  .transform((text): StoreUrl => parseStoreUrl(text) ?? { host: '', port: 0, tls: true });

const sentinel = z
  .string()
  .refine((text) => parseStorePlace(text) !== undefined, { error: 'must be HOST:PORT, such as sentinel-1:26379' })
  .transform((text): StorePlace => parseStorePlace(text) ?? { host: '', port: 0 });

/** The store by which the sidecars of a fleet tell each other what was revoked. */
export const fleetTable = z
  .strictObject({
    store: storeUrl.optional().meta({
      description:
        'The Valkey or Redis server of the fleet: `valkey://HOST:PORT`, with TLS `valkeys://HOST:PORT`; `redis` and `rediss` are the same. Cluster mode is not supported. It wants `maxmemory-policy noeviction`; at its `maxmemory` calls go on, and what is revoked is `pending` at the other sidecars. With `sentinels` it is left out.',
      examples: ['valkeys://valkey.example.org:6380'],
      'x-default': 'none; it is required without `sentinels`',
    }),
    sentinels: z
      .array(sentinel)
      .min(1)
      .max(16)
      .readonly()
      .optional()
      .meta({
        description: 'Sentinels, which know the server that is the master at the moment, in place of `store`.',
        examples: [['sentinel-1:26379', 'sentinel-2:26379', 'sentinel-3:26379']],
      }),
    master_name: line.optional().meta({
      description: 'The name that the sentinels know the master by.',
      examples: ['mymaster'],
    }),
    username: line.optional().meta({
      description: 'User of the store (ACL), where it is not the default one.',
      examples: ['waybill'],
    }),
    password_file: path.optional().meta({
      description: 'File with the password of the store; it is read at each connection.',
      examples: ['/run/secrets/valkey'],
    }),
    sentinel_password_file: path.optional().meta({
      description: 'File with the password of the sentinels, where they have one.',
      examples: ['/run/secrets/sentinel'],
    }),
    tls: z
      .strictObject({
        ca: path.optional().meta({
          description:
            'File with the CA certificates (PEM) that are trusted for the store in place of the public ones.',
          examples: ['/etc/valkey-ca.pem'],
        }),
      })
      .readonly()
      .optional()
      .meta({
        description: 'How the store is recognised. With `sentinels`, that it stands here turns TLS on, for both.',
        examples: [{ ca: '/etc/valkey-ca.pem' }],
      }),
    prefix: identifier.prefault('waybill').meta({
      description: 'First part of the keys in the store: sidecars with the same one are a fleet.',
      examples: ['waybill'],
    }),
    replicas: z
      .int()
      .min(0)
      .max(16)
      .prefault(0)
      .meta({
        description:
          'How many replicas must have taken a revocation before it counts as stored. They must also take a sign of life before the sidecar trusts what the store says: a master that lost its replicas may not be the master any more.',
        examples: [1],
      }),
    max_silence: duration({ min: '1s', max: '5m' })
      .prefault('2s')
      .meta({
        description:
          'How old may be what the store last said. Beyond, calls with a credential and new tasks are refused (`fleet_unavailable`) and streams are cut, until the store answers again. A revocation that was stored is in force everywhere within this time.',
        examples: ['2s'],
      }),
    unsafe_plaintext: z
      .boolean()
      .prefault(false)
      .meta({
        description: 'Allows a store off loopback without TLS: anybody on the path can withhold revocations.',
        examples: [true],
      }),
    unsafe_serve_without_store: z
      .boolean()
      .prefault(false)
      .meta({
        description:
          'Goes on when the store is silent, also from the start: a principal that was revoked elsewhere meanwhile is served until the store answers again.',
        examples: [true],
      }),
  })
  .readonly()
  .optional()
  .meta({
    title: 'fleet',
    description:
      'The store by which sidecars tell each other what was revoked. Without this table there is one sidecar, and a revocation holds there.',
  });

/** `max_silence` in milliseconds; either `store`, or `sentinels` and `master_name`. */
export type FleetSettings = NonNullable<z.output<typeof fleetTable>>;
