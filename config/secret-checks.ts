import { credentialHeader } from './brokered-secrets.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Tools with a static key: one source for it, and one place where it goes. */
export function checkSecrets(written: Written): readonly Finding[] {
  return written
    .names(['tools'])
    .filter((name) => written.has(['tools', name, 'secret']))
    .flatMap((name) => [...checkSource(written, name), ...checkPlace(written, name)]);
}

function checkSource(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['tools', name, 'secret', key];
  const findings: Finding[] = [];
  if (written.has(['tools', name, 'token'])) {
    findings.push({
      path: ['tools', name, 'secret'],
      message: 'stands in place of `token`; a tool has one of the two',
    });
  }
  if (written.has(at('file')) === written.has(at('dir'))) {
    findings.push({ path: ['tools', name, 'secret'], message: 'needs `file` or `dir`, and not both' });
  }
  return findings;
}

function checkPlace(written: Written, name: string): readonly Finding[] {
  const at = (key: string) => ['tools', name, 'secret', key];
  const place = written.text(at('in'));
  const called = written.text(at('name'));
  const findings: Finding[] = [];
  if (place === 'query' && called === undefined) {
    findings.push({ path: at('name'), message: 'is missing: `in: query` needs the name of the parameter' });
  }
  if (place === 'basic' && called !== undefined) {
    findings.push({ path: at('name'), message: 'has no meaning with `in: basic`, which is the header Authorization' });
  }
  if (place !== undefined && place !== 'header' && written.has(at('prefix'))) {
    findings.push({ path: at('prefix'), message: 'has a meaning only with `in: header`' });
  }
  if (place === 'header' && called !== undefined) {
    const header = credentialHeader.safeParse(called);
    if (!header.success)
      findings.push({ path: at('name'), message: header.error.issues[0]?.message ?? 'is no header' });
  }
  return findings;
}
