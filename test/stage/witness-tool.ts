import { createHash } from 'node:crypto';
import { decodeJwt } from 'jose';
import { openScriptedTool, type ScriptedTool } from './scripted-tool.ts';

/** For whom a path says that it is called: `/<sub>/<jti of the task's subject token>/…`. */
interface Claimed {
  readonly sub: string | undefined;
  readonly jti: string | undefined;
}

/** A tool that compares each token with what the path says, and keeps what does not agree. It answers with the path. */
export interface WitnessTool extends ScriptedTool {
  /** One line for each call whose token is not the one of its path. */
  readonly wrong: string[];
  /** Calls with the right token, by the path's task. */
  readonly right: Map<string, number>;
  /** Different tokens that came. */
  readonly tokens: Set<string>;
}

/**
 * Opens one.
 * @param audience what its tokens must name, and nothing beside it.
 * @param lateMs by how much a token may be over that ended on the way: the tool's clock is ours.
 */
export async function openWitnessTool(
  audience: string,
  tls?: { readonly cert: string; readonly key: string },
  lateMs = 500,
): Promise<WitnessTool> {
  const wrong: string[] = [];
  const right = new Map<string, number>();
  const tokens = new Set<string>();
  const keys = new Map<string, string>();
  const tool = await openScriptedTool((request, response) => {
    const [, sub, jti] = (request.url ?? '').split('/');
    const faults = findFaults(request.headers, request.rawHeaders, { sub, jti }, audience, keys, lateMs);
    if (faults.length > 0) wrong.push(`${audience}${request.url}: ${faults.join(', ')}`);
    else right.set(jti ?? '', (right.get(jti ?? '') ?? 0) + 1);
    tokens.add(request.headers.authorization ?? '');
    request.resume().once('end', () => {
      const body = request.url ?? '';
      response.writeHead(faults.length > 0 ? 418 : 200, { 'content-length': Buffer.byteLength(body) }).end(body);
    });
  }, tls);
  return { ...tool, wrong, right, tokens };
}

/** @param keys the task that each proof key was first seen with. */
function findFaults(
  headers: NodeJS.Dict<string | string[]>,
  raw: readonly string[],
  claimed: Claimed,
  audience: string,
  keys: Map<string, string>,
  lateMs: number,
): string[] {
  // By itself: in the letters of a token or a signature the mark comes by chance, once in some thousand calls of a crowd.
  if (raw.some((text) => /(?<![A-Za-z0-9_-])wb[ht]_/.test(text))) return ['a handle came, or the mark of a trace'];
  const [scheme = '', token = ''] = String(headers['authorization']).split(' ');
  if (!/^(?:Bearer|DPoP)$/.test(scheme)) return [`no token (${scheme})`];
  const { sub, aud, exp, cnf, subject_jti: jti } = decodeJwt<{ cnf?: { jkt: string }; subject_jti?: string }>(token);
  const faults: string[] = [];
  if (sub !== claimed.sub) faults.push(`of user ${sub}`);
  if (aud !== audience) faults.push(`for ${String(aud)}`);
  if (jti !== claimed.jti) faults.push(`of another task of ${sub}`);
  const late = Date.now() - (exp ?? 0) * 1000;
  if (late > lateMs) faults.push(`over for ${late} ms`);
  if (cnf === undefined) return faults;
  if ((keys.get(cnf.jkt) ?? jti) !== jti) faults.push('bound to the key of another task');
  keys.set(cnf.jkt, jti ?? '');
  return [...faults, ...proofFaults(headers['dpop'], token)];
}

function proofFaults(proof: string | string[] | undefined, token: string): string[] {
  if (typeof proof !== 'string') return ['without proof'];
  const ath = createHash('sha256').update(token).digest('base64url');
  return decodeJwt(proof)['ath'] === ath ? [] : ['with the proof of another token'];
}
