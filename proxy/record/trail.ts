import type { DecisionObserver } from '../decide/permit.ts';
import type { Decision } from '../decide/rules.ts';
import type { ExchangeTrail, TokenEvent } from '../exchange/exchange-trail.ts';
import type { Call } from '../intercept/call.ts';
import { UnprovenRefusal, type Way } from '../refusal.ts';
import type { RefusalCode } from '../refusal-kinds.ts';
import type { Task } from '../tasks/task.ts';
import type { Admissible } from './admit.ts';
import { admittedFields, endedFields, refusedFields, type CallEnd, type RefusedCall } from './call-events.ts';
import type { EventLog } from './event-log.ts';
import { eventFields } from './event.ts';
import { signalFields, type ReceivedSignal } from './signal-events.ts';
import { taskEndedFields, taskOpenedFields } from './task-events.ts';
import type { Metrics } from './metrics.ts';
import type { Tally } from './tallies.ts';

/** Port: the log hears of a file that should prove who we are and does not, and why. */
export type TellUnproven = (file: string, cause: string) => void;

/** The one place that writes events and counts: whatever happens is told here once and appears in both. */
export class Trail implements ExchangeTrail, DecisionObserver {
  readonly #log: EventLog;
  readonly #metrics: Metrics;
  readonly #agentName: string;
  readonly #tellUnproven: TellUnproven;
  readonly #hit: Tally;
  readonly #decisions = new WeakMap<Decision, readonly Tally[]>();

  constructor(log: EventLog, metrics: Metrics, agentName: string, tellUnproven: TellUnproven) {
    this.#tellUnproven = tellUnproven;
    this.#log = log;
    this.#metrics = metrics;
    this.#agentName = JSON.stringify(agentName);
    this.#hit = metrics.cache.of('hit');
  }

  /** Resolves when `call.admitted` is written, rejects `record_unavailable`. */
  admitted(sent: Admissible): Promise<void> {
    return this.#log.appendOrRefuse(admittedFields(sent, this.#agentName));
  }

  /** One send of a call has ended; each has its own admission. */
  ended({ call, attempt }: Admissible, end: CallEnd, totalMs: number): void {
    this.#log.appendLazily(endedFields(call.id, attempt, end, totalMs));
  }

  /**
   * A call that was sent is over, and counted. Not with each send: where a tool challenges every call, half of them would be shown as
   * failures that no agent saw. @param forwardMs of all its sends.
   */
  over({ way, tool }: Call, { outcome }: CallEnd, totalMs: number, forwardMs: number): void {
    this.#metrics.requests(way, tool.name, outcome).value += 1;
    const seconds = this.#metrics.callSeconds[way];
    seconds.total.observe(totalMs / 1000);
    seconds.forward.observe(forwardMs / 1000);
  }

  /** A HEAD without credential that asked a tool for its nonce. @param status 0 where there was no answer. */
  probed(call: Call, status: number): void {
    const { origin } = call.target;
    const target = { method: 'HEAD', scheme: origin.scheme, host: origin.host, port: origin.port, path: call.rawPath };
    this.#log.append(eventFields('call.probe', { id: call.id, tool: call.tool.name, target, status }));
  }

  /** A call that was answered with a refusal. After its admission `call.ended` tells the rest, and this only counts the code, unless it is a replay. */
  refused(refused: RefusedCall, wasAdmitted: boolean): void {
    const { refusal } = refused;
    const { code, kind } = refusal;
    if (refusal instanceof UnprovenRefusal && refusal.file !== undefined) this.#tellUnproven(refusal.file, refusal.why);
    // A record that cannot be written would fill up with its own refusals: those are counted only.
    if ((!wasAdmitted || kind.replay !== undefined) && code !== 'record_unavailable')
      this.#log.append(refusedFields(refused, this.#agentName));
    this.#metrics.refused(refused.way, code);
    if (!wasAdmitted) this.#metrics.requests(refused.way, refused.call?.tool.name ?? 'none', 'refused').value += 1;
  }

  /** The same of one among many alike, which is counted and not told. */
  refusedSilently(way: Way, code: RefusalCode): void {
    this.#metrics.refused(way, code);
    this.#metrics.requests(way, 'none', 'refused').value += 1;
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
    this.#log.append(taskOpenedFields(task, by));
  }

  taskEnded(task: Task, by: string): void {
    this.#metrics.tasks.of(task.state).value += 1;
    this.#log.append(taskEndedFields(task, by));
  }

  /** The kill switch was used. @param beforeMs what was issued before opens no task any more; undefined for a single task. */
  principalRevoked(
    what: Readonly<Record<string, string>>,
    reason: string,
    by: string,
    beforeMs: number | undefined,
    came: { readonly tasks: number; readonly credentials: number },
  ): void {
    const before = beforeMs === undefined ? undefined : new Date(beforeMs).toISOString();
    this.#log.append(eventFields('principal.revoked', { principal: what, cause: reason, by, before, ...came }));
  }

  signalReceived(signal: ReceivedSignal): void {
    this.#metrics.signals.of(signal.outcome).value += 1;
    // A type that we do not act on is ignored too, and is no news.
    if (signal.outcome === 'ignored' && signal.cause === 'subject') this.#metrics.signalsUnmapped.value += 1;
    this.#log.append(signalFields(signal));
  }

  issued(info: Parameters<ExchangeTrail['issued']>[0]): void {
    this.#log.append(eventFields('token.issued', tokenMembers(info)));
  }

  rejected(info: Parameters<ExchangeTrail['rejected']>[0]): void {
    this.#log.append(eventFields('token.rejected', tokenMembers(info)));
  }

  cut(info: Parameters<ExchangeTrail['cut']>[0]): void {
    this.#metrics.tokensCut.of(info.service).value += 1;
    this.#log.append(eventFields('token.cut', tokenMembers(info)));
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

  /**
   * First line of a boot: what ran, under which configuration. @param key public JWK that signs checkpoints while there is no identity.
   * @param follows SHA-256 of the line that stood before it in the file.
   */
  booted(version: string, configDigest: string, key: object, follows: string | undefined): void {
    this.#log.append(eventFields('boot', { version, config: configDigest, node: process.version, key, follows }));
  }

  /** A configuration was put in force. @param isOther false where it is the one before, with its files read anew: that is no change. */
  reloaded(configDigest: string, isOther: boolean): void {
    if (isOther) this.#metrics.reloads.of('reloaded').value += 1;
    this.#metrics.isConfigTaken = true;
    this.#log.append(eventFields('config.reloaded', { config: configDigest }));
  }

  /** A changed configuration was not taken. @param places of what is wrong, as `tools.crm.token.from`; no values. */
  reloadRejected(places: readonly string[]): void {
    this.#metrics.reloads.of('rejected').value += 1;
    this.#metrics.isConfigTaken = false;
    this.#log.append(eventFields('config.rejected', { settings: places }));
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
