import { Refusal } from '../refusal.ts';
import type { World } from '../world.ts';
import { credentialOf, type ExchangeTrail } from './exchange-trail.ts';
import type { IssuedToken } from './issued-token.ts';
import { Rejection } from './rejection.ts';
import type { TellServiceError } from './service-errors.ts';
import { readFault, refuse } from './service-refusal.ts';
import type { ServiceSettings } from './service-settings.ts';
import type { TokenOrder } from './token-order.ts';
import { outlives } from './wanted-token.ts';

/** Of which service, and to whom it is told. */
export interface ReportOptions {
  readonly name: string;
  readonly settings: ServiceSettings;
  readonly world: World;
  readonly trail: ExchangeTrail;
  readonly onServiceError: TellServiceError;
}

/** What went wrong at a service, as a caller is told of it; an error that it named is told to the operator too. */
export function heard(
  error: unknown,
  { name, onServiceError }: Pick<ReportOptions, 'name' | 'onServiceError'>,
): unknown {
  const failure = readFault(error, name);
  if (failure instanceof Refusal && failure.serviceError !== undefined)
    onServiceError(name, failure.serviceError, failure.detail);
  return failure;
}

/** What a caller is told of an exchange that failed. A rejection is recorded, since it means that the service widened or broke (W5). */
export function tellFailure(error: unknown, order: TokenOrder, startedMs: number, options: ReportOptions): unknown {
  const { name: service, world, trail } = options;
  const failure = heard(error, options);
  if (!(failure instanceof Rejection)) return failure;
  const { txn, tool, audience, scopes = [] } = order;
  const id = failure.tokenId;
  const credential = id === undefined ? undefined : credentialOf({ service, id, audience, scopes });
  const ms = world.monotonic() - startedMs;
  trail.rejected({ txn, tool, service, ms, cause: failure.rejected, credential });
  return refuse('token_rejected', service);
}

/** The use of a token that outlives its subject was cut in any case; where the settings say so, it is also told of. */
export function tellCut(token: IssuedToken, order: TokenOrder, startedMs: number, options: ReportOptions): void {
  const { name: service, settings, trail, world } = options;
  if (settings.expect.life !== 'cut' || !outlives(token.validUntilMs, order)) return;
  const { txn, tool } = order;
  const ms = world.monotonic() - startedMs;
  trail.cut({ txn, tool, service, ms, cause: 'lifetime', credential: credentialOf(token) });
}
