import { createPublicKey, generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { algorithmOf, isJwsSignature, isSvidAlgorithm, signJws } from '../spiffe/jws-signature.ts';
import { eventFields } from './event.ts';

/** Where a chain stands: its newest line, by number and hash. */
export interface ChainHead {
  readonly boot: string;
  readonly sequence: number;
  /** SHA-256 of the line, hex. */
  readonly digest: string;
}

/** The X.509-SVID that checkpoints are signed with. */
export interface CheckpointIdentity {
  readonly spiffeId: string;
  /** DER certificates, leaf first. */
  readonly chain: readonly Buffer[];
  readonly privateKey: KeyObject;
}

/** Why a checkpoint was made: before anything is let through, because its time had come, or because the process ends in order. */
export type CheckpointCause = 'start' | 'interval' | 'exit';

/** A checkpoint as it stands in a record, read strictly; its signature is still to be verified. */
export interface Checkpoint {
  readonly cause: string;
  readonly head: ChainHead;
  readonly alg: string;
  /** DER certificates, leaf first; empty where the key of the process signed. */
  readonly x5c: readonly Buffer[];
  readonly signature: Buffer;
}

/** A key of this process, for checkpoints while there is no identity. The boot event names it; with the process it is gone. */
export class ProcessKey {
  readonly #privateKey: KeyObject;
  /** Public JWK. */
  readonly jwk: object;

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#privateKey = privateKey;
    this.jwk = publicKey.export({ format: 'jwk' });
  }

  /** The members of a checkpoint that this key signs. */
  sign(head: ChainHead, cause: CheckpointCause): string {
    return signedFields(head, cause, this.#privateKey, {});
  }
}

/** The members of a checkpoint that the SVID signs. Throws for a key that no SVID has. */
export function signCheckpoint(head: ChainHead, cause: CheckpointCause, identity: CheckpointIdentity): string {
  const { spiffeId, chain, privateKey } = identity;
  return signedFields(head, cause, privateKey, {
    spiffe_id: spiffeId,
    x5c: chain.map((der) => der.toString('base64')),
  });
}

function signedFields(head: ChainHead, cause: CheckpointCause, key: KeyObject, who: object): string {
  const alg = algorithmOf(key);
  if (alg === undefined) throw new Error('the key is for no algorithm of checkpoints');
  const { sequence, digest } = head;
  const signature = signJws(alg, key, signedText(head, cause));
  return eventFields('checkpoint', { cause, sequence, head: digest, alg, ...who, signature });
}

/** What is signed. No JWS and no certificate begins like this: a signature for one purpose is none for another. */
function signedText({ boot, sequence, digest }: ChainHead, cause: string): string {
  return `waybill-checkpoint\n1\n${boot}\n${cause}\n${sequence}\n${digest}`;
}

/** Reads the members of a checkpoint event; undefined where one of them is not as we write it. */
export function readCheckpoint(boot: string, members: Readonly<Record<string, unknown>>): Checkpoint | undefined {
  const { cause, sequence, head, alg, x5c = [], signature } = members;
  if (typeof cause !== 'string' || typeof sequence !== 'number' || typeof head !== 'string') return undefined;
  if (!isSvidAlgorithm(alg) || typeof signature !== 'string' || !Array.isArray(x5c) || x5c.length > 8) return undefined;
  const texts: readonly unknown[] = x5c;
  const chain = texts.map((text) => Buffer.from(typeof text === 'string' ? text : '', 'base64'));
  const digest = { boot, sequence, digest: head };
  return { cause, head: digest, alg, x5c: chain, signature: Buffer.from(signature, 'base64url') };
}

/** Whether this key made the checkpoint. */
export function isCheckpointOf({ head, cause, alg, signature }: Checkpoint, key: KeyObject): boolean {
  return isJwsSignature(alg, key, signedText(head, cause), signature);
}

/** The key that a boot event names; undefined where it names none that is one. */
export function readProcessKey(jwk: unknown): KeyObject | undefined {
  if (typeof jwk !== 'object' || jwk === null) return undefined;
  const { kty, crv, x, y }: Readonly<Record<string, unknown>> = { ...jwk };
  if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string') return undefined;
  try {
    return createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** Key and name of a certificate that nobody has vouched for; undefined where it is none. */
export function readLeaf(der: Buffer): { readonly key: KeyObject; readonly spiffeId: string | undefined } | undefined {
  try {
    const { publicKey: key, subjectAltName = '' } = new X509Certificate(der);
    // Printed, so that nothing else than an ID may be in it.
    const spiffeId = /^URI:(spiffe:\/\/[A-Za-z0-9._/-]+)$/.exec(subjectAltName)?.[1];
    return { key, spiffeId };
  } catch {
    return undefined;
  }
}
