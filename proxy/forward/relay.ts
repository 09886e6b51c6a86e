import { STATUS_CODES, type ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { type OwnName, renameLocations } from './own-name.ts';
import { readChallenge, readReplyHeaders, readTrailers } from './reply-headers.ts';
import type { AnswerBody } from './screen/answer-body.ts';
import { nothingToScreen, type AnswerScreen } from './screen/screen.ts';

/** How a send ended: the answer went to the agent, or it was a challenge that we answer ourselves. */
export type RelayEnd =
  | {
      readonly kind: 'answered';
      readonly status: number;
      readonly outcome: 'ok' | 'upstream_error' | 'aborted' | 'cut';
      readonly bytesOut: number;
      /** Whether the credential was in it, and was masked. */
      readonly masked: boolean;
    }
  | { readonly kind: 'challenged'; readonly by: 'nonce' | 'token'; readonly status: number }
  /** Nothing reached the agent yet. */
  | { readonly kind: 'failed'; readonly error: Error };

/** A challenge's own body is read to its end, so that the connection stays usable, but not beyond this. */
const maxChallengeBytes = 65_536;
/** Nor for longer than this, milliseconds: the call waits for it. */
const challengeMs = 5000;

/** The agent would not be told of the coding: of the framing nothing goes on but what is in it. Nobody asked for one, as `TE` ends here. */
const coded = 'The answer came in a transfer coding that was not asked for.';

/** What the relay may pass and what it answers itself. */
export interface RelayRules {
  /** Whether cookies go through, in both directions. */
  readonly keepsCookies: boolean;
  /** Whether a challenge for the credential is ours to answer. */
  readonly answersChallenges: boolean;
  /** Whether `DPoP-Nonce` is for whoever asked. */
  readonly passesNonce: boolean;
  /** Of a program that is called by its own name. */
  readonly ownName: OwnName | undefined;
}

/** An answer that cannot be screened must not go on (W3). */
export class UnreadableAnswer extends Error {}

/** Raw headers as undici read them: a flat list, which its types allow to be absent. */
function rawHeadersOf(controller: Dispatcher.DispatchController): readonly (Buffer | string)[] {
  const { rawHeaders } = controller;
  return Array.isArray(rawHeaders) ? rawHeaders : [];
}

/**
 * The reason phrase has no meaning (RFC 9112 4). What node:http does not write, or writes as other bytes than the tool's, gives way to the
 * usual phrase: an exception here would lose the answer.
 */
function phraseOf(status: number, said: string): string {
  return /^[\t\x20-\x7e]*$/.test(said) ? said : (STATUS_CODES[status] ?? '');
}

/** What the relay tells besides its end. */
export interface RelayEvents {
  onNonce(nonce: string): void;
  /** Hears what an answer sets before anything of it goes on, also of one that is not relayed. Says what of it the agent may see. */
  onHead(cookies: readonly string[]): AnswerScreen;
  onEnd(end: RelayEnd): void;
}

/**
 * Relays one answer straight from the tool's connection to the agent's, with back-pressure and without holding back a byte. A
 * departure on either side ends the other at once.
 */
export class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;
  readonly #passes: RelayRules;
  readonly #events: RelayEvents;
  #screen: AnswerScreen = nothingToScreen;
  readonly #isBodiless: boolean;
  readonly #isInbound: boolean;
  readonly #tool: string;
  /** Whether anything of the request may have reached the tool. */
  wasSent = false;
  #body: AnswerBody | undefined;
  /** Set when the tool has sent everything: from then on an abort of its connection is not heard. */
  #received = false;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #swallowed = 0;
  #challenge: 'nonce' | 'token' | undefined;
  #timer: NodeJS.Timeout | undefined;
  #headSent = false;
  #stopped: 'aborted' | 'cut' | undefined;
  #ended = false;

  constructor(call: Call, passes: RelayRules, events: RelayEvents) {
    this.#response = call.response;
    this.#passes = passes;
    this.#events = events;
    this.#isBodiless = call.method === 'HEAD';
    this.#isInbound = call.way === 'in';
    this.#tool = call.tool.name;
    // Emitted once, and then this relay has ended as a rule: to take the listener off again would cost more than the call that finds so.
    call.response.on('close', this.#onAgentClosed);
  }

  /** Whether it is the request of a caller of ours, who has had nothing of the answer yet. */
  get isAwaited(): boolean {
    return this.#isInbound && this.#status === 0;
  }

  /** The program behind the way in is no tool, whatever it is called. */
  isTo(tool: string): boolean {
    return !this.#isInbound && this.#tool === tool;
  }

  /** Ends both sides: the agent left, or the task ended. */
  stop(why: 'aborted' | 'cut'): void {
    if (this.#ended || this.#stopped !== undefined) return;
    this.#stopped = why;
    if (this.#received) this.#cut();
    else this.#controller?.abort(new Error(why));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#stopped === undefined) this.wasSent = true;
    else controller.abort(new Error(this.#stopped));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusText?: string,
  ): void {
    // Interim answers other than 101 carry nothing that the agent waits for; 100 was said by us.
    if (status < 200) return;
    const { keepsCookies, answersChallenges, passesNonce, ownName } = this.#passes;
    const headers = readReplyHeaders(rawHeadersOf(controller), keepsCookies);
    if (ownName !== undefined) renameLocations(headers.forward, ownName);
    if (headers.nonce !== undefined) {
      this.#events.onNonce(headers.nonce);
      if (passesNonce) headers.forward.push('DPoP-Nonce', headers.nonce);
    }
    this.#screen = this.#events.onHead(headers.cookies);
    this.#status = status;
    // A challenge for our credential is ours to answer: the agent holds none, and a naked 401 would make it look for one.
    if (answersChallenges && status === 401) this.#challenge = readChallenge(headers.challenge, headers.nonce);
    if (this.#challenge !== undefined) {
      this.#timer = setTimeout(() => controller.abort(new Error('the challenge does not end')), challengeMs);
      return;
    }
    const response = this.#response;
    const hasBody = !this.#isBodiless && status !== 204 && status !== 304;
    if (hasBody && headers.isCoded) {
      controller.abort(
        this.#screen === nothingToScreen ? new Refusal('upstream_unreachable', coded) : new UnreadableAnswer(),
      );
      return;
    }
    const opened = this.#screen.open(response, headers, hasBody, this.#onBroken);
    if (opened === undefined) {
      controller.abort(new UnreadableAnswer());
      return;
    }
    this.#body = opened.body;
    response.sendDate = false;
    response.writeHead(status, phraseOf(status, this.#screen.text(statusText ?? '')), opened.headers);
    // Only what follows in the same read is sent with the head; an event stream's head must not wait for its first event.
    if (headers.length !== undefined) return;
    queueMicrotask(() => {
      if (!this.#headSent && !this.#ended) response.flushHeaders();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#challenge !== undefined) {
      this.#swallowed += chunk.length;
      if (this.#swallowed > maxChallengeBytes) controller.abort(new Error('the challenge is too long'));
      return;
    }
    this.#headSent = true;
    if (this.#body?.write(chunk, () => controller.resume()) === false) controller.pause();
  }

  onResponseEnd(
    _controller: Dispatcher.DispatchController,
    trailers: Record<string, string | string[] | undefined>,
  ): void {
    if (this.#challenge !== undefined) {
      this.#end({ kind: 'challenged', by: this.#challenge, status: this.#status });
      return;
    }
    this.#headSent = true;
    this.#received = true;
    this.#body?.end((last) => {
      if (this.#ended) return;
      const kept = readTrailers(trailers ?? {});
      // A name carries what a value does.
      const masked = kept.map((pair): [string, string] => [this.#screen.text(pair[0]), this.#screen.text(pair[1])]);
      if (masked.length > 0) this.#response.addTrailers(masked);
      if (last === '') this.#response.end();
      else this.#response.end(last, 'latin1');
      this.#end(this.#answered('ok'));
    });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#ended) return;
    if (this.#challenge !== undefined && this.#stopped === undefined) {
      this.#end({ kind: 'challenged', by: this.#challenge, status: this.#status });
      return;
    }
    if (this.#stopped === undefined && !this.#response.headersSent && !this.#response.destroyed) {
      this.#end({ kind: 'failed', error });
      return;
    }
    this.#cut();
  }

  /** An answer that stops half-way must not look complete: the agent's connection is cut as well. */
  #cut(): void {
    // A head that waits for its body is not lost: what it says may have been done, and its status stands in the record.
    if (this.#response.headersSent) this.#response.flushHeaders();
    this.#response.destroy();
    this.#end(this.#answered(this.#stopped ?? 'upstream_error'));
  }

  #answered(outcome: 'ok' | 'upstream_error' | 'aborted' | 'cut'): RelayEnd {
    const { bytesOut = 0, hasMasked = false } = this.#body ?? {};
    return { kind: 'answered', status: this.#status, outcome, bytesOut, masked: hasMasked || this.#screen.hasMasked };
  }

  /** The body is not what its coding says. */
  readonly #onBroken = (): void => {
    if (this.#received) this.#cut();
    else this.#controller?.abort(new Error('the body does not follow its coding'));
  };

  readonly #onAgentClosed = (): void => {
    if (!this.#response.writableFinished) this.stop('aborted');
  };

  #end(end: RelayEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#events.onEnd(end);
  }
}
