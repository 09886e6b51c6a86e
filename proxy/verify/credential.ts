import { Refusal } from '../refusal.ts';
import type { HeaderList } from '../intercept/header-list.ts';

/** What a caller sent to be recognised by, as it came: nothing of it is verified. */
export interface CallerCredential {
  readonly scheme: 'dpop' | 'bearer' | undefined;
  readonly token: string | undefined;
  readonly proof: string | undefined;
  /** Of several proofs nobody can tell which one was meant (RFC 9449 4.3, check 1). */
  readonly hasSeveralProofs: boolean;
  /** Value of `Waybill-Delegation`. */
  readonly chain: string | undefined;
  /** Value of `Txn-Token`, where such tokens are taken. */
  readonly txnToken: string | undefined;
  /** The caller's own application key, which is none of our business. */
  readonly apiKey: string | undefined;
}

/** Reads `Authorization`, `DPoP`, `Waybill-Delegation` and `Txn-Token`. All but the proof are there once at most: the header list refuses repeated ones. */
export function readCallerCredential(headers: HeaderList): CallerCredential {
  let authorization: string | undefined;
  let proof: string | undefined;
  let hasSeveralProofs = false;
  let chain: string | undefined;
  let txnToken: string | undefined;
  let apiKey: string | undefined;
  for (let at = 0; at < headers.credentials.length; at += 2) {
    const value = headers.credentials[at + 1] ?? '';
    switch (headers.credentials[at]?.toLowerCase()) {
      case 'authorization':
        authorization = value;
        break;
      case 'dpop':
        hasSeveralProofs ||= proof !== undefined || isList(value);
        proof = value;
        break;
      case 'waybill-delegation':
        chain = value;
        break;
      case 'txn-token':
        txnToken = value;
        break;
      default:
        apiKey = value;
    }
  }
  return { ...readAuthorization(authorization), proof, hasSeveralProofs, chain, txnToken, apiKey };
}

/** Two lines of one name are the same message as one with a comma (RFC 9110 5.3), and clients make the second of the first. */
function isList(value: string): boolean {
  return (
    value.includes(',') && value.split(',').filter((part) => /^\s*[\w-]+\.[\w-]+\.[\w-]*\s*$/.test(part)).length > 1
  );
}

function readAuthorization(value: string | undefined): Pick<CallerCredential, 'scheme' | 'token'> {
  if (value === undefined) return { scheme: undefined, token: undefined };
  const match = /^(?<scheme>dpop|bearer) +(?<token>[A-Za-z0-9._~+/=-]+)$/i.exec(value);
  const scheme = match?.groups?.['scheme']?.toLowerCase();
  if (scheme !== 'dpop' && scheme !== 'bearer')
    throw new Refusal('token_invalid', 'Authorization is neither DPoP nor Bearer with one token.');
  return { scheme, token: match?.groups?.['token'] };
}
