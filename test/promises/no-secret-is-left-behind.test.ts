import { afterAll, beforeAll, expect, test } from 'vitest';
import { answerLies, claimLies, memberLies } from '../fakes/token-service-lies.ts';
import { basic, dial } from '../stage/raw-call.ts';
import { openRichStage, type RichStage } from '../stage/rich-run.ts';
import { findSecrets, type KnownSecret, type Leftover } from '../stage/secret-scan.ts';

let rich: RichStage;
let left: { secrets: KnownSecret[]; leftovers: Leftover[]; keys: string[] };

beforeAll(async () => {
  rich = await openRichStage();
  await rich.scrape('at the start');
  await callWell();
  await callWrongly();
  await sendBrokenRequests();
  await askLyingServices();
  await askOperator();
  await endTasks();
  await rich.scrape('at the end');
  left = await rich.finish();
}, 90_000);
afterAll(() => rich.close());

async function callWell(): Promise<void> {
  const { handle, handles } = await rich.open('alice', { handles: 'per_tool' });
  const proxy = { 'Proxy-Authorization': basic(handle) };
  // Queries carry secrets: they go on, and into no record.
  for (const path of ['one', `two?token=${handle}`]) await rich.call(`http://crm.test/${path}`, proxy);
  await rich.call('http://vault.test/', { Authorization: `Bearer ${handle}` });
  await rich.mount('/tools/crm/x', { Authorization: `Bearer ${handles['crm'] ?? ''}` });
  await rich.mount('/tools/crm/x', { 'x-api-key': handles['crm'] ?? '' });
  for (const path of ['one', 'two'])
    await rich.call(`https://files.test/${path}`, {}, { on: await rich.tunnel('files.test', handle) });
}

async function callWrongly(): Promise<void> {
  const { handle, handles } = await rich.open('bob', { handles: 'per_tool' });
  const proxy = { 'Proxy-Authorization': basic(handle) };
  for (const host of ['gone', 'moody', 'unlisted']) await rich.call(`http://${host}.test/`, proxy);
  await rich.call('http://crm.test/die', proxy);
  await rich.call('https://forged.test/', {}, { on: await rich.tunnel('forged.test', handle) });
  await rich.call('https://files.test/fault-now', {}, { on: await rich.tunnel('files.test', handle) });
  await rich.call('http://gone.test/', { Authorization: `Bearer ${handles['crm'] ?? ''}` });
  const { handle: other } = await rich.open('carol');
  await rich.call('http://crm.test/', { ...proxy, Authorization: `Bearer ${other}` });
  await rich.call('http://crm.test/', { Authorization: `Bearer ${other.slice(0, -4)}AAAA` });
  await rich.call('http://crm.test/', { Authorization: `Bearer wbh_AAAAAAAA${other.slice(12)}` });
  await rich.call('http://crm.test/', { Connection: 'authorization', Authorization: `Bearer ${other}` });
  await rich.call('http://crm.test/', { Connection: other, ...proxy });
  await rich.call('http://files.test/', { Host: 'crm.test', ...proxy });
  await rich.call(`http://crm.test/a/../b?token=${other}`, proxy);
  await rich.call('http://crm.test/', proxy, { method: 'TRACE' });
}

async function sendBrokenRequests(): Promise<void> {
  const { handle } = await rich.open('dave');
  const auth = `Proxy-Authorization: ${basic(handle)}\r\nAuthorization: Bearer ${handle}\r\n`;
  const broken = [
    `GET http://crm.test/ HTTP/1.1\r\nHost: crm.test\r\n${auth}Bad Header\r\n\r\n`,
    `GET http://crm.test/?t=${handle} HTTP/9.9\r\nHost: crm.test\r\n\r\n`,
    `${handle} http://crm.test/ HTTP/1.1\r\nHost: crm.test\r\n\r\n`,
    `GET http://task:${handle}@crm.test/ HTTP/1.1\r\nHost: crm.test\r\n\r\n`,
    `GET http://crm.test/ HTTP/1.1\r\nHost: crm.test\r\n${auth}Transfer-Encoding: ${handle}\r\n\r\n`,
    `POST http://crm.test/ HTTP/1.1\r\nHost: crm.test\r\n${auth}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef`,
    `POST http://crm.test/ HTTP/1.1\r\nHost: crm.test\r\n${auth}Transfer-Encoding: chunked\r\n\r\nzz\r\n${handle}\r\n`,
    `GET http://crm.test/ HTTP/1.1\r\nHost: crm.test\r\n${auth}X-Large: ${handle.repeat(1000)}\r\n\r\n`,
    `CONNECT crm.test:443 HTTP/1.1\r\nHost: files.test\r\n${auth}\r\n`,
    `CONNECT crm.test HTTP/1.1\r\nHost: crm.test\r\n${auth}\r\n`,
  ];
  for (const bytes of broken) await rich.send(bytes, dial(rich.outbound), 1500);
}

/** Every lie, among them those whose `error_description` quotes the subject token and the client secret. */
async function askLyingServices(): Promise<void> {
  // In turn, since a service that does nothing but fail is soon not asked any more; and those that ask for a pause at the end.
  const [answers, tokens] = [Object.keys(answerLies), [...Object.keys(claimLies), ...Object.keys(memberLies)]];
  const lies = tokens.flatMap((lie, at) => [lie, ...answers.slice(at, at + 1)]);
  const others = ['slow', 'foreign_key', 'trickle', 'unsigned', 'reset', 'id_token_typ', 'no_typ', 'echo_subject'];
  const pauses = ['rate_limited', 'rate_limited_long'];
  for (const lie of [...[...lies, ...others].filter((one) => !pauses.includes(one)), ...pauses]) {
    const { handle } = await rich.open(`liar-${lie}`);
    rich.stage.service.lie = lie;
    await rich.call('http://crm.test/', { 'Proxy-Authorization': basic(handle) });
    rich.stage.service.lie = undefined;
    // A service that only ever lies is soon asked no more; between its lies this one is well.
    for (const name of ['once', 'twice']) {
      const well = await rich.open(`well-${lie}-${name}`);
      await rich.call('http://crm.test/', { 'Proxy-Authorization': basic(well.handle) });
    }
  }
  const { handle } = await rich.open('erin');
  for (const lie of ['inactive', 'invalid_grant', 'echo_subject']) {
    rich.mesh.lie = lie;
    await rich.call('http://vault.test/', { 'Proxy-Authorization': basic(handle) });
  }
  rich.mesh.lie = 'opaque';
}

async function askOperator(): Promise<void> {
  const { txn, token } = await rich.open('frank');
  const expired = await rich.stage.service.subjectToken({ exp: 1 });
  for (const subject_token of [expired, `${token}AA`, token.slice(0, -6), `${token} `, { token }])
    await rich.operator('POST', '/v1/tasks', { subject_token });
  await rich.operator('POST', '/v1/tasks', { subject_token: token, purpose: token, tools: [token] });
  await rich.operator('POST', '/v1/tasks', { subject_token: token, [token]: 1 });
  await rich.operator('POST', `/v1/tasks/${txn}/complete`, { reason: 'done' });
  await rich.operator('GET', '/v1/tasks');
  const { operator = '' } = rich.stage.sidecar.addresses;
  for (const authorization of [`Bearer ${token}`, 'Bearer wrong'])
    rich.keep(
      'the operator’s port',
      await (await fetch(`http://${operator}/v1/tasks`, { headers: { authorization } })).text(),
    );
}

async function endTasks(): Promise<void> {
  const { txn, handle } = await rich.open('grace');
  const proxy = { 'Proxy-Authorization': basic(handle) };
  await rich.call('http://crm.test/', proxy);
  await rich.call('http://vault.test/', proxy);
  const stream = rich.call('http://crm.test/stream', proxy);
  rich.stage.service.revokeStatus = 503;
  rich.stage.service.revokeBody = 'down';
  await rich.operator('POST', `/v1/tasks/${txn}/fail`, { reason: 'no more' });
  await stream;
  await rich.call('http://crm.test/', proxy);
  // No identity: neither the actor token nor the client assertion can be had.
  await rich.workloadApi.removeEntries();
  const { handle: last } = await rich.open('heidi');
  for (const host of ['crm', 'vault']) await rich.call(`http://${host}.test/`, { 'Proxy-Authorization': basic(last) });
}

test('the run went through all that could talk: answers, refusals of every stage, faults', () => {
  const codes = [...rich.codes];
  expect(codes).toEqual(
    expect.arrayContaining(['200', 'internal_fault', 'token_rejected', 'token_service_unavailable']),
  );
  expect(codes).toEqual(
    expect.arrayContaining(['upstream_unreachable', 'upstream_tls', 'credential_refused', 'grant_dead']),
  );
  expect(codes).toEqual(
    expect.arrayContaining(['handle_foreign_tool', 'task_conflict', 'handle_unknown', 'handle_ended']),
  );
  expect(codes).toEqual(expect.arrayContaining(['handle_previous_process', 'header_forbidden', 'authority_mismatch']));
  expect(codes).toEqual(
    expect.arrayContaining(['path_ambiguous', 'message_malformed', 'body_too_large', 'identity_unavailable']),
  );
  expect(left.keys.length).toBeGreaterThan(1);
  expect(left.secrets.length).toBeGreaterThan(100);
});

test('W8, W3: no 16-byte window of a token, handle, secret or key is in an output, an answer, the files or /proc of the sidecar', () => {
  const bytes = left.leftovers.reduce((sum, { bytes: { length } }) => sum + length, 0);
  console.log(`${left.secrets.length} secrets, ${left.leftovers.length} places, ${bytes} bytes`);
  expect(findSecrets(left.secrets, left.leftovers)).toEqual([]);
}, 60_000);

test('W8: the scan itself finds what it looks for', () => {
  const [secret] = left.secrets;
  const text = String(secret?.value).slice(2, 20);
  for (const spelled of [text, Buffer.from(text).toString('base64'), Buffer.from(text).toString('hex')])
    expect(findSecrets(left.secrets, [{ where: 'a planted place', bytes: Buffer.from(`"${spelled}"`) }])).toHaveLength(
      1,
    );
});
