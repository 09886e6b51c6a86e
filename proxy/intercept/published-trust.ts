import { chmodSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { getCACertificates, rootCertificates } from 'node:tls';
import { replaceFile } from './whole-file.ts';

/** Puts what the agent is to trust into its folder: `ca.pem`, ours, and `bundle.pem`, the roots of the system and ours. */
export function publishTrust(folder: string, pem: string): void {
  makeOpenFolder(folder);
  const system = getCACertificates('system');
  const roots = system.length > 0 ? system : rootCertificates;
  replaceFile(join(folder, 'ca.pem'), `${pem}\n`, 0o644);
  // Once each: the system's folder has a root under several names, and every client reads the whole file at its start. In the shell of a
  // task the "system" is this very file (SSL_CERT_FILE), which would grow with each start.
  const bundle = new Set([...roots, pem].map((text) => text.trim()));
  replaceFile(join(folder, 'bundle.pem'), `${[...bundle].join('\n')}\n`, 0o644);
}

/** Open to an agent of another user whatever the umask is, where we make it. A folder that was there has the mode that somebody gave it. */
function makeOpenFolder(folder: string): void {
  const whole = resolve(folder);
  const first = mkdirSync(whole, { recursive: true });
  if (first === undefined) return;
  for (let at = whole; at.length >= first.length; at = dirname(at)) chmodSync(at, 0o755);
}
