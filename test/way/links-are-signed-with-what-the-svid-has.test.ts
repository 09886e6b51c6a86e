import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeProtectedHeader } from 'jose';
import { afterEach, expect, test } from 'vitest';
import { pem } from '../fakes/bundle-endpoint.ts';
import { mintAuthority, mintLeaf, type Recipe } from '../fakes/certificate-mint.ts';
import { writeInPlace } from '../fakes/svid-folder.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { removeFolder } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let folder: string;
let stage: Stage;
let tool: EchoTool;

/** A sidecar with an SVID of this kind, and a tool that is to have the chain. @returns what a call of a user comes to. */
async function callWith(algorithm: Recipe['algorithm']) {
  folder = mkdtempSync(join(tmpdir(), 'waybill-keys-'));
  const authority = await mintAuthority(undefined);
  const leaf = await mintLeaf(authority, algorithm === undefined ? {} : { algorithm });
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'pem' });
  await writeInPlace(folder, { 'tls.crt': pem(leaf.der), 'tls.key': key, 'ca.crt': pem(authority.der) });
  tool = await openEchoTool();
  stage = await openStage({
    tools: { crm: { port: tool.port, proof: 'dpop', more: { chain: 'full' } } },
    sections: { identity: { svid_dir: folder } },
  });
  const { handle } = await stage.task();
  return callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle });
}

afterEach(async () => {
  await stage.close();
  await tool.close();
  removeFolder(folder);
});

const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) } as const;

test.each<[string, Recipe['algorithm']]>([
  ['ES256', undefined],
  ['ES384', { name: 'ECDSA', namedCurve: 'P-384' }],
  ['ES512', { name: 'ECDSA', namedCurve: 'P-521' }],
  ['RS256', { ...rsa, modulusLength: 2048 }],
])('a link is signed with %s where that is the key of the SVID', async (alg, algorithm) => {
  expect((await callWith(algorithm)).status).toBe(200);
  const link = String(tool.seen.at(-1)?.headers['waybill-delegation']);
  expect(decodeProtectedHeader(link)).toMatchObject({ alg });
});

test('a key that no link can be signed with is told as such, and is no fault', async () => {
  const answer = await callWith({ name: 'Ed25519' } as unknown as Recipe['algorithm']);
  expect([answer.status, answer.code]).toEqual([403, 'chain_unsignable']);
  expect(tool.seen).toEqual([]);
  expect(await stage.sidecar.metric('waybill_faults_total')).toBe(0);
});
