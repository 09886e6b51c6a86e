import { normalize } from 'node:path';
import { parseIpPort } from './addresses.ts';
import type { SettingPath } from './config-errors.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Listeners, with what they listen at when nothing is said. */
const listeners: readonly (readonly [SettingPath, string])[] = [
  [['listen', 'outbound'], '127.0.0.1:15001'],
  [['listen', 'metrics'], '127.0.0.1:15020'],
  [['listen', 'health'], '127.0.0.1:15021'],
  [['operator', 'listen'], '127.0.0.1:15000'],
];

/** Two listeners cannot share a port, and would mix up who may reach what. */
export function checkListeners(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  const taken = new Map<string, string>();
  // What is written is looked at last, so that the fault is reported where a person can change it.
  const ordered = listeners.toSorted(([a], [b]) => Number(written.has(a)) - Number(written.has(b)));
  for (const [path, byDefault] of ordered) {
    const place = parseIpPort(written.has(path) ? (written.text(path) ?? '') : byDefault);
    if (place === undefined || place.port === 0) continue;
    const key = `${place.address}:${place.port}`;
    const other = taken.get(key);
    if (other !== undefined) findings.push({ path, message: `\`${other}\` listens at this address and port already` });
    taken.set(key, path.join('.'));
  }
  return findings;
}

/** The CA's key and the operator's tokens stay with those they are meant for. */
export function checkFiles(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  const dir = written.text(['ca', 'dir']);
  const publish = written.text(['ca', 'publish']);
  if (dir !== undefined && publish !== undefined && asFolder(dir).startsWith(asFolder(publish))) {
    findings.push({
      path: ['ca', 'publish'],
      message: 'must be another folder than `ca.dir`: the agent reads it, and must not read the key of the CA',
    });
  }
  const roles = new Map<string, string>();
  for (const role of written.names(['operator', 'tokens'])) {
    const path = ['operator', 'tokens', role];
    const file = written.text(path);
    if (file === undefined) continue;
    const other = roles.get(normalize(file));
    if (other !== undefined)
      findings.push({ path, message: `is the file of role \`${other}\` too; every role has a token of its own` });
    roles.set(normalize(file), role);
  }
  return findings;
}

/** With a final slash, so that `/run/ca2` is not taken for a folder in `/run/ca`. */
const asFolder = (path: string): string => `${normalize(path).replace(/\/+$/, '')}/`;
