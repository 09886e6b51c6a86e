import { expect, test } from 'vitest';
import { isSpiffe } from '../../config/identity.ts';
import { loadSettings } from '../../config/load.ts';
import { testRows, type Row } from './config-explanation.ts';

const having = (identity: string, more = ''): string =>
  `version: 1\nagent: { name: a }\nidentity: ${identity}\n${more}`;

const rows: readonly Row[] = [
  ['two sources', having('‸{ workload_api: "unix:///s", svid_dir: /s }'), /must be `none` or a mapping with/],
  ['a hint for files', having('{ svid_dir: /s, ‸hint: main }'), /does not go together with the other keys/],
  ['an empty hint', having('{ workload_api: "unix:///s", hint: ‸"" }'), /must not be empty/],
  ['no token file', having('{ ‸kubernetes: {} }'), /token_file: is missing/],
  [
    'SVIDs of a service account',
    having('{ kubernetes: { token_file: /t } }', 'trust: { domains: { e.org: ‸workload_api } }\n'),
    /needs a workload identity \(SPIFFE\)/,
  ],
  [
    'a JWT-SVID of a service account',
    having(
      '{ kubernetes: { token_file: /t } }',
      'token_services: { s: { issuer: "https://s.example.org", client_auth: ‸spiffe_jwt } }\n',
    ),
    /spiffe_jwt needs a workload identity/,
  ],
  [
    'files where there is an API',
    having('{ workload_api: "unix:///s" }', 'trust: { domains: { e.org: ‸svid_dir } }\n'),
    /not where the identity comes from; write `workload_api`/,
  ],
];

testRows(rows);

test.each([
  ['none', false],
  ['{ workload_api: "unix:///s" }', true],
  ['{ workload_api: "unix:///s", hint: main }', true],
  ['{ svid_dir: /var/run/secrets/spiffe.io }', true],
  ['{ kubernetes: { token_file: /t } }', false],
])('%s is an identity, of SPIFFE: %s', (identity, wanted) => {
  expect(isSpiffe(loadSettings(having(identity), 'w.yaml').settings.identity)).toBe(wanted);
});

test.each(['{ svid_dir: /s }', '{ workload_api: "unix:///s" }'])(
  'with %s a domain may come with the identity',
  (identity) => {
    const text = having(identity, 'trust: { domains: { e.org: workload_api } }\n');
    expect(loadSettings(text, 'w.yaml').settings.trust.domains.get('e.org')).toBe('workload_api');
  },
);
