import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { killRemaining, launcher, Running, runWaybill } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { mayBeOthers } from '../stage/foreign-caller.ts';
import { freePort } from '../stage/free-port.ts';
import { listFound, Surgery, toolAt, type Finding } from '../stage/surgery.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';

let surgery: Surgery;
let tool: EchoTool;
let other: EchoTool;

beforeAll(async () => {
  [tool, other] = await Promise.all([openEchoTool(), openEchoTool()]);
});
afterAll(async () => {
  await Promise.all([tool, other].map((one) => one?.close()));
});
beforeEach(async () => {
  surgery = await Surgery.open();
});
afterEach(async () => {
  killRemaining();
  await surgery.close();
});

test('the ports of the operator and of signals, that another program has', async () => {
  writeFileSync(surgery.path('token'), 'reader-token-0123456789', { mode: 0o600 });
  const issuer = 'https://idp.test';
  const sections = {
    listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    tools: { crm: toolAt(tool.port) },
    trust: { issuers: [{ issuer, audience: 'bot' }] },
  };
  const operator = { socket: surgery.path('operator.sock'), listen: `127.0.0.1:${tool.port}` };
  const file = surgery.write({
    ...sections,
    operator: { ...operator, tokens: { reader: surgery.path('token') } },
    signals: { listen: `127.0.0.1:${other.port}`, transmitters: [{ issuer, audience: 'bot' }] },
  });
  const { findings } = await surgery.ask(file);
  expect([listFound(findings, 'failed', 'config'), listFound(findings, 'warning', 'ports').toSorted()]).toEqual([
    [],
    [
      `ports : operator.listen: something listens on port ${tool.port} already`,
      `ports : signals.listen: something listens on port ${other.port} already`,
    ],
  ]);
  // Without a token the sidecar does not open it, and starts.
  const { findings: closed } = await surgery.ask(surgery.write({ ...sections, operator }));
  expect(listFound(closed, 'warning', 'ports')).toEqual([]);
});

test('an address that this machine has not, and a port that this user may not take', async () => {
  // Of RFC 5737 and RFC 3849, which are nobody's.
  const listen = { outbound: '[fe80::1]:15001', metrics: '192.0.2.1:15020', health: '[2001:db8::1]:0' };
  const { findings, code } = await surgery.ask(surgery.write({ listen }));
  expect([code, listFound(findings, 'failed', 'ports').toSorted()]).toEqual([
    1,
    [
      'ports : listen.health: this machine has no address 2001:db8::1',
      'ports : listen.metrics: this machine has no address 192.0.2.1',
      'ports : listen.outbound: this machine has no address fe80::1',
    ],
  ]);
  if (!mayBeOthers) return;
  const free = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  const low = surgery.write({ listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:91', health: '127.0.0.1:0' } });
  expect(listFound((await surgery.ask(low)).findings, 'warning', 'ports')).toEqual([]);
  chmodSync(surgery.folder, 0o755);
  const asNobody = { ...surgery.options, uid: 65_534, gid: 65_534 };
  const { stdout } = await runWaybill(['doctor', '--json', '--config', low], asNobody);
  expect(listFound((JSON.parse(stdout) as { findings: Finding[] }).findings, 'warning', 'ports')).toEqual(
    free > 91 ? ['ports : listen.metrics: this user may not listen on port 91'] : [],
  );
});

test('nothing of its own ports, where a sidecar runs that has them', async () => {
  writeFileSync(surgery.path('token'), 'reader-token-0123456789', { mode: 0o600 });
  const file = surgery.write({
    listen: { outbound: '127.0.0.1:0', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
    tools: { crm: toolAt(tool.port) },
    operator: {
      socket: surgery.path('operator.sock'),
      listen: `127.0.0.1:${await freePort()}`,
      tokens: { reader: surgery.path('token') },
    },
  });
  const sidecar = new Running(process.execPath, [launcher, 'run', '--config', file], surgery.options);
  await sidecar.ready();
  const { findings } = await surgery.ask(file, {}, '--running');
  expect([listFound(findings, 'warning', 'ports'), listFound(findings, 'failed')]).toEqual([[], []]);
});

test('files that are not there, and files that hold something else', async () => {
  for (const [name, text] of [
    ['short', 'sh0rt-t0ken'],
    ['agreed', 'sh0rt-w0rd'],
    ['revocations.json', '{'],
    ['signals.pem', 'half'],
    ['signals.key', 'half'],
  ] as const)
    writeFileSync(surgery.path(name), text, { mode: 0o600 });
  mkdirSync(surgery.path('ca'));
  for (const name of ['ca.pem', 'ca.key']) writeFileSync(surgery.path(`ca/${name}`), 'half', { mode: 0o600 });
  const none = surgery.path('none');
  const issuer = 'https://idp.test';
  const agreed = { issuer, audience: 'bot', authorization_file: surgery.path('agreed') };
  const file = surgery.write({
    tools: { crm: toolAt(tool.port) },
    operator: {
      socket: surgery.path('operator.sock'),
      revocations: surgery.path('revocations.json'),
      tokens: { reader: none, operator: surgery.path('short') },
    },
    fleet: { store: 'valkeys://127.0.0.1:6399', password_file: none, tls: { ca: none } },
    trust: {
      domains: {
        'partner.org': { bundle_file: none },
        'other.org': { bundle_endpoint: { url: 'https://other.org/bundle', profile: 'https_web', ca: none } },
      },
      issuers: [{ issuer, audience: 'bot' }],
    },
    signals: {
      listen: '127.0.0.1:0',
      tls: { certificate: surgery.path('signals.pem'), key: surgery.path('signals.key') },
      transmitters: [agreed],
    },
  });
  const { findings, stdout, code } = await surgery.ask(file);
  expect(listFound(findings, 'failed', 'files').toSorted()).toEqual([
    expect.stringMatching(/^files : ca.dir: .*ca.key cannot be read as the key .*; restore both from a copy/),
    expect.stringMatching(/^files : cut-offs of the kill switch: .*revocations.json cannot be read as the file of/),
    `files : fleet.password_file: ${none} cannot be read (ENOENT)`,
    `files : fleet.tls.ca: ${none} cannot be read (ENOENT)`,
    expect.stringMatching(/^files : operator.tokens.operator: .*must hold one token of at least 16 characters/),
    `files : operator.tokens.reader: ${none} cannot be read (ENOENT)`,
    'files : signals.tls: the two files are no certificate and its key',
    expect.stringMatching(/^files : signals.transmitters\[0\].authorization_file: .*must hold a value of at least 16/),
    `files : trust.domains.other.org.bundle_endpoint.ca: ${none} cannot be read (ENOENT)`,
    `files : trust.domains.partner.org.bundle_file: ${none} cannot be read (ENOENT)`,
  ]);
  expect([code, /sh0rt/.test(stdout)]).toEqual([1, false]);
});

test('a pipe in the place of a token or a key is told, and not waited for', async () => {
  mkdirSync(surgery.path('ca'));
  for (const name of ['token', 'ca/ca.key']) execFileSync('mkfifo', ['-m', '600', surgery.path(name)]);
  const file = surgery.write({
    tools: { crm: toolAt(tool.port) },
    operator: { socket: surgery.path('operator.sock'), tokens: { reader: surgery.path('token') } },
  });
  const { findings } = await surgery.ask(file);
  const found = listFound(findings, 'failed', 'files').join();
  expect(found).toContain('operator.tokens.reader');
  expect(found).toContain(`ca.dir: ${surgery.path('ca/ca.key')} is no file`);
});

test('a pair of the CA that does not belong together; with nothing there, nothing', async () => {
  const sections = { tools: { crm: toolAt(tool.port) } };
  const none = await surgery.ask(surgery.write(sections));
  const [one, another] = await Promise.all([makeToolCertificate('a.test'), makeToolCertificate('b.test')]);
  mkdirSync(surgery.path('ca'));
  writeFileSync(surgery.path('ca/ca.pem'), one.ca);
  writeFileSync(surgery.path('ca/ca.key'), another.key, { mode: 0o600 });
  const { findings } = await surgery.ask(surgery.write(sections));
  expect([listFound(none.findings, 'failed', 'files'), listFound(findings, 'failed', 'files')]).toEqual([
    [],
    [expect.stringMatching(/^files : ca.dir: .*ca.pem is the certificate of another key than .*ca.key/)],
  ]);
});
