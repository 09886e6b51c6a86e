import { expect, test } from 'vitest';
import { handshakeFault } from '../../proxy/intercept/tunnel.ts';

test.for([
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'tlsv1_alert_unknown_ca'],
  // As OpenSSL 3.2 and newer name what Go, and Java, say of a certificate that they do not trust.
  ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'ssl_tls_alert_bad_certificate'],
  ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN', 'ssl_tls_alert_certificate_unknown'],
  ['ECONNRESET', undefined],
  ['ERR_SSL_', undefined],
  [undefined, undefined],
])('%s is %s', ([code, fault]) => {
  expect(handshakeFault(Object.assign(new Error(), code === undefined ? {} : { code }))).toBe(fault);
});
