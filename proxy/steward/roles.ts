import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { OperatorSettings } from '../../config/operator.ts';
import { readNamed } from './named-file.ts';
import { Problem } from './problem.ts';

const roles = ['reader', 'orchestrator', 'approver', 'operator'] as const;

/** What a caller of the operator's API may do. `operator` may do everything. */
export type Role = (typeof roles)[number];

interface KnownToken {
  readonly role: Role;
  readonly digest: Buffer;
}

/** The bearer tokens of the operator's API: one role each, from files. Only their digests are kept. */
export class RoleTokens {
  readonly #tokens: readonly KnownToken[];

  /** Throws when a file cannot be read or holds no usable token: a sidecar without its operator must not start. */
  constructor(files: OperatorSettings['tokens']) {
    this.#tokens = roles.flatMap((role) => {
      const file = files[role];
      return file === undefined ? [] : [{ role, digest: digestOf(readToken(file)) }];
    });
  }

  get isEmpty(): boolean {
    return this.#tokens.length === 0;
  }

  /** The role of a request's token. Throws `token_missing`. */
  roleOf(request: IncomingMessage): Role {
    const presented = /^bearer +(?<token>[^\s]+)$/i.exec(request.headers.authorization ?? '')?.groups?.['token'];
    if (presented === undefined) throw new Problem('token_missing');
    const digest = digestOf(presented);
    // All are compared, in constant time: neither the token nor the role shows in the time taken.
    const found = this.#tokens.filter((known) => timingSafeEqual(known.digest, digest));
    if (found[0] === undefined) throw new Problem('token_missing');
    return found[0].role;
  }
}

/** Throws `role_missing` unless the role may do what needs `wanted`. */
export function checkRole(role: Role, wanted: Role): void {
  if (role !== 'operator' && role !== wanted) throw new Problem('role_missing', `This needs the role ${wanted}.`);
}

function readToken(file: string): string {
  const token = readNamed(file).trim();
  // Of bytes that are no text, every one would be read as the same sign.
  if (!/^[\x21-\x7e]{16,}$/.test(token)) {
    throw new Error(`${file} must hold one token of at least 16 characters, printable ASCII without spaces`);
  }
  return token;
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
