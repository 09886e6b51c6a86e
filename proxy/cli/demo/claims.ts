import { asObject, type JsonObject } from '../json-object.ts';
import type { ClaimRow } from './narration.ts';

/** Claims of the user's own token, with what they mean here. */
export function describeSubjectToken(claims: JsonObject): readonly ClaimRow[] {
  return [
    ['sub', text(claims['sub']), 'who signed in'],
    ['aud', text(claims['aud']), 'the agent’s sidecar may exchange it'],
    ['scope', text(claims['scope']), 'all that she may do: far more than one call needs'],
  ];
}

/** Claims of an exchanged token, with what they mean here. */
export function describeToken(claims: JsonObject): readonly ClaimRow[] {
  // From its own claims, not from the clock: the table says what was issued.
  const life = Number(claims['exp']) - Number(claims['iat']);
  return [
    ['sub', text(claims['sub']), 'for whom'],
    ['act', text(asObject(claims['act'])['sub']), 'who acts for her'],
    ['aud', text(claims['aud']), 'good at this tool only'],
    ['scope', text(claims['scope']), 'of all her scopes only this one'],
    [
      // A thumbprint is public; it is cut because the table is to be read, not checked.
      'cnf',
      `jkt ${text(asObject(claims['cnf'])['jkt']).slice(0, 16)}…`,
      'useless without the key of this task in the sidecar (DPoP)',
    ],
    ['exp', `${Math.round(life / 60)} minutes`, `issued by ${text(claims['iss'])}`],
  ];
}

/** A claim as it is shown: texts without quotes. */
function text(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'absent');
}
