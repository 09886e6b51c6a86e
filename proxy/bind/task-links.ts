import { UnsuitableKey, type ChainRoot } from '../delegation/link.ts';
import {
  LinkRefused,
  type LinkSigner,
  rootOf,
  type DelegatedTask,
  type SignedChain,
  type SignerIdentity,
} from '../delegation/link-signer.ts';
import type { Credential } from '../exchange/credential.ts';
import type { Tool } from '../intercept/tool-catalogue.ts';
import { Refusal } from '../refusal.ts';
import type { Task } from '../tasks/task.ts';
import type { World } from '../world.ts';

/** The chain of a call: signed and sent, or in our own record only. */
export interface CallChain {
  /** The header's value and its digest; undefined where nothing is sent. */
  readonly value: string | undefined;
  readonly digest: string | undefined;
  /** SPIFFE IDs of the hops, oldest first. */
  readonly path: readonly string[];
}

/** Our X.509-SVID of this moment, to sign links with; undefined while there is none. */
export type SigningIdentity = () => SignerIdentity | undefined;

/** The delegation chain of calls: which of them carry it, and our own link at its end (DESIGN 6). */
export class TaskLinks {
  readonly #signer: LinkSigner;
  readonly #identity: SigningIdentity;
  /** Whether the configuration names an identity at all: without one, chains are off unless a tool demands them. */
  readonly #hasIdentity: boolean;
  readonly #world: World;
  readonly #known = new WeakMap<SignedChain, CallChain>();

  constructor(signer: LinkSigner, identity: SigningIdentity, hasIdentity: boolean, world: World) {
    this.#signer = signer;
    this.#identity = identity;
    this.#hasIdentity = hasIdentity;
    this.#world = world;
  }

  /**
   * The chain for one call, signed once for its task and tool. Undefined where none is sent: a chain that nothing binds to the request
   * would be a statement that anybody can replay. Throws where it has to be sent and cannot be.
   */
  linkFor({ routed, held }: Credential): CallChain | undefined {
    const { call, errand } = routed.permit.attributed;
    if (call.tool.binding === 'static') return errand && this.#recorded(errand.task);
    if (held === undefined || errand === undefined || !this.#isSent(call.tool, errand.task)) return undefined;
    const task = delegated(errand.task);
    if (task === undefined) return undefined;
    const identity = this.#identity();
    if (identity === undefined) throw new Refusal('chain_unsignable');
    const { risk, delegate, token } = call.tool.settings;
    const hop = { resource: token?.resource ?? call.target.origin.text, risk, delegate };
    try {
      const signed = this.#signer.sign(errand, task, hop, identity, this.#world.now());
      return this.#withPath(signed, errand.task, identity);
    } catch (error) {
      if (error instanceof LinkRefused)
        throw new Refusal('tool_not_in_task', `The delegation of this task does not reach ${call.tool.name}.`);
      if (error instanceof UnsuitableKey)
        throw new Refusal('chain_unsignable', 'The key of its X.509-SVID is of a kind that no link is signed with.');
      throw error;
    }
  }

  /** A tool that knows static keys only is shown no chain; the record has it. */
  #recorded({ chain }: Task): CallChain | undefined {
    const own = this.#identity()?.spiffeId;
    if (chain === undefined && own === undefined) return undefined;
    const path = [...(chain?.path ?? []), ...(own === undefined ? [] : [own])];
    return { value: undefined, digest: undefined, path };
  }

  #withPath(signed: SignedChain, task: Task, { spiffeId }: SignerIdentity): CallChain {
    let known = this.#known.get(signed);
    if (known === undefined) {
      known = { ...signed, path: [...(task.chain?.path ?? []), spiffeId] };
      this.#known.set(signed, known);
    }
    return known;
  }

  #isSent({ settings, binding }: Tool, { chain, grant }: Task): boolean {
    if (settings.chain !== undefined) return settings.chain === 'full';
    // A chain that begins with a workload goes with a token of our own, and a way in takes the two together only where the token's
    // subject is our SPIFFE ID. Not every token service says that, so it has to be asked for.
    const hasUser = (chain ?? grant) !== undefined;
    return hasUser && this.#hasIdentity && binding === 'key';
  }
}

/**
 * What a task has to say in a link: it continues a chain, or begins one with the subject of its token, or with the workload that called.
 * A task that the agent does for itself has nobody before it, and no chain.
 */
function delegated(task: Task): DelegatedTask | undefined {
  const { txn, purpose, expiresAtMs, chain } = task;
  const root = rootOfTask(task);
  if (chain === undefined && root === undefined) return undefined;
  const shared = { txn, purpose, expiresAtMs, jkt: task.proofKey().jkt };
  if (chain !== undefined) return { ...shared, origin: { kind: 'chain', chain } };
  return root && { ...shared, origin: { kind: 'token', root } };
}

function rootOfTask({ grant, caller, txn }: Task): ChainRoot | undefined {
  if (grant !== undefined) return rootOf(grant, grant.jti ?? grant.token.reveal());
  // A caller without a user is itself the subject; it came with no token whose id could be named.
  return caller === '' ? undefined : rootOf({ iss: trustDomainOf(caller), sub: caller }, txn);
}

/** The trust domain of a verified SPIFFE ID, as issuer of its workloads. */
function trustDomainOf(spiffeId: string): string {
  return spiffeId.split('/', 3).join('/');
}
