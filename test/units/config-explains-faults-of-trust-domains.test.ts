import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { explain, good, testRows, type Row } from './config-explanation.ts';

const domain = (source: string): string => `${good}trust: { domains: { p.org: ${source} } }`;
const endpoint = (keys: string): string => domain(`{ bundle_endpoint: { ${keys} } }`);
const web = 'profile: https_web';
const spiffe = 'url: "https://p.org/b", profile: https_spiffe';

const rows: readonly Row[] = [
  ['another source', domain('‸dns'), /must be `workload_api`, `svid_dir` or a mapping with `bundle_endpoint`/],
  ['plain http', endpoint(`url: ‸"http://127.0.0.1/b", ${web}`), /https URL, on loopback too/],
  ['a password', endpoint(`url: ‸"https://u:p@p.org/b", ${web}`), /must not hold a user name/],
  ['no profile', endpoint('url: "https://p.org/b"').replace('bundle_e', '‸bundle_e'), /profile: is missing/],
  [
    'an ID for the Web PKI',
    endpoint(`url: "https://p.org/b", ${web}, ‸spiffe_id: "spiffe://p.org/x"`),
    /no effect with `profile: https_web`/,
  ],
  [
    'a CA for an SVID',
    endpoint(`${spiffe}, spiffe_id: "spiffe://p.org/x", bootstrap: /b, ‸ca: /c`),
    /no effect with `profile: https_spiffe`/,
  ],
  [
    'another profile',
    endpoint('url: "https://p.org/b", profile: ‸https'),
    /must be one of `https_web`, `https_spiffe`|must be `https_web`/,
  ],
  ['no ID', endpoint(spiffe).replace('bundle_e', '‸bundle_e'), /spiffe_id: is missing/],
  [
    'an ID without path',
    endpoint(`${spiffe}, spiffe_id: ‸"spiffe://p.org", bootstrap: /b`),
    /must be the SPIFFE ID of a workload/,
  ],
  [
    'no bootstrap',
    endpoint(`${spiffe}, spiffe_id: "spiffe://p.org/x"`).replace('bundle_e', '‸bundle_e'),
    /bootstrap: is missing/,
  ],
  ['an ID of nobody', endpoint(`${spiffe}, spiffe_id: ‸"spiffe://q.org/x"`), /is of a domain that is not in/],
];

testRows(rows);

test('endpoints and files are taken as they are written', () => {
  const text = `${good}trust:
  domains:
    a.org: { bundle_endpoint: { url: "https://a.org/b?x", profile: https_web, ca: /ca.pem } }
    b.org: { bundle_endpoint: { url: "https://b.org:8443", profile: https_spiffe, spiffe_id: "spiffe://b.org/x", bootstrap: /b.json } }
    c.org: { bundle_endpoint: { url: "https://c.org/", profile: https_spiffe, spiffe_id: "spiffe://a.org/x/y" } }
    d.org: { bundle_file: /d.json }
    e.org: workload_api
`;
  expect(explain(text)).toEqual([]);
  const { domains } = loadSettings(text, 'w.yaml').settings.trust;
  expect([...domains.keys()]).toEqual(['a.org', 'b.org', 'c.org', 'd.org', 'e.org']);
  expect(domains.get('d.org')).toEqual({ bundle_file: '/d.json' });
});

test('foreign domains need no identity of our own', () => {
  const text = 'version: 1\nagent: { name: a }\ntrust: { domains: { d.org: { bundle_file: /d.json } } }\n';
  expect(explain(text)).toEqual([]);
});
