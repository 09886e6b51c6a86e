/**
 * The token service of the Waybill variants, a process of its own; asked once per token, so it costs nothing under load. Asked over
 * the process channel, it mints the token of a caller.
 */
import { openTokenService } from '../proxy/embedded/token-service.ts';
import { toolHost } from './scenarios.ts';

/** What a sidecar must know to exchange a user's token for one of the tool. */
export interface TokenServiceReady {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly subjectToken: string;
  readonly subjectAudience: string;
  readonly toolResource: string;
  readonly toolAudience: string;
  readonly toolScope: string;
}

/** A caller's token to be made. */
export interface CallerTokenOrder {
  readonly audience: string;
  /** Thumbprint of the caller's key. */
  readonly jkt: string;
}

export interface CallerToken {
  readonly token: string;
}

const client = { clientId: 'load-agent', clientSecret: 'a secret of the load test only' };
const tool = { resource: `http://${toolHost}`, audience: 'tool', scope: 'tool.read' };
const ttlSeconds = 3600;

const service = await openTokenService({
  clients: [{ ...client, auth: 'client_secret_basic', scopes: [tool.scope] }],
  resources: [{ resource: tool.resource, audience: tool.audience, scopes: [tool.scope] }],
  accessTokenTtlSeconds: ttlSeconds,
});
const subjectToken = await service.mintSubjectToken({
  sub: 'alice',
  audience: client.clientId,
  scopes: [tool.scope],
  ttlSeconds,
});
const ready: TokenServiceReady = {
  issuer: service.issuer,
  ...client,
  subjectToken,
  subjectAudience: client.clientId,
  toolResource: tool.resource,
  toolAudience: tool.audience,
  toolScope: tool.scope,
};
process.on('message', ({ audience, jkt }: CallerTokenOrder) => {
  const order = { sub: 'alice', audience, scopes: [tool.scope], ttlSeconds, jkt };
  void service.mintSubjectToken(order).then((token) => process.send?.({ token } satisfies CallerToken));
});
process.on('disconnect', () => process.exit(0));
process.send?.(ready);
