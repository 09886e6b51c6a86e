import { describe, expect, test } from 'vitest';
import { loadSettings } from '../../config/load.ts';
import { listUnsafe } from '../../config/unsafe.ts';
import { explain, good, testRows } from './config-explanation.ts';

const fleet = (table: string): string => `${good}fleet: ${table}\n`;
const settingsOf = (table: string) => loadSettings(fleet(table), 'w.yaml').settings;

testRows([
  ['no store', `${good}‸fleet: { prefix: a }\n`, /^fleet: needs `store`, or `sentinels` and `master_name`/],
  ['two ways', fleet('{ store: ‸"valkey://127.0.0.1:1", sentinels: ["[::1]:2"], master_name: m }'), /leave it out/],
  ['a page', fleet('{ store: ‸"https://a.org" }'), /must be valkey:\/\/HOST:PORT/],
  ['a path', fleet('{ store: ‸"valkeys://a.org/1" }'), /without path and query/],
  ['port 0', fleet('{ store: ‸"valkeys://a.org:0" }'), /must be valkey/],
  ['plain off loopback', fleet('{ store: ‸"valkey://a.org:6379" }'), /write valkeys:\/\/, or `unsafe_plaintext: true`/],
  ['loopback by its looks', fleet('{ store: ‸"redis://127.0.0.1.evil.org" }'), /not on loopback/],
  ['tls with a plain store', fleet('{ store: "valkey://[::1]:6379", tls: ‸{ ca: /ca } }'), /needs a store with TLS/],
  ['a sentinel without port', fleet('{ sentinels: [‸"a.org"], master_name: m }'), /must be HOST:PORT/],
  ['plain sentinels', fleet('{ sentinels: ["[::1]:1", ‸"a.org:2"], master_name: m }'), /add `tls`, or `unsafe_/],
  ['sentinels of nobody', fleet('{ sentinels: ‸["127.0.0.1:1"] }'), /needs `master_name`/],
  ['a master without sentinels', fleet('{ store: "valkey://localhost", master_name: ‸m }'), /needs `sentinels`/],
  ['a user without password', fleet('{ store: "valkey://localhost", username: ‸u }'), /needs `password_file`/],
  ['too short a silence', fleet('{ store: "valkey://localhost", max_silence: ‸100ms }'), /between 1s and 5m/],
]);

test('a password in the address is refused and not repeated', () => {
  for (const userinfo of ['hunter2', 'u:hunter2', ':hunter2']) {
    const [fault, ...more] = explain(fleet(`{ store: "valkeys://${userinfo}@a.org:6380" }`));
    expect(more).toEqual([]);
    expect(fault).toMatch(/user name or password; write `username` and `password_file`/);
    expect(fault).not.toContain('hunter2');
  }
});

describe('what is good', () => {
  test.each([
    ['valkey://localhost', { host: 'localhost', port: 6379, tls: false }],
    ['redis://[::1]:7000/', { host: '::1', port: 7000, tls: false }],
    ['rediss://store.example.org', { host: 'store.example.org', port: 6379, tls: true }],
    ['valkeys://10.0.0.1:6380', { host: '10.0.0.1', port: 6380, tls: true }],
  ])('%s', (url, store) => {
    expect(settingsOf(`{ store: "${url}" }`).fleet).toMatchObject({ store, max_silence: 2000, prefix: 'waybill' });
  });

  test('what lowers safety is listed by name', () => {
    const all = '{ store: "valkey://a.org", unsafe_plaintext: true, unsafe_serve_without_store: true }';
    expect(listUnsafe(settingsOf(all))).toEqual(['fleet.unsafe_plaintext', 'fleet.unsafe_serve_without_store']);
    expect(listUnsafe(settingsOf('{ sentinels: ["a.org:1"], master_name: m, tls: {} }'))).toEqual([]);
  });
});
