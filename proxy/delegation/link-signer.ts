import { formatChain, splitChain, type ChainFacts } from './chain.ts';
import { digestOf, signLink, type ChainRoot, type LinkIdentity } from './link.ts';
import { excessOf, narrow, type Excess, type May, type Risk } from './may.ts';

/** Why no link can be signed for a call: the delegation that the task was opened with does not reach so far. */
export type LinkRefusedReason = Excess | 'hop_twice' | 'task_over';

/** The chain cannot be continued to this tool. Signed nonetheless, it would be refused there. */
export class LinkRefused extends Error {
  override readonly name = 'LinkRefused';
  readonly reason: LinkRefusedReason;

  constructor(reason: LinkRefusedReason) {
    super(`link refused: ${reason}`);
    this.reason = reason;
  }
}

/** The tool that a call goes to. */
export interface NextHop {
  /** `token.resource` of the tool, or its origin: `aud` of the link. */
  readonly resource: string;
  readonly risk: Risk;
  /** `tools.X.delegate`. Left out: the tool's own resource, its risk, and no further hop. */
  readonly delegate:
    | {
        readonly resources?: readonly string[] | undefined;
        readonly risk?: Risk | undefined;
        readonly hops: number;
      }
    | undefined;
}

/** The chain that a task was opened with. */
export type InboundChain = Pick<ChainFacts, 'value' | 'path' | 'txns' | 'root' | 'begunAtMs' | 'may' | 'expiresAtMs'>;

/** What a task has to say in its link. */
export interface DelegatedTask {
  readonly txn: string;
  readonly purpose: string;
  /** Deadline, milliseconds since the epoch; Infinity for the standing task. */
  readonly expiresAtMs: number;
  /** Thumbprint of the task's DPoP key. */
  readonly jkt: string;
  /** Where it comes from: a chain that is continued, or a token that a chain begins with. */
  readonly origin:
    | { readonly kind: 'chain'; readonly chain: InboundChain }
    | { readonly kind: 'token'; readonly root: ChainRoot };
}

/** Our X.509-SVID. */
export interface SignerIdentity extends LinkIdentity {
  /** End of the SVID, milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** The value of `Waybill-Delegation` for one tool, and the `wbd` that binds it to a proof. */
export interface SignedChain {
  readonly value: string;
  readonly digest: string;
}

interface Signed extends SignedChain {
  readonly certificates: readonly Buffer[];
  readonly hop: NextHop;
  readonly expiresAtMs: number;
}

/** The root of a chain that begins with a verified token. `id` is the token's `jti`, or the whole token where it has none. */
export function rootOf(subject: { readonly iss: string; readonly sub: string }, id: string): ChainRoot {
  return { iss: subject.iss, sub: subject.sub, jti_hash: digestOf(id) };
}

/** Writes our own links, each once per task, tool and SVID: a signature costs more than the rest of a call. */
export class LinkSigner {
  readonly #signed = new WeakMap<WeakKey, Signed>();

  /**
   * The chain with our link at its end. Throws LinkRefused, or UnsuitableKey.
   * @param errand identity of the pair of task and tool: what was signed is forgotten with it.
   */
  sign(errand: WeakKey, task: DelegatedTask, hop: NextHop, identity: SignerIdentity, nowMs: number): SignedChain {
    const known = this.#signed.get(errand);
    if (
      known !== undefined &&
      isSameSvid(known.certificates, identity.chain) &&
      known.expiresAtMs > nowMs &&
      isSameHop(known.hop, hop)
    ) {
      return known;
    }
    const inbound = task.origin.kind === 'chain' ? task.origin.chain : undefined;
    const may = inbound === undefined ? wantedOf(hop) : continueMay(hop, inbound, identity.spiffeId);
    const exp = Math.floor(Math.min(task.expiresAtMs, identity.expiresAtMs, inbound?.expiresAtMs ?? Infinity) / 1000);
    if (exp * 1000 <= nowMs) throw new LinkRefused('task_over');
    const { value, digest } = append(task, { aud: hop.resource, may, iat: Math.floor(nowMs / 1000), exp }, identity);
    const signed = { value, digest, certificates: identity.chain, hop, expiresAtMs: exp * 1000 };
    this.#signed.set(errand, signed);
    return signed;
  }
}

/** By all that the link names: a serial number tells apart the certificates of one authority only. */
function isSameSvid(one: readonly Buffer[], other: readonly Buffer[]): boolean {
  return one === other || (one.length === other.length && one.every((der, at) => other[at]?.equals(der) === true));
}

/** A reload of the configuration may change what a tool is delegated, while its tasks go on. */
function isSameHop(one: NextHop, other: NextHop): boolean {
  return one.resource === other.resource && one.risk === other.risk && one.delegate === other.delegate;
}

/** What the configuration lets a tool do. The call itself is always part of it: the tool's own way in asks for it. */
function wantedOf({ resource, risk, delegate }: NextHop): May {
  const resources = [...new Set([resource, ...(delegate?.resources ?? [])])];
  return { resources, risk: delegate?.risk ?? risk, hops: delegate?.hops ?? 0 };
}

/** What is left of it behind the chain that the task was opened with. */
function continueMay(hop: NextHop, { may, path }: InboundChain, spiffeId: string): May {
  if (path.includes(spiffeId)) throw new LinkRefused('hop_twice');
  const excess = excessOf(may, hop);
  if (excess !== undefined) throw new LinkRefused(excess);
  return narrow(wantedOf(hop), may);
}

function append(
  { txn, purpose, jkt, origin }: DelegatedTask,
  rest: { readonly aud: string; readonly may: May; readonly iat: number; readonly exp: number },
  identity: LinkIdentity,
): SignedChain {
  const root = origin.kind === 'chain' ? origin.chain.root : origin.root;
  const before = origin.kind === 'chain' ? splitChain(origin.chain.value) : [];
  const last = before.at(-1);
  const { aud, may, iat, exp } = rest;
  const link = signLink(identity, {
    sub: root.sub,
    sub_iss: root.iss,
    aud,
    txn,
    purpose,
    may,
    cnf: { jkt },
    ...(last === undefined ? { root } : { prev: digestOf(last) }),
    iat,
    exp,
  });
  const value = formatChain([...before, link]);
  return { value, digest: digestOf(value) };
}
