import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigErrors } from '../../config/config-errors.ts';
import { loadSettingsFile } from '../../config/load.ts';
import { explain, good, tool } from './config-explanation.ts';

test('the rows stand on good ground', () => {
  expect(explain(good)).toEqual([]);
  expect(explain(tool(''))).toEqual([]);
  expect(explain(tool(', risk: payment, unsafe_bearer: true'))).toEqual([]);
});

test('all errors are reported at once: form, cross checks, doubles', () => {
  const text = `version: 1
agnet: { name: a }
token_services:
  corp: { issuer: "http://sso.example.org", client_auth: client_secret_basic, client_secret: x }
tools:
  crm:
    match: { host: "*.example.org", methods: [get] }
    token: { from: crop, proof: dpopp, use_for: 5 }
    tokn: {}
  crm: {}
rules:
  - { name: a, effect: maybe }
  - { name: a, effect: deny, when: "true" }
`;
  expect(explain(text).map((line) => line.split(': ')[0])).toEqual([
    '1:1 agent',
    '2:1 agnet',
    '4:3 token_services.corp.client_id',
    '4:3 token_services.corp.client_secret_file',
    '4:19 token_services.corp.issuer',
    '4:79 token_services.corp.client_secret',
    '7:20 tools.crm.match.host',
    '7:47 tools.crm.match.methods[0]',
    '8:12 tools.crm.token',
    '8:20 tools.crm.token.from',
    '8:33 tools.crm.token.proof',
    '8:49 tools.crm.token.use_for',
    '9:5 tools.crm.tokn',
    '10:3 tools.crm',
    '12:5 rules[0].when',
    '12:24 rules[0].effect',
    '13:13 rules[1].name',
  ]);
});

test('a text that is no YAML is placed, and what it holds is not repeated', () => {
  const found = explain('agent: { name: "hunter2" hunter3 }\n\tx: 1\n');
  expect(found[0]).toMatch(/^1:26 : not valid YAML: /);
  expect(found.join('\n')).not.toContain('hunter');
  const quoting = ['%YAML hunter2\n---\na: 1', '%hunter2 x\n---\na: 1', '%TAG hunter2\n---\na: 1', 'a: !hunter2! x'];
  quoting.push('a: !<hunter2> x', 'a: "\\hunter2"', 'a: "\\xhunter2"', 'a: !!hunter2 [x]', 'a: !!map hunter2');
  quoting.push(
    '%YAML 1.2 hunter2\n---\na: 1',
    'a: &hunter2 &hunter3 x',
    'a: "x" hunter2',
    '@hunter2',
    'a: `hunter2',
    '- hunter2\nb',
  );
  for (const text of ['a: 1\n}hunter2', 'a: |hunter2\n x', 'a: !hunter2 x', ...quoting]) {
    expect(explain(text).length).toBeGreaterThan(0);
    expect(explain(text).join('\n')).not.toContain('hunter');
  }
  expect(explain(`${good}rules: ${'['.repeat(40)}x${']'.repeat(40)}`).join('\n')).toContain('is nested too deeply');
  expect(explain('a: 1\n---\nb: 1')).toEqual(['2:1 : a second document (`---`) begins here; the file holds one']);
  expect(explain(`host: *\n`)[0]).toMatch(/^1:7 : a leading "\*" is a YAML alias/);
  expect(explain('')).toEqual(['1:1 : is empty; it needs at least `version` and `agent`']);
  expect(explain('['.repeat(100_000))).toHaveLength(1);
  expect(explain('a'.repeat(2 ** 20 + 1))).toEqual(['1:1 : is larger than 1 MiB']);
});

test('an inline secret is not repeated', () => {
  const found = explain(good.replace('spiffe_jwt }', 'spiffe_jwt, client_secret: hunter2 }'));
  expect(found).toHaveLength(1);
  expect(found[0]).not.toContain('hunter2');
});

test('a file that cannot be read is an error of the configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-config-'));
  try {
    expect(() => loadSettingsFile(join(folder, 'none.yaml'))).toThrow(
      /none\.yaml:1:1: cannot be read: there is no such file/,
    );
    expect(() => loadSettingsFile(folder)).toThrow(ConfigErrors);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
