import { isLoopbackAddress, parseIpPort } from './addresses.ts';
import type { SettingPath } from './config-errors.ts';
import { suggest } from './nearness.ts';
import { isWithoutIdentity, noIdentity } from './service-checks.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

const noDomain = 'needs an entry in `trust.domains`: without, no certificate could be checked';

/** The way in: whose requests are taken, over which channel, and what the program behind sees. */
export function checkInbound(written: Written): readonly Finding[] {
  // What is no mapping has a fault of form, and nothing in it to compare.
  if (written.names(['inbound']).length === 0) return [];
  const entries = Array.from({ length: written.count(['inbound', 'accept']) }, (_, i) => ['inbound', 'accept', i]);
  return [
    ...entries.flatMap((entry) => [...checkIssuer(written, entry), ...checkProof(written, entry)]),
    ...checkNamedOnce(written, entries, 'issuer'),
    ...checkNamedOnce(written, entries, 'trust_domain'),
    ...checkTls(written),
    ...checkCertificates(written, entries),
    ...checkChain(written),
    ...checkPresent(written),
    ...checkSubjects(written, entries),
  ];
}

/** An issuer or a domain is one that the trust table knows, and a token is shown to nobody but its issuer. */
function checkIssuer(written: Written, entry: SettingPath): readonly Finding[] {
  const findings: Finding[] = [];
  const refer = (key: string, known: readonly string[], table: string): string | undefined => {
    const name = written.text([...entry, key]);
    if (name === undefined || known.includes(name)) return name;
    findings.push({ path: [...entry, key], message: `is not in \`${table}\`${suggest(name, known)}` });
    return undefined;
  };
  refer('issuer', trustedIssuers(written), 'trust.issuers');
  refer('trust_domain', written.names(['trust', 'domains']), 'trust.domains');
  const service = refer('introspect', written.names(['token_services']), 'token_services');
  const issuer = written.text([...entry, 'issuer']);
  const asked = service === undefined ? undefined : written.text(['token_services', service, 'issuer']);
  if (issuer !== undefined && asked !== undefined && asked !== issuer) {
    findings.push({
      path: [...entry, 'introspect'],
      message: 'is a service of another issuer: the token would be shown to somebody who did not issue it',
    });
  }
  return findings;
}

/** A proof, or the word that says there is none; and for mTLS all that it needs. */
function checkProof(written: Written, entry: SettingPath): readonly Finding[] {
  const path = [...entry, 'proof'];
  const fault = (message: string): readonly Finding[] => [{ path, message }];
  if (written.has([...entry, 'issuer']) && !written.has(path) && !written.isOn([...entry, 'unsafe_bearer'])) {
    return fault(
      'is missing: `dpop` or `mtls`; `unsafe_bearer: true` takes tokens without, which whoever steals one can use',
    );
  }
  if (written.has(path) && written.isOn([...entry, 'unsafe_bearer'])) {
    return [
      {
        path: [...entry, 'unsafe_bearer'],
        message: 'contradicts `proof`: with a proof no token is taken without; remove one of both',
      },
    ];
  }
  if (written.text(path) !== 'mtls') {
    if (!written.has([...entry, 'presenters'])) return [];
    const message = 'has a meaning only with `proof: mtls`: who presents a token is known by its certificate';
    return [{ path: [...entry, 'presenters'], message }];
  }
  if (isWithoutIdentity(written)) return fault(`mtls ${noIdentity}`);
  if (tlsOf(written) === 'off') return fault('mtls needs `tls: svid` and an https `origin`');
  // For an entry by trust domain, the domain itself is looked up.
  if (written.has([...entry, 'issuer']) && hasNoDomain(written)) return fault(`mtls ${noDomain}`);
  return [];
}

/** Two entries for one caller would leave open which proof it needs. */
function checkNamedOnce(written: Written, entries: readonly SettingPath[], key: string): readonly Finding[] {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const entry of entries) {
    const name = written.text([...entry, key]);
    if (name === undefined) continue;
    if (seen.has(name)) {
      findings.push({ path: [...entry, key], message: 'is listed above already; which proof it needs would be open' });
    }
    seen.add(name);
  }
  return findings;
}

/** TLS, unless nobody but this pod can listen in; and the origin in every proof says which of both it is. */
function checkTls(written: Written): readonly Finding[] {
  const path = ['inbound', 'tls'];
  if (written.text(path) === 'svid') {
    if (isWithoutIdentity(written))
      return [{ path, message: `svid ${noIdentity}, or listen on loopback with \`off\`` }];
    if (isPlainOrigin(written)) {
      return [
        { path, message: 'svid needs an https `origin`: proofs for an http one are made for a listener without TLS' },
      ];
    }
  }
  const listener = parseIpPort(written.text(['listen', 'inbound']) ?? '0.0.0.0:15006');
  const open = listener !== undefined && !isLoopbackAddress(listener.address);
  if (tlsOf(written) !== 'off' || !open || written.isOn(['inbound', 'unsafe_plaintext'])) return [];
  return [
    {
      path,
      message:
        'is off, and `listen.inbound` is not on loopback: set `listen.inbound: 127.0.0.1:15006`, or use `svid` (with a workload identity and an https `origin`); `unsafe_plaintext: true` lets anybody on the path read the tokens',
    },
  ];
}

/** Client certificates need TLS and a domain to check them with, and `mtls` needs them. */
function checkCertificates(written: Written, entries: readonly SettingPath[]): readonly Finding[] {
  const path = ['inbound', 'client_certificates'];
  const choice = written.text(path);
  const channels = entries.some((entry) => written.text([...entry, 'proof']) === 'mtls');
  if (choice === 'off' && channels) return [{ path, message: 'is off, but an entry of `accept` has `proof: mtls`' }];
  if (choice !== 'require' && choice !== 'accept') return [];
  if (isWithoutIdentity(written)) return [{ path, message: `${choice} ${noIdentity}` }];
  if (tlsOf(written) === 'off') return [{ path, message: `${choice} needs \`tls: svid\` and an https \`origin\`` }];
  return hasNoDomain(written) ? [{ path, message: `${choice} ${noDomain}` }] : [];
}

/** Links are signed with X.509-SVIDs: without a bundle every chain would be refused, and so every request. */
function checkChain(written: Written): readonly Finding[] {
  const path = ['inbound', 'chain', 'require'];
  if (!written.isOn(path)) return [];
  if (isWithoutIdentity(written)) return [{ path, message: `a chain ${noIdentity}` }];
  return hasNoDomain(written) ? [{ path, message: `a chain ${noDomain}` }] : [];
}

/** A token that is good at other places is for programs that check tokens themselves. */
function checkPresent(written: Written): readonly Finding[] {
  const path = ['inbound', 'present'];
  const present = written.text(path);
  const tool = written.text(['inbound', 'program']) === 'tool';
  if (present === 'original' && !tool) {
    return [
      {
        path,
        message:
          'original is for `program: tool`: an agent could use the token elsewhere; `inert-jwt` shows it the same claims, and `unsafe_original` the token',
      },
    ];
  }
  if (present === 'unsafe_original' && tool)
    return [{ path, message: 'is for agents; with `program: tool` it is `original`' }];
  return [];
}

/** The map speaks of the issuers whose tokens are taken. */
function checkSubjects(written: Written, entries: readonly SettingPath[]): readonly Finding[] {
  const issuers = entries.flatMap((entry) => written.text([...entry, 'issuer']) ?? []);
  return written
    .names(['inbound', 'subject_map'])
    .filter((issuer) => !issuers.includes(issuer))
    .map((issuer) => ({
      path: ['inbound', 'subject_map', issuer],
      message: `is not an issuer of \`inbound.accept\`, which stands on the left${suggest(issuer, issuers)}`,
      atKey: true,
    }));
}

function trustedIssuers(written: Written): readonly string[] {
  const count = written.count(['trust', 'issuers']);
  return Array.from({ length: count }, (_, i) => written.text(['trust', 'issuers', i, 'issuer']) ?? '');
}

const hasNoDomain = (written: Written): boolean => written.names(['trust', 'domains']).length === 0;

const isPlainOrigin = (written: Written): boolean => /^http:/i.test(written.text(['inbound', 'origin']) ?? '');

/** As `settleInbound` fills it in. */
function tlsOf(written: Written): string {
  const byDefault = isWithoutIdentity(written) || isPlainOrigin(written) ? 'off' : 'svid';
  return written.text(['inbound', 'tls']) ?? byDefault;
}
