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

/** Claims of the token at the end of a chain: every actor, the last one first. */
export function describeDelegatedToken(claims: JsonObject): readonly ClaimRow[] {
  const act = asObject(claims['act']);
  return [
    ['sub', text(claims['sub']), 'for whom, unchanged from hop to hop'],
    ['act', text(act['sub']), 'who calls'],
    ['act.act', text(asObject(act['act'])['sub']), 'for whom that one works'],
    ['aud', text(claims['aud']), 'good at this tool only'],
    ['scope', text(claims['scope']), 'what is left of all that Alice’s client may do'],
    [
      'cnf',
      `jkt ${text(asObject(claims['cnf'])['jkt']).slice(0, 16)}…`,
      'the key of this task in the worker’s sidecar',
    ],
  ];
}

/** Links of a chain, oldest first, a few lines each. */
export function describeLinks(links: readonly JsonObject[]): readonly ClaimRow[] {
  return links.flatMap((link, at): ClaimRow[] => {
    const { resources, risk, hops } = asObject(link['may']);
    const reach = Array.isArray(resources) ? resources.map((uri) => new URL(String(uri)).host).join(', ') : '';
    const begin = link['prev'] === undefined ? 'begins with Alice’s token' : `follows link ${at}`;
    return [
      [`link ${at + 1}`, text(link['iss']), `for ${text(link['sub'])}; ${begin}`],
      ['  aud', text(link['aud']), `to ${text(link['purpose'])}`],
      ['  may', reach, `risk ${text(risk)}, further hops: ${text(hops)}`],
    ];
  });
}

/** The claims that say what a token is good for. */
export function shownClaims(claims: JsonObject): JsonObject {
  return Object.fromEntries(['iss', 'sub', 'act', 'aud', 'scope', 'cnf', 'exp'].map((name) => [name, claims[name]]));
}

/** A claim as it is shown: texts without quotes. */
function text(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'absent');
}
