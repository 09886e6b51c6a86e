import { isLoopbackAddress, parseIpPort } from './addresses.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** The receiver of signals: TLS unless nobody but this pod can reach it, and one entry for each transmitter. */
export function checkSignals(written: Written): readonly Finding[] {
  return [...checkPlaintext(written), ...checkTransmitters(written)];
}

function checkPlaintext(written: Written): readonly Finding[] {
  const path = ['signals', 'listen'];
  const place = parseIpPort(written.text(path) ?? '');
  if (place === undefined || isLoopbackAddress(place.address)) return [];
  if (written.has(['signals', 'tls']) || written.isOn(['signals', 'unsafe_plaintext'])) return [];
  const message =
    'is not on loopback: set `signals.tls`, or listen at 127.0.0.1:15022 behind a server of yours that has TLS; `unsafe_plaintext: true` lets anybody on the path hold events back';
  return [{ path, message }];
}

/** Two entries of one issuer would leave open which of them says whom it may revoke. */
function checkTransmitters(written: Written): readonly Finding[] {
  const seen = new Set<string>();
  return Array.from({ length: written.count(['signals', 'transmitters']) }, (_, at) => at).flatMap((at) => {
    const path = ['signals', 'transmitters', at, 'issuer'];
    const issuer = written.text(path);
    if (issuer === undefined) return [];
    const isNew = !seen.has(issuer);
    seen.add(issuer);
    return isNew ? [] : [{ path, message: 'is listed twice; one entry may have several audiences' }];
  });
}
