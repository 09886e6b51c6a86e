import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { killRemaining, runWaybill } from '../stage/command-line.ts';

const folder = mkdtempSync(join(tmpdir(), 'waybill-where-'));
afterAll(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

/** What `waybill validate` says of a configuration with these lines. */
async function errorsIn(...lines: string[]): Promise<unknown> {
  writeFileSync(join(folder, 'waybill.yaml'), ['version: 1', 'agent: { name: a }', ...lines, ''].join('\n'));
  const { stdout } = await runWaybill(['validate', '--json'], { cwd: folder });
  return (JSON.parse(stdout) as { errors: unknown }).errors;
}

const message = 'no rule may be named default';

test('a rule named default is wrong at its name', async () => {
  const rules = ['rules:', '  - effect: allow', "    when: 'true'", '    name: default'];
  expect(await errorsIn(...rules)).toEqual([{ line: 6, column: 11, path: 'rules[0].name', message }]);
});

test('and is told with all the rest that is wrong', async () => {
  const rules = ['rules:', '  - name: default', '    effect: allow', '    when: 1 +', 'dns: 7'];
  expect(await errorsIn(...rules)).toMatchObject([
    { line: 4, column: 11, path: 'rules[0].name', message },
    { line: 6, path: 'rules[0].when' },
    { line: 7, path: 'dns' },
  ]);
});

test('what is wrong inside an entry is told with the bad name of the entry', async () => {
  const tools = [
    'tools:',
    '  1t:',
    '    match: { host: h, port: 70000 }',
    '    rsik: read',
    '  2: { match: { hots: h } }',
  ];
  const trust = ['trust:', '  domains:', '    Example.org: { bundle_endpoint: { url: 7 } }'];
  expect(await errorsIn(...tools, ...trust)).toMatchObject([
    { line: 4, column: 3, path: 'tools.1t', message: expect.stringContaining('not a good name') },
    { line: 5, column: 29, path: 'tools.1t.match.port' },
    { line: 6, column: 5, path: 'tools.1t.rsik' },
    { line: 7, column: 3, path: 'tools.2', message: expect.stringContaining('every key must be text') },
    { line: 7, column: 8, path: 'tools.2.match.host' },
    { line: 7, column: 17, path: 'tools.2.match.hots' },
    { line: 10, column: 5, path: 'trust.domains["Example.org"]' },
    { line: 10, path: 'trust.domains["Example.org"].bundle_endpoint.profile' },
    { line: 10, column: 44, path: 'trust.domains["Example.org"].bundle_endpoint.url' },
  ]);
});

test('a text that is no YAML says what to do, once for each mistake and not for all that comes after it', async () => {
  const agent = ['record: { file: ${FILE}, stdout: true }', 'dns: {}', 'tasks: { deadline: 5m }'];
  expect(await errorsIn(...agent)).toEqual([
    {
      line: 3,
      column: 18,
      path: '',
      message: expect.stringMatching(/does not belong here.*must be in quotes$/) as string,
    },
  ]);
  const several = ['purposes:', "  'it's': { tools: [] }", 'ca: { dir: /a: b }', 'dns:{}', 'tasks: {}'];
  expect(await errorsIn(...several)).toMatchObject([
    { line: 4, message: expect.stringContaining('in quotes') as string },
    { line: 5, message: expect.stringContaining('in quotes') as string },
    { line: 6, message: expect.stringContaining('`: ` behind it') as string },
  ]);
});

test('a placeholder that nobody fills is warned of, where it stands', async () => {
  const lines = ['version: 1', 'agent:', '  name: a', '  owner: ${OWNER:-me}', '  purpose: "{{ .Values.purpose }}"'];
  const more = [
    'record: { file: $(FOLDER)/events.jsonl }',
    'dns: { servers: ["127.0.0.1:53"] }',
    'ca: { dir: $HOME/ca, publish: ~/ca }',
  ];
  const none = ['operator: { socket: "/a$b/$c/{d}/$" }'];
  writeFileSync(join(folder, 'waybill.yaml'), [...lines, ...more, ...none, ''].join('\n'));
  const { code, stdout } = await runWaybill(['validate', '--json'], { cwd: folder });
  expect(code).toBe(0);
  const { warnings } = JSON.parse(stdout) as { warnings: readonly string[] };
  expect(warnings.map((warning) => warning.split(': ').slice(0, 2).join(' '))).toEqual([
    '4:10 agent.owner',
    '5:12 agent.purpose',
    '6:17 record.file',
    '8:12 ca.dir',
    '8:31 ca.publish',
  ]);
  expect(warnings[0]).toMatch(/is taken as it stands: nothing fills it in/);
  expect(warnings.join()).not.toMatch(/OWNER|Values|FOLDER|HOME/);
});

test('a revocation without a reason is none, and is told so before anybody is asked', async () => {
  for (const reason of [[], ['--reason', '']]) {
    const { code, stderr } = await runWaybill(['revoke', '--all', ...reason], { cwd: folder });
    expect([code, stderr]).toEqual([64, expect.stringMatching(/^waybill revoke: --reason is (?:missing|empty)/)]);
  }
});

test.for<[args: readonly string[], expected: RegExp]>([
  [['validate', 'waybill.yaml'], /^waybill validate: Unexpected argument 'waybill\.yaml'; .*--config FILE\n$/],
  [['run', 'python', 'agent.py'], /^waybill run: Unexpected argument 'python'; .*waybill run -- COMMAND\n$/],
  [['doctor', '--confg', 'x'], /^waybill doctor: Unknown option '--confg'; did you mean `--config`\?\n$/],
  [['inventory', '--zzzz'], /^waybill inventory: Unknown option '--zzzz'; see --help\n$/],
  [['revoke', 'TXN'], /^waybill revoke: Unexpected argument 'TXN'; see --help\n$/],
])('of wrong arguments it is said what they should be: %s', async ([args, expected]) => {
  const { code, stderr } = await runWaybill(args, { cwd: folder });
  expect([code, stderr]).toEqual([64, expect.stringMatching(expected)]);
});
