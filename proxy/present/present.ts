import type { CallBody } from '../intercept/body.ts';
import type { Call } from '../intercept/call.ts';
import type { HandleBook } from '../tasks/handle.ts';
import type { Task } from '../tasks/task.ts';
import { holdsMark, markOf } from '../trust/token-mark.ts';
import type { Verified } from '../verify/verify.ts';
import type { World } from '../world.ts';
import { chainHeader, claimHeaders } from './claim-headers.ts';
import type { InertTokens } from './inert-token.ts';
import type { Opened } from './open.ts';
import { type PassedHeaders, withoutCopies } from './token-copies.ts';
import { withTraceMark } from './trace-context.ts';

/** What the program behind the way in gets to see instead of the caller's credential. */
export type PresentMode = 'inert-jwt' | 'handle' | 'headers' | 'original';

/** What the program is called by and what it gets to read; headers as names and values in turn. */
interface Shown {
  readonly host: string;
  readonly ownName: PresentedCall['ownName'];
  readonly passed: PassedHeaders;
  readonly passesNonce: boolean;
  readonly injected: readonly string[];
}

/** A request of the way in as the program will get it. */
class PresentedCall {
  readonly #made = true;
  readonly way = 'in';
  readonly opened: Opened;
  readonly body: CallBody;
  readonly #injected: readonly string[];
  /** Where the program is called by its own name. */
  readonly ownName: { readonly program: string; readonly origin: string } | undefined;
  readonly attempt = 1;
  /** The program's own cookies are between it and its callers. */
  readonly keepsCookies = true;
  readonly cookieOwner = undefined;
  readonly keepsCredentials = false;
  readonly answersChallenges = false;
  /** Whether the proof of the next request is to hold a nonce of the program's. */
  readonly passesNonce: boolean;
  /** The program holds nothing that its caller must not see. */
  readonly screened = undefined;
  readonly secrets = undefined;

  /** What the program is called by. */
  readonly host: string;
  /** The caller's own headers, with the mark of the task in their trace. */
  readonly passed: PassedHeaders;

  constructor(opened: Opened, body: CallBody, shown: Shown) {
    this.opened = opened;
    this.body = body;
    this.host = shown.host;
    this.ownName = shown.ownName;
    this.passed = shown.passed;
    this.passesNonce = shown.passesNonce;
    this.#injected = shown.injected;
  }

  get verified(): Verified {
    return this.opened.permit.claimed.verified;
  }

  get call(): Call {
    return this.verified.call;
  }

  get task(): Task {
    return this.opened.opened.task;
  }

  /** The headers that stand for the caller. Only the header list that goes to the program may hold them. */
  revealInjected(): readonly string[] {
    return this.#injected;
  }

  /** What stands on the request line: the decided target, byte for byte (W13). */
  revealPath(): string {
    return this.call.target.path;
  }

  static isMade(value: object): boolean {
    return #made in value;
  }
}

export type Presented = PresentedCall;

/** How credentials are presented. */
export interface Presenter {
  readonly mode: PresentMode;
  /** The `Host` of programs that are to be called by their own name (`inbound.host: program`). */
  readonly ownHost: string | undefined;
  /** Whether the program is part of the transaction: a tool authorises by the caller's `Txn-Token`, an agent must not hold it. */
  readonly passesTxnToken: boolean;
  /** Whether proofs hold a nonce of ours: then one of the program's would only lead callers astray. */
  readonly asksForNonces: boolean;
  readonly handles: HandleBook;
  readonly inert: InertTokens;
  readonly world: World;
}

/** Puts a handle, an inert token or verified headers where the caller's credential was; what came stays here, unless `original` says so. */
export function present(opened: Opened, body: CallBody, presenter: Presenter): Presented {
  const { verified } = opened.permit.claimed;
  const { apiKey, token, txnToken } = verified.credential;
  // The caller's own key goes on; his tokens do not, whichever header he put them in, and a handle is good on the way out only.
  const isOwn =
    apiKey !== undefined &&
    !presenter.handles.carries(apiKey) &&
    ![token, txnToken].some((text) => text !== undefined && holdsMark(apiKey, markOf(text)));
  const injected = isOwn ? ['x-api-key', apiKey] : [];
  injected.push(...credentialFor(opened, verified, presenter));
  const { origin } = verified.call.target;
  const { mark } = opened.opened;
  const { headers } = verified.call;
  const hidden = [presenter.mode === 'original' ? undefined : token, presenter.passesTxnToken ? undefined : txnToken];
  const came = hidden.reduce<PassedHeaders>(
    (left, text) => (text === undefined ? left : withoutCopies(left, text)),
    headers,
  );
  const passed =
    mark === undefined ? came : { ...came, forward: withTraceMark(came.forward, mark, presenter.world.random) };
  const passesNonce = presenter.mode === 'original' && !presenter.asksForNonces;
  // The caller's own headers of these names were removed. Without the scheme a program would send callers of https on to http; one that
  // is told the scheme alone takes the port for that of the scheme: Spring reads it from the host, Tomcat from the third header.
  injected.push('X-Forwarded-Host', origin.authority, 'X-Forwarded-Proto', origin.scheme);
  injected.push('X-Forwarded-Port', String(origin.port));
  const { ownHost } = presenter;
  const ownName = ownHost === undefined ? undefined : { program: ownHost, origin: origin.text };
  return new PresentedCall(opened, body, { host: ownHost ?? origin.authority, ownName, passed, passesNonce, injected });
}

function credentialFor(opened: Opened, verified: Verified, presenter: Presenter): readonly string[] {
  const { task, handle } = opened.opened;
  const { token } = verified;
  if (presenter.mode === 'original') return originalOf(verified, presenter);
  if (handle === undefined) throw new Error('a program that is to be shown a handle, and a task without one');
  switch (presenter.mode) {
    case 'handle':
      return ['Authorization', `Bearer ${handle}`];
    case 'headers':
      return [...claimHeaders(verified), 'Waybill-Handle', handle];
    default: {
      const iat = Math.floor(presenter.world.now() / 1000);
      const exp = Math.min(Math.floor(task.expiresAtMs / 1000), iat + 86_400);
      const shown = token ?? { typ: '', claims: { sub: verified.caller }, text: undefined };
      const text = presenter.inert.make(shown, handle, iat, exp);
      return ['Authorization', `Bearer ${text}`];
    }
  }
}

/** What the caller sent, for a program that checks it itself. */
function originalOf(verified: Verified, presenter: Presenter): readonly string[] {
  const { token, credential, proof } = verified;
  if (token === undefined) return [...claimHeaders(verified), ...txnTokenHeader(verified, presenter)];
  const authorization = `${credential.scheme === 'dpop' ? 'DPoP' : 'Bearer'} ${token.text.reveal()}`;
  // One that was not looked at proves nothing to the program either, and there may be several.
  const shown = proof === undefined || credential.proof === undefined ? [] : ['DPoP', credential.proof];
  return ['Authorization', authorization, ...shown, ...chainHeader(verified), ...txnTokenHeader(verified, presenter)];
}

function txnTokenHeader({ txnToken }: Verified, { passesTxnToken }: Presenter): readonly string[] {
  return txnToken === undefined || !passesTxnToken ? [] : ['Txn-Token', txnToken.text.reveal()];
}
