import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, constants, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { openAuthority } from '../../proxy/embedded/authority.ts';
import { issueTexts } from '../fakes/svid-folder.ts';
import { killRemaining } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { freePort } from '../stage/free-port.ts';
import { callThrough } from '../stage/raw-call.ts';
import { listFound, Surgery, toolAt } from '../stage/surgery.ts';
import { openStage } from '../stage/way-out-stage.ts';

let surgery: Surgery;
let tool: EchoTool;

beforeAll(async () => {
  tool = await openEchoTool();
});
afterAll(() => tool.close());
beforeEach(async () => {
  surgery = await Surgery.open();
});
afterEach(async () => {
  killRemaining();
  await surgery.close();
});

test('plain http to another host with a credential: the doctor says what the agent is told', async () => {
  const stage = await openStage({
    tools: {
      crm: { port: tool.port, more: { match: { host: 'crm.test', scheme: 'http' }, dial: '10.0.0.1:80' } },
      lax: { port: tool.port, more: { plaintext: 'unsafe' } },
    },
  });
  try {
    const task = await stage.task('alice');
    const refused = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle: task.handle });
    expect([refused.status, refused.code]).toEqual([403, 'address_forbidden']);
    const { title, detail } = JSON.parse(refused.body) as { title: string; detail: string };
    // Both are of the address.
    expect(title).toBe('The destination resolves to an address that the tool may not have');
    expect(detail).toBe('Over plain http a credential goes to an address of this machine only (tools.X.plaintext).');
    const { findings, code } = await surgery.ask(join(stage.dir, 'waybill.yaml'));
    expect(listFound(findings, 'failed')).toEqual([
      `tool crm: crm.test at 10.0.0.1:80: every call is refused: ${detail.replace('tools.X', 'tools.crm')}`,
    ]);
    expect([code, listFound(findings, 'ok', 'tool')]).toEqual([1, [expect.stringMatching(/^tool lax: /)]]);
  } finally {
    await stage.close();
  }
});

test.for(['standard output', 'a pipe by its name'])(
  'a record on %s that nobody reads any more: its log is silent of it, and the doctor names the reader',
  async (kind) => {
    const pipe = surgery.path('record');
    execFileSync('mkfifo', [pipe]);
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(pipe, constants.O_WRONLY);
    const isNamed = kind !== 'standard output';
    const stage = await openStage({
      tools: { crm: { port: tool.port } },
      sections: { record: isNamed ? { file: pipe } : { stdout: true } },
      start: isNamed ? {} : { stdout: writer },
    });
    try {
      closeSync(writer);
      const { handle } = await stage.task();
      closeSync(reader);
      const refused = await callThrough(stage.sidecar.addresses.outbound, 'http://crm.test/x', { handle });
      expect(refused.code).toBe('record_unavailable');
      const { findings } = await surgery.ask(join(stage.dir, 'waybill.yaml'));
      expect(findings.filter(({ check, state }) => check === 'sidecar' && state === 'failed')).toMatchObject([
        {
          message: 'it is not ready: the record cannot be written',
          advice: `See to whatever reads ${isNamed ? pipe : 'its standard output'}: the log has no line about it. Until then it refuses calls.`,
        },
      ]);
    } finally {
      await stage.close();
    }
  },
);

test('a key of a tool that no header may hold: two lines, no text, too long, no user', async () => {
  const contents = {
    two: 's3cr3t-one\ns3cr3t-two\n',
    bytes: '\u0001s3cr3t',
    long: 's3cr3t'.padEnd(8193, 's'),
    one: 's3cr3t\n',
  };
  const tools = Object.entries(contents).map(([name, text]) => {
    writeFileSync(surgery.path(name), text, { mode: 0o600 });
    return [name, toolAt(tool.port, { secret: { file: surgery.path(name), in: 'header' } }, `${name}.test`)] as const;
  });
  const nobody = toolAt(tool.port, { secret: { file: surgery.path('one'), in: 'basic' } }, 'nobody.test');
  const absent = toolAt(tool.port, { secret: { file: surgery.path('absent'), in: 'header' } }, 'absent.test');
  const file = surgery.write({ tools: { ...Object.fromEntries(tools), nobody, absent } });
  const { findings, code, stdout } = await surgery.ask(file);
  const unusable = 'every call is refused: The secret of a tool is empty, too long or no printable text.';
  expect(listFound(findings, 'failed').toSorted()).toEqual([
    `files : tools.absent.secret: ${surgery.path('absent')} cannot be read (ENOENT)`,
    `files : tools.bytes.secret: ${unusable}`,
    `files : tools.long.secret: ${unusable}`,
    'files : tools.nobody.secret: every call is refused: The secret of a tool is no `user:password`.',
    `files : tools.two.secret: ${unusable}`,
  ]);
  expect([code, stdout.includes('s3cr3t')]).toEqual([1, false]);
});

test('behind the way in, a program that is not there; and a key of the SVID that others may read', async () => {
  const authority = await openAuthority('example.org');
  const { certificate, key, bundle } = await issueTexts(authority, 'spiffe://example.org/bot', 600);
  mkdirSync(surgery.path('svid'));
  for (const [name, text] of Object.entries({
    'svid.pem': certificate,
    'svid_key.pem': key,
    'svid_bundle.pem': bundle,
  }))
    writeFileSync(surgery.path(`svid/${name}`), text, { mode: 0o600 });
  const closed = await freePort();
  const write = (port: number): string =>
    surgery.write({
      identity: { svid_dir: surgery.path('svid') },
      trust: { domains: { 'example.org': 'svid_dir' }, issuers: [{ issuer: 'https://idp.example.org' }] },
      inbound: {
        origin: 'https://bot.example.org',
        accept: [{ issuer: 'https://idp.example.org', proof: 'dpop' }],
        forward_to: `http://localhost:${port}`,
      },
    });
  const good = await surgery.ask(write(tool.port));
  expect(listFound(good.findings, 'ok', 'program')).toEqual([
    `program : http://localhost:${tool.port} takes connections`,
  ]);
  expect(listFound(good.findings, 'warning', 'identity')).toEqual([]);
  chmodSync(surgery.path('svid/svid_key.pem'), 0o640);
  const bad = await surgery.ask(write(closed));
  expect(listFound(bad.findings, 'warning', 'program')).toEqual([
    `program : nothing listens at http://localhost:${closed} (inbound.forward_to)`,
  ]);
  expect(listFound(bad.findings, 'warning', 'identity')).toEqual([
    'identity : other users may read the key of the SVID, and call as us',
  ]);
});

test('a sidecar that hangs is no sidecar that is not there', async () => {
  const stage = await openStage({ tools: { crm: { port: tool.port } } });
  const file = join(stage.dir, 'waybill.yaml');
  process.kill(stage.sidecar.pid, 'SIGSTOP');
  try {
    for (const args of [[], ['--running']]) {
      const { findings, code } = await surgery.ask(file, {}, ...args);
      expect([code, listFound(findings, 'failed')]).toEqual([
        1,
        [expect.stringMatching(/^sidecar : it does not answer at \S+operator\.sock \(no answer within 3 s\)$/)],
      ]);
    }
  } finally {
    process.kill(stage.sidecar.pid, 'SIGCONT');
    await stage.close();
  }
});
