import { nameForm, type CertificateProfile, type GeneralName } from './certificate-profile.ts';

/**
 * Whether the names of a certificate lie within the constraints of an authority above it (RFC 5280 4.2.1.10, X509-SVID 4.2). URI
 * constraints speak of the host, which for a SPIFFE ID is its trust domain. Constraints of other kinds are not worked out here: they
 * refuse every certificate that has a name of their kind.
 */
export function isWithinConstraints(certificate: CertificateProfile, authority: CertificateProfile): boolean {
  const { permitted, excluded } = authority;
  if (permitted.length === 0 && excluded.length === 0) return true;
  const forms = new Set(certificate.names.map(({ form }) => form));
  if (certificate.hasSubject) forms.add(nameForm.directory);
  if ([...permitted, ...excluded].some(({ form }) => form !== nameForm.uri && forms.has(form))) return false;
  const inner = permitted.filter(isUri);
  const outer = excluded.filter(isUri);
  return certificate.names.filter(isUri).every(({ text }) => {
    const host = hostOf(text);
    if (host === undefined || outer.some((base) => base.text === '' || covers(base.text, host))) return false;
    return inner.length === 0 || inner.some((base) => covers(base.text, host));
  });
}

function isUri({ form }: GeneralName): boolean {
  return form === nameForm.uri;
}

/** Authority part of a URI without user and port; undefined where it has none, and then no constraint can be met. */
function hostOf(uri: string): string | undefined {
  return /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#@:]+)/i.exec(uri)?.[1]?.toLowerCase();
}

/** `.example.org` covers every host below it, `example.org` covers itself only, and no text covers nothing (but excludes all). */
function covers(base: string, host: string): boolean {
  const lower = base.toLowerCase();
  return lower.startsWith('.') ? host.endsWith(lower) : host === lower;
}
