import type { Bound } from '../bind/proof.ts';
import type { DecisionObserver } from '../decide/permit.ts';
import type { Decision } from '../decide/rules.ts';
import type { ExchangeTrail, TokenEvent } from '../exchange/exchange-trail.ts';
import type { Task } from '../tasks/task.ts';
import { admittedFields, endedFields, refusedFields, type CallEnd, type RefusedCall } from './call-events.ts';
import type { EventLog } from './event-log.ts';
import { eventFields } from './event.ts';
import type { Metrics } from './metrics.ts';
import type { Tally } from './tallies.ts';

/** The one place that writes events and counts: whatever happens is told here once and appears in both. */
export class Trail implements ExchangeTrail, DecisionObserver {
  readonly #log: EventLog;
  readonly #metrics: Metrics;
  readonly #agentName: string;
  readonly #hit: Tally;
  readonly #decisions = new WeakMap<Decision, readonly Tally[]>();

  constructor(log: EventLog, metrics: Metrics, agentName: string) {
    this.#log = log;
    this.#metrics = metrics;
    this.#agentName = JSON.stringify(agentName);
    this.#hit = metrics.cache.of('hit');
  }

  /** Resolves when `call.admitted` is written, rejects `record_unavailable`. */
  admitted(bound: Bound): Promise<void> {
    return this.#log.appendOrRefuse(admittedFields(bound, this.#agentName));
  }

  ended(bound: Bound, end: CallEnd, totalMs: number, upstreamMs: number): void {
    const { call } = bound.credential.routed.permit.attributed;
    this.#log.appendLazily(endedFields(call.id, bound.attempt, end, totalMs));
    this.#metrics.requests(call.tool.name, end.outcome).value += 1;
    this.#metrics.totalSeconds.observe(totalMs / 1000);
    this.#metrics.forwardSeconds.observe(upstreamMs / 1000);
  }

  /** A call that was answered with a refusal. After its admission `call.ended` tells the rest, and this only counts. */
  refused(refused: RefusedCall, wasAdmitted: boolean): void {
    const { code } = refused.refusal;
    // A record that cannot be written would fill up with its own refusals: those are counted only.
    if (!wasAdmitted && code !== 'record_unavailable') this.#log.append(refusedFields(refused, this.#agentName));
    this.#metrics.refused(code);
    if (!wasAdmitted) this.#metrics.requests(refused.call?.tool.name ?? 'none', 'refused').value += 1;
  }

  fault(): void {
    this.#metrics.faults.value += 1;
  }

  decided(decision: Decision): void {
    let tallies = this.#decisions.get(decision);
    if (tallies === undefined) {
      const { effect, rule, mode, observed } = decision;
      const watched = observed.map((other) => this.#metrics.decision(other.effect, other.rule, 'observe'));
      tallies = [this.#metrics.decision(effect, rule, mode), ...watched];
      this.#decisions.set(decision, tallies);
    }
    for (const tally of tallies) tally.value += 1;
  }

  taskOpened(task: Task, by: string): void {
    this.#metrics.tasks.of('opened').value += 1;
    this.#log.append(eventFields('task.opened', { ...taskMembers(task), by, cause: 'opened' }));
  }

  taskEnded(task: Task, by: string): void {
    this.#metrics.tasks.of(task.state).value += 1;
    this.#log.append(eventFields('task.ended', { ...taskMembers(task), state: task.state, by, cause: task.cause }));
  }

  issued(info: Parameters<ExchangeTrail['issued']>[0]): void {
    this.#log.append(eventFields('token.issued', tokenMembers(info)));
  }

  rejected(info: Parameters<ExchangeTrail['rejected']>[0]): void {
    this.#log.append(eventFields('token.rejected', tokenMembers(info)));
  }

  revoked(info: Parameters<ExchangeTrail['revoked']>[0]): void {
    this.#log.append(eventFields('token.revoked', tokenMembers(info)));
  }

  exchanged(service: string, outcome: string, seconds: number): void {
    this.#metrics.exchanges.of(service, outcome).value += 1;
    this.#metrics.exchangeSeconds.get(service)?.observe(seconds);
  }

  revocation(cause: string, outcome: string): void {
    this.#metrics.revocations.of(cause, outcome).value += 1;
  }

  cache(result: Parameters<ExchangeTrail['cache']>[0]): void {
    if (result === 'hit') this.#hit.value += 1;
    else this.#metrics.cache.of(result).value += 1;
  }

  /** First line of a boot: what ran, under which configuration. */
  booted(version: string, configDigest: string): void {
    this.#log.append(eventFields('boot', { version, config: configDigest, node: process.version }));
  }

  unsafe(setting: string): void {
    this.#log.append(eventFields('unsafe', { setting }));
  }

  svidRotated(spiffeId: string, expiresAtMs: number): void {
    this.#metrics.svidRotations.value += 1;
    this.#log.append(
      eventFields('svid.rotated', { spiffe_id: spiffeId, expires_at: new Date(expiresAtMs).toISOString() }),
    );
  }

  svidLost(cause: string): void {
    this.#log.append(eventFields('svid.lost', { cause }));
  }
}

function taskMembers(task: Task): Record<string, unknown> {
  return {
    txn: task.txn,
    subject: { iss: task.subject.iss, sub: task.subject.sub },
    purpose: task.purpose,
    tools: [...task.tools],
    expires_at: Number.isFinite(task.expiresAtMs) ? new Date(task.expiresAtMs).toISOString() : undefined,
    parent: task.parent?.txn,
  };
}

function tokenMembers(
  info: TokenEvent & { readonly cause: string; readonly credential?: unknown },
): Record<string, unknown> {
  return {
    txn: info.txn,
    tool: info.tool,
    service: info.service,
    credential: info.credential,
    cause: info.cause,
    ms: Math.round(info.ms),
  };
}
