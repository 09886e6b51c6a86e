import type { ToolSettings } from '../../../config/tools.ts';
import { Refusal } from '../../refusal.ts';
import { maxStatementMs } from '../token-kinds.ts';
import { makeTokenOrder, type OrderSubject, type TokenOrder } from '../token-order.ts';

/** For which call a transaction token is asked for. */
export interface TxnOrderParts {
  readonly txn: string;
  readonly tool: string;
  readonly toolOrigin: string;
  /** Issuer of the transaction token service. */
  readonly issuer: string;
  readonly subject: OrderSubject | undefined;
}

const refused = new Set(['refresh_token', 'txn_token'].map((name) => `urn:ietf:params:oauth:token-type:${name}`));

/**
 * The order of a transaction token (draft-ietf-oauth-transaction-tokens): an exchange of the subject token whose audience is the trust
 * domain. Throws `subject_required` in tasks without one: a token about nobody would say nothing.
 */
export function txnTokenOrder(settings: NonNullable<ToolSettings['txn_token']>, parts: TxnOrderParts): TokenOrder {
  const { subject } = parts;
  // A refresh token is forbidden, and a transaction token is carried on and never replaced by us.
  if (subject === undefined || refused.has(subject.tokenType)) throw new Refusal('subject_required');
  const { request_context: context, request_details: details } = settings;
  return makeTokenOrder({
    ...parts,
    service: settings.from,
    grant: 'token_exchange',
    kind: 'txn_token',
    audience: [settings.audience],
    scopes: settings.scope,
    parameters: {
      ...(context === undefined ? {} : { request_context: JSON.stringify(context) }),
      ...(details === undefined ? {} : { request_details: JSON.stringify(details) }),
    },
    useForMs: maxStatementMs,
  });
}
