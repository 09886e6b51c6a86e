import { parseStorePlace, parseStoreUrl } from './fleet.ts';
import type { Finding } from './shape-errors.ts';
import { isLoopbackHost } from './urls.ts';
import type { Written } from './written.ts';

const at = (key: string): readonly string[] => ['fleet', key];

/** The store of the fleet: exactly one way to find it, and no secret or revocation in the clear. */
export function checkFleet(written: Written): readonly Finding[] {
  // An empty table too is one that somebody wrote: with no store every call would be refused.
  if (!written.isMapping(['fleet'])) return [];
  return [...checkPlace(written), ...checkChannel(written), ...checkNames(written)];
}

function checkPlace(written: Written): readonly Finding[] {
  const [store, sentinels] = [written.has(at('store')), written.has(at('sentinels'))];
  if (store && sentinels)
    return [{ path: at('store'), message: 'leave it out: the sentinels say which server is the store' }];
  return store || sentinels
    ? []
    : [{ path: ['fleet'], message: 'needs `store`, or `sentinels` and `master_name`', atKey: true }];
}

/** Who can change what the store says can leave a revocation out. */
function checkChannel(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  const tls = written.has(at('tls'));
  const store = parseStoreUrl(written.text(at('store')) ?? '');
  if (store !== undefined && tls && !store.tls)
    findings.push({ path: at('tls'), message: 'needs a store with TLS: valkeys://HOST:PORT' });
  if (written.isOn(at('unsafe_plaintext'))) return findings;
  const message = 'is not on loopback, and without TLS anybody on the path could withhold revocations';
  if (store !== undefined && !store.tls && !isLoopbackHost(store.host))
    findings.push({ path: at('store'), message: `${message}; write valkeys://, or \`unsafe_plaintext: true\`` });
  if (tls) return findings;
  const open = written.texts(at('sentinels')).find(([, text]) => {
    const place = parseStorePlace(text);
    return place !== undefined && !isLoopbackHost(place.host);
  });
  if (open !== undefined)
    findings.push({ path: open[0], message: `${message}; add \`tls\`, or \`unsafe_plaintext: true\`` });
  return findings;
}

function checkNames(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  const needs = (key: string, other: string, why: string): void => {
    if (written.has(at(key)) && !written.has(at(other)))
      findings.push({ path: at(key), message: `needs \`${other}\`${why}` });
  };
  needs('sentinels', 'master_name', ': they may know several');
  needs('master_name', 'sentinels', ', who know it');
  needs('sentinel_password_file', 'sentinels', ', whose password it is');
  needs('username', 'password_file', '; a name alone proves nothing');
  return findings;
}
