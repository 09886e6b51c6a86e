import { maxStatementMs } from '../token-kinds.ts';
import { makeTokenOrder, type TokenOrder } from '../token-order.ts';

/**
 * The order of the first of two legs: the service that knows the user states to another one whom it may issue a token for. With an ID-JAG
 * the audience is that other service, and the statement already says for which resource and scopes (4.7 of the draft's enterprise-managed
 * authorization); in identity chaining it is the resource, and all else is said in the second leg.
 * @param reader the service that the statement is for.
 */
export function statementOrder(
  order: TokenOrder,
  reader: { readonly issuer: string; readonly client_id?: string | undefined },
): TokenOrder {
  const { grantedBy, txn, tool, toolOrigin, subject } = order;
  if (grantedBy === undefined) throw new Error('an order for one leg only');
  const shared = {
    txn,
    tool,
    toolOrigin,
    ...grantedBy,
    grant: 'token_exchange',
    subject,
    useForMs: maxStatementMs,
  } as const;
  if (order.grant === 'identity_chaining')
    return makeTokenOrder({ ...shared, kind: 'chaining_grant', audience: [], resource: reader.issuer });
  return makeTokenOrder({
    ...shared,
    kind: 'id_jag',
    audience: [reader.issuer],
    resource: order.resource,
    scopes: order.scopes,
    details: order.details,
    clientId: reader.client_id,
  });
}
