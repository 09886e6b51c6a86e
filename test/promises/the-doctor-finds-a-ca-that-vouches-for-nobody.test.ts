import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pem } from '../fakes/bundle-endpoint.ts';
import { mintAuthority } from '../fakes/certificate-mint.ts';
import { openTlsTokenService } from '../fakes/tls-token-service.ts';
import { killRemaining } from '../stage/command-line.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { listFound, Surgery, toolAt } from '../stage/surgery.ts';
import { makeToolCertificate, type ToolCertificate } from '../stage/tool-certificate.ts';

let surgery: Surgery;
let secure: EchoTool;
let certificate: ToolCertificate;

beforeAll(async () => {
  certificate = await makeToolCertificate('secure.test', 'localhost');
  secure = await openEchoTool({ tls: certificate });
  surgery = await Surgery.open();
});
afterAll(async () => {
  killRemaining();
  await surgery?.close();
  await secure?.close();
});

const tls = { host: 'secure.test', port: 443 };
const webEndpoint = (ca: string) => ({ url: 'https://bundles.a.org/', profile: 'https_web', ca });

test('the doctor finds files of CAs without a certificate, or with the CA of another server', async () => {
  const server = await openTlsTokenService({ tls: { ...certificate, clientCa: [] } });
  surgery.dns.names['localhost'] = ['127.0.0.1'];
  writeFileSync(surgery.path('key.pem'), certificate.key);
  writeFileSync(surgery.path('newline.pem'), '\n');
  writeFileSync(surgery.path('empty.pem'), '');
  writeFileSync(surgery.path('other.pem'), pem((await mintAuthority(undefined)).der));
  // An authority of the same name, made anew.
  writeFileSync(surgery.path('anew.pem'), (await makeToolCertificate('secure.test')).ca);
  const trusting = (name: string) => ({ tls: { ca: surgery.path(name) } });
  try {
    const file = surgery.write({
      trust: { domains: { 'a.org': { bundle_endpoint: webEndpoint(surgery.path('key.pem')) } } },
      token_services: { corp: { ...surgery.service(server.issuer), ...trusting('anew.pem') } },
      tools: {
        keyed: toolAt(secure.port, { match: { ...tls, paths: ['/a'] }, ...trusting('key.pem') }),
        blank: toolAt(secure.port, { match: { ...tls, paths: ['/b'] }, ...trusting('newline.pem') }),
        empty: toolAt(secure.port, { match: { ...tls, paths: ['/c'] }, ...trusting('empty.pem') }),
        other: toolAt(secure.port, { match: { ...tls, paths: ['/d'] }, ...trusting('other.pem') }),
      },
    });
    const { findings, code, stdout } = await surgery.ask(file);
    const untrusted = /no authority that is trusted vouches for its certificate/;
    expect(listFound(findings, 'failed')).toEqual([
      `files : tools.keyed.tls.ca: ${surgery.path('key.pem')} holds no CA certificate (PEM)`,
      `files : tools.blank.tls.ca: ${surgery.path('newline.pem')} holds no CA certificate (PEM)`,
      `files : tools.empty.tls.ca: ${surgery.path('empty.pem')} is empty`,
      `files : trust.domains.a.org.bundle_endpoint.ca: ${surgery.path('key.pem')} holds no CA certificate (PEM)`,
      expect.stringMatching(untrusted),
      'tool keyed: every call is refused: The file with the CA of this tool cannot be used.',
      'tool blank: every call is refused: The file with the CA of this tool cannot be used.',
      'tool empty: every call is refused: The file with the CA of this tool cannot be used.',
      expect.stringMatching(untrusted),
    ]);
    expect(findings.filter(({ message }) => untrusted.test(message)).map(({ advice }) => advice)).toEqual(
      ['token_services.corp', 'tools.other'].map((at) =>
        expect.stringContaining(`The file in ${at}.tls.ca does not hold the CA of this server`),
      ),
    );
    expect([code, server.posts, stdout.includes(certificate.key.slice(40, 70))]).toEqual([1, [], false]);
  } finally {
    await server.close();
  }
});
