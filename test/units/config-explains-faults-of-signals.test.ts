import { expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { good, testRows } from './config-explanation.ts';

const one = '{ issuer: "https://i.example.org", audience: here }';
const signals = (more: string, transmitters = `[${one}]`): string =>
  `${good}signals: { transmitters: ${transmitters}${more} }`;

testRows([
  [
    'no TLS beyond loopback',
    signals(', listen: ‸"0.0.0.0:1"'),
    /^signals\.listen: is not on loopback: set `signals\.tls`/,
  ],
  ['nobody to hear', signals('', '‸[]'), /^signals\.transmitters: /],
  ['no audience', signals('', '[ ‸{ issuer: "https://i.example.org" } ]'), /^signals\.transmitters\[0\]\.audience: /],
  ['an issuer over http', signals('', '[{ issuer: ‸"http://i.example.org", audience: a }]'), /must be https/],
  [
    'an issuer twice',
    signals('', `[${one}, { issuer: ‸"https://i.example.org", audience: there }]`),
    /^signals\.transmitters\[1\]\.issuer: is listed twice/,
  ],
  ['half a certificate', signals(', ‸tls: { certificate: /c.pem }'), /^signals\.tls\.key: /],
  [
    'a port that is taken',
    signals(', listen: ‸"127.0.0.1:15021"'),
    /^signals\.listen: `listen\.health` listens at this address/,
  ],
  [
    'two authorities for one origin',
    signals('', '[{ issuer: "https://s.example.org", audience: a, tls: { ca: ‸/etc/ca.pem } }]'),
    /^signals\.transmitters\[0\]\.tls\.ca: must be the same as `token_services\.s\.tls\.ca`/,
  ],
]);

test('the port of the receiver is nobody’s where there is no receiver', () => {
  const text = `${good}listen: { health: "127.0.0.1:15022" }`;
  expect(loadSettings(text, 'w.yaml').settings.signals).toBeUndefined();
});

test('a receiver is good on loopback, with a certificate, and where it says that it has none', () => {
  for (const more of [
    '',
    ', listen: "0.0.0.0:1", tls: { certificate: /c, key: /k }',
    ', listen: "0.0.0.0:1", unsafe_plaintext: true',
  ])
    expect(loadSettings(signals(more), 'w.yaml').settings.signals?.transmitters[0]?.audience).toEqual(['here']);
});
