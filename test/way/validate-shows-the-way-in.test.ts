import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type Finished, killRemaining, runWaybill } from '../stage/command-line.ts';

const folder = mkdtempSync(join(tmpdir(), 'waybill-validate-'));
const config = join(folder, 'waybill.yaml');
afterAll(() => {
  killRemaining();
  rmSync(folder, { recursive: true });
});

const run = (...args: string[]): Promise<Finished> => runWaybill(args, { cwd: folder });
const json = ({ stdout }: Finished): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;

test('validate says who is let in by what, and what the program behind sees', async () => {
  const issuer = 'https://sso.example.org';
  writeFileSync(
    config,
    `version: 1
agent: { name: crm }
identity: { workload_api: "unix:///run/agent.sock" }
trust: { domains: { example.org: workload_api }, issuers: [{ issuer: "${issuer}" }] }
inbound:
  origin: https://crm.example.org
  accept: [{ issuer: "${issuer}", proof: dpop }, { trust_domain: example.org, proof: mtls }]
  callers: [spiffe://example.org/bot, spiffe://example.org/workers/**]
  program: tool
  present: original
  forward_to: http://127.0.0.1:8080
`,
  );
  expect(json(await run('validate', '--json'))['inbound']).toEqual({
    origin: 'https://crm.example.org',
    resource: 'https://crm.example.org',
    accept: [
      { from: issuer, proof: 'dpop' },
      { from: 'example.org', proof: 'mtls' },
    ],
    callers: ['spiffe://example.org/bot', 'spiffe://example.org/workers/**'],
    chain_required: false,
    program: 'tool',
    present: 'original',
    forward_to: 'http://127.0.0.1:8080',
  });
  const { stdout } = await run('validate');
  const told = stdout.replaceAll(/ +/g, ' ');
  for (const line of [
    'way in origin https://crm.example.org',
    ` accept ${issuer}, proof dpop`,
    ' callers spiffe://example.org/bot, spiffe://example.org/workers/**',
    ' present original, to the tool at http://127.0.0.1:8080',
  ]) {
    expect(told).toContain(`${line}\n`);
  }
});

test('without one it says so', async () => {
  writeFileSync(config, 'version: 1\nagent: { name: crm }\n');
  expect(json(await run('validate', '--json'))['inbound']).toBeNull();
  expect((await run('validate')).stdout).toMatch(/^way in +none$/m);
});

test('a rule may name the program behind the way in, by what it is, and no other tool that is not there', async () => {
  const text = (program: string, name: string) => `version: 1
agent: { name: crm }
trust: { issuers: [{ issuer: "https://sso.example.org" }] }
inbound:
  origin: http://127.0.0.1:15006
  accept: [{ issuer: "https://sso.example.org", proof: dpop }]
  program: ${program}
  forward_to: http://127.0.0.1:8080
listen: { inbound: 127.0.0.1:15006 }
rules: [{ name: no-admin, effect: deny, when: 'call.tool == "${name}" && call.path.startsWith("/admin")' }]
`;
  const warned = async (program: string, name: string): Promise<readonly string[]> => {
    writeFileSync(config, text(program, name));
    const warnings = json(await run('validate', '--json'))['warnings'] as readonly unknown[];
    return warnings.map((warning) => JSON.stringify(warning)).filter((warning) => warning.includes('no tool is named'));
  };
  expect(await warned('agent', 'agent')).toEqual([]);
  expect(await warned('tool', 'tool')).toEqual([]);
  expect(await warned('tool', 'agent')).toHaveLength(1);
  expect(await warned('agent', 'crm')).toHaveLength(1);
});
