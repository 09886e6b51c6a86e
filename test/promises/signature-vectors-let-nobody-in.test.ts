import { createPrivateKey } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { JWK } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Caller } from '../stage/caller.ts';
import { signJws } from '../stage/signing-key.ts';
import { openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const file = join(
  import.meta.dirname,
  '..',
  '..',
  '..',
  'shared',
  'vectors',
  'wycheproof',
  'json_web_signature_test.json',
);
const absent = 'vectors not present';

interface Group {
  readonly public?: JWK;
  readonly private: JWK;
  readonly tests: readonly { tcId: number; jws: string; result: string; comment: string }[];
}

const groups = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { testGroups: Group[] }).testGroups : [];
let keys: Server;
let base = '';
let stage: WayInStage;
let caller: Caller;

/** One issuer for each group of the vectors, whose key set is the key of that group. */
beforeAll(async () => {
  keys = createServer((request, response) => {
    const group = groups[Number((request.url ?? '').slice(1))];
    response.writeHead(group === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ keys: [publicOf(group)] }));
  });
  await new Promise<void>((done) => keys.listen(0, '127.0.0.1', done));
  base = `http://127.0.0.1:${(keys.address() as AddressInfo).port}`;
  const issuers = groups.map((_group, at) => `${base}/${at}`);
  if (issuers.length === 0) return;
  stage = await openWayIn({
    inbound: { accept: issuers.map((issuer) => ({ issuer, proof: 'dpop' })) },
    sections: { trust: { issuers: issuers.map((issuer) => ({ issuer, jwks_uri: issuer, audience: 'agent' })) } },
  });
  const { key, nonce } = await stage.caller();
  // A good token, by the key of the first group with a good one.
  caller = new Caller(stage.to, key, tokenOf(1, key.jkt));
  caller.nonce = nonce;
});
afterAll(async () => {
  await stage?.close();
  await new Promise((done) => keys.close(done));
});

/** The public half, as an issuer would publish it; of a symmetric key there is none, and it is published whole. */
function publicOf(group: Group | undefined): JWK {
  const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...rest } = group?.public ?? group?.private ?? {};
  return rest;
}

/** A good token by the key of a group. */
function tokenOf(at: number, jkt: string): string {
  const { private: jwk } = groups[at]!;
  const { alg = jwk.kty === 'EC' ? 'ES256' : 'RS256', kid = '' } = jwk;
  const privateKey = createPrivateKey({ key: { ...jwk }, format: 'jwk' });
  const claims = { iss: `${base}/${at}`, sub: 'alice', aud: stage.origin, cnf: { jkt } };
  const exp = Math.floor(Date.now() / 1000) + 60;
  // ES521 is what RFC 7520 calls its key; there is no such algorithm.
  const signed = { alg: alg === 'ES521' ? 'ES512' : alg, privateKey, jwk, jkt: '' };
  return signJws({ alg, kid, typ: 'at+jwt' }, { ...claims, exp }, signed);
}

function isGood({ alg, use, key_ops: operations }: JWK): boolean {
  return alg !== 'ES521' && use !== 'enc' && (operations === undefined || operations.includes('verify'));
}

describe('Wycheproof', () => {
  test.for(['token', 'proof', 'chain'] as const)('0 accepted: every row as %s', async (place, context) => {
    if (groups.length === 0) {
      console.log(`skipped: ${absent}`);
      context.skip(absent);
    }
    const socket = await caller.connect();
    const said = new Map<string, number>();
    let rows = 0;
    for (const { jws } of groups.flatMap(({ tests }) => tests)) {
      // What no header line can hold does not come so far.
      const text = jws.replaceAll(/[^\t -~]/g, '');
      const { code = 'accepted' } = await caller.send({ [place]: text }, socket.destroyed ? undefined : socket);
      said.set(code, (said.get(code) ?? 0) + 1);
      rows += 1;
    }
    socket.destroy();
    const wanted = { token: 'token_invalid', proof: 'proof_invalid', chain: 'chain_broken' }[place];
    expect([...said]).toEqual([[wanted, rows]]);
    expect(rows).toBeGreaterThan(400);
    expect(stage.program.seen).toEqual([]);
  });

  test('every good one accepted: a token by each key that is for signatures, and by no other', async (context) => {
    if (groups.length === 0) {
      console.log(`skipped: ${absent}`);
      context.skip(absent);
    }
    const wrong: string[] = [];
    let accepted = 0;
    for (const [at, group] of groups.entries()) {
      if (group.private.kty === 'oct') continue;
      const good = isGood(publicOf(group));
      const { status } = await caller.send({ token: tokenOf(at, caller.key.jkt) });
      if ((status === 200) !== good) wrong.push(`group ${at} (${group.private.alg}): ${status}`);
      if (good) accepted += 1;
    }
    expect(wrong).toEqual([]);
    expect(accepted).toBeGreaterThan(8);
    expect(stage.program.seen.length).toBe(accepted);
    stage.program.seen.length = 0;
  });
});
