import { createPrivateKey, randomBytes } from 'node:crypto';
import { makeDpopProof, ProofKey } from '../proxy/proofs/dpop.ts';
import { proofPlace } from './scenarios.ts';

/** The DPoP proofs of one round of load: as many as there can be requests in it, since each is good for one. */
export interface ProofOrder {
  readonly count: number;
  /** P-256, PKCS #8 as PEM. */
  readonly privateKey: string;
  readonly htm: string;
  readonly htu: string;
  /** `base64url(SHA-256(token))`. */
  readonly ath: string;
  /** Of the server that they are for, at this moment. */
  readonly nonce: string;
  /** For a server that looks at no proof: when all are used, they begin anew. */
  readonly reusable: boolean;
}

/**
 * The requests of a round, one after the other. Those with proofs are put together here, before the first is sent: signatures that are
 * made under load would be the load generator's own limit. Undefined when none is left.
 */
export function makeRequests(request: string, order: ProofOrder | undefined): () => Buffer | undefined {
  if (order === undefined) {
    const bytes = Buffer.from(request, 'latin1');
    return () => bytes;
  }
  const { count, htm, htu, ath, nonce, reusable } = order;
  const key = new ProofKey(createPrivateKey(order.privateKey));
  const series = randomBytes(12).toString('base64url');
  const iatSeconds = Math.floor(Date.now() / 1000);
  const [before = '', after = ''] = request.split(proofPlace);
  const requests = Array.from({ length: count }, (_, index) => {
    const proof = makeDpopProof(key, { htm, htu, ath, nonce, iatSeconds, jti: `${series}${index.toString(36)}` });
    return Buffer.from(before + proof + after, 'latin1');
  });
  let used = 0;
  return () => requests[reusable ? used++ % count : used++];
}
