import type { Settings } from '../../config/settings.ts';
import { Secret } from '../trust/secret.ts';
import type { Issuers } from '../trust/issuers.ts';
import { KeysUnavailable } from '../trust/jwks.ts';
import { InvalidToken } from '../trust/strict-jws.ts';
import { allowTools } from '../tasks/purposes.ts';
import type { OpenedTask } from '../tasks/opened-task.ts';
import type { TaskBook, TaskRequest } from '../tasks/task-book.ts';
import { TaskRejected } from '../tasks/task-rejected.ts';
import { readPeerTerms } from './peer-terms.ts';
import { Problem } from './problem.ts';
import type { OpenTaskRequest } from './task-request.ts';

/** Who asks for a task, and what is asked of him besides. */
export interface Door {
  /** As it stands in the event. */
  readonly by: string;
  /** Whose share of the open tasks it takes; undefined: nobody's. */
  readonly share: TaskRequest['share'] | undefined;
  /** Hears of a subject token that was verified, at once before its task opens; throws to refuse it. */
  checkSubject(subject: { readonly iss: string; readonly jti?: string; readonly expiresAtMs: number }): void;
}

/** Opens tasks for orchestrators and for the agent itself: verifies the subject token, and narrows the tools to what the purpose allows. */
export class TaskOpener {
  #settings: Settings;
  #issuers: Issuers;
  readonly #book: TaskBook;

  constructor(settings: Settings, issuers: Issuers, book: TaskBook) {
    this.#settings = settings;
    this.#issuers = issuers;
    this.#book = book;
  }

  /** Opens by another configuration from now on. */
  adopt(settings: Settings, issuers: Issuers): void {
    this.#settings = settings;
    this.#issuers = issuers;
  }

  /** Throws a `Problem`; nothing is opened then. */
  async open(request: OpenTaskRequest, door: Door): Promise<OpenedTask> {
    // Before a subject token is spent for it.
    if (!this.#book.isCurrent) throw new Problem('fleet_unavailable');
    const peer = readPeerTerms(request);
    const purpose = request.purpose ?? this.#settings.agent.purpose;
    // Nobody is asked for the keys of what is not allowed anyway.
    allowedTools(this.#settings, purpose, request.tools);
    const subject = await this.#verify(request.subject_token);
    // The configuration may have changed meanwhile, and what it ended then must not be opened now.
    const tools = allowedTools(this.#settings, purpose, request.tools);
    const { deadline } = this.#settings.tasks;
    const { by, share } = door;
    try {
      return this.#book.open({
        subject: { iss: subject.iss, sub: subject.sub, kind: 'user' },
        grant: {
          token: new Secret(request.subject_token),
          tokenType: request.subject_token_type,
          iss: subject.iss,
          sub: subject.sub,
          expiresAtMs: subject.expiresAtMs,
          act: subject.act,
          jti: subject.jti,
        },
        purpose,
        tools,
        issuedAtMs: subject.issuedAtMs,
        handles: request.handles === 'per_tool' ? 'per_tool' : 'one',
        uses: request.uses,
        peer,
        lifeMs: Math.min(request.deadline ?? deadline, deadline),
        parent: request.parent,
        by,
        share,
        // Where there is no room, or the parent ended meanwhile, the token is to open another task.
        spend: () => door.checkSubject(subject),
      });
    } catch (error) {
      throw error instanceof TaskRejected ? problemOf(error) : error;
    }
  }

  async #verify(token: string) {
    const issuers = this.#issuers;
    try {
      const subject = await issuers.verifySubject(token);
      // Once more where others are trusted since.
      return this.#issuers === issuers ? subject : await this.#issuers.verifySubject(token);
    } catch (error) {
      if (error instanceof KeysUnavailable) throw new Problem('issuer_unavailable');
      if (error instanceof InvalidToken)
        throw new Problem('subject_token_invalid', `The subject token is not accepted (${error.reason}).`);
      throw error;
    }
  }
}

function allowedTools(settings: Settings, purpose: string, asked: readonly string[] | undefined): ReadonlySet<string> {
  const allowance = allowTools(settings, purpose, asked);
  switch (allowance.kind) {
    case 'unknown_tool':
      throw new Problem(
        'tool_unknown',
        `The configuration has no tool of the name ${JSON.stringify(allowance.tool.slice(0, 64))}.`,
      );
    case 'unknown_purpose':
      throw new Problem('purpose_not_allowed', 'The configuration lists purposes, and this is none of them.');
    case 'outside':
      throw new Problem('purpose_not_allowed', `The purpose does not allow the tool ${allowance.tool}.`);
    default:
      return allowance.tools;
  }
}

export function problemOf(error: TaskRejected): Problem {
  switch (error.reason) {
    case 'too_many':
      return new Problem('too_many_tasks', error.message);
    case 'parent_not_open':
      return new Problem('parent_not_open');
    case 'not_open':
      return new Problem('task_not_open');
    case 'revoked':
      return new Problem('subject_revoked');
    case 'not_current':
      return new Problem('fleet_unavailable');
    case 'deadline':
      return new Problem('request_invalid', error.message);
    default:
      return new Problem(
        'not_found',
        'There is no task of this TXN; "waybill tasks list --all" lists the open ones and those that ended lately.',
      );
  }
}
