import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'spiffe');

/** Shapes of the files that are read here. */
export interface SpiffeVectors {
  'spiffe-ids': {
    readonly valid: readonly { id: string; td: string; path: string }[];
    readonly invalid: readonly { id: string; reason: string }[];
    readonly charSweep: readonly { char: string; trustDomain: boolean; path: boolean }[];
  };
  'endpoint-socket': {
    readonly valid: readonly string[];
    readonly invalid: readonly { addr: string; reason: string }[];
  };
  bundles: {
    readonly bundles: Readonly<Record<string, { bundle: { keys?: readonly { use: string; kid?: string }[] } }>>;
  };
  'x509-svid-cases': {
    readonly fixtures: readonly { file: string; expect: string; pem: string }[];
    readonly verifyCases: readonly string[];
  };
  'jwt-svid-cases': {
    readonly algs: readonly string[];
    readonly cases: readonly { name: string; accept: boolean }[];
  };
  'workload-api': {
    readonly service: string;
    readonly methods: Readonly<Record<string, readonly [request: string, response: string]>>;
    readonly messages: Readonly<Record<string, Readonly<Record<string, readonly [number: number, type: string]>>>>;
    readonly metadata: Readonly<Record<string, string>>;
  };
  'workload-api-wire': {
    readonly samples: readonly { message: string; object: Readonly<Record<string, unknown>>; hex: string }[];
  };
}

/** A file of the SPIFFE vectors, or undefined where they are not present. */
export function readSpiffeVectors<Name extends keyof SpiffeVectors>(name: Name): SpiffeVectors[Name] | undefined {
  const path = join(folder, `${name}.json`);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as SpiffeVectors[Name]) : undefined;
}

export const absent = 'vectors not present';
