import { createHash, X509Certificate } from 'node:crypto';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { IssuedX509 } from '../../proxy/embedded/authority.ts';
import type { Minted } from '../fakes/certificate-mint.ts';
import { Caller } from './caller.ts';
import { makeKey } from './signing-key.ts';
import type { WayInStage } from './way-in-stage.ts';

/** A client certificate with its key, PEM. */
export interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
  /** `x5t#S256` of the leaf. */
  readonly x5t: string;
}

const pem = (label: string, der: Buffer): string =>
  `-----BEGIN ${label}-----\n${der.toString('base64').replaceAll(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;

/** The certificate of an SVID as an authority issues it. */
export function certificateOf({ chainDer, keyDer }: Pick<IssuedX509, 'chainDer' | 'keyDer'>): ClientCertificate {
  const x5t = createHash('sha256').update(chainDer).digest('base64url');
  return { cert: new X509Certificate(chainDer).toString(), key: pem('PRIVATE KEY', keyDer), x5t };
}

/** A certificate that was made for a test, with those behind it. */
export function certificateFrom(leaf: Minted, ...chain: readonly Minted[]): ClientCertificate {
  const keyDer = leaf.privateKey.export({ type: 'pkcs8', format: 'der' });
  const own = certificateOf({ chainDer: leaf.der, keyDer });
  return { ...own, cert: [leaf, ...chain].map(({ der }) => new X509Certificate(der).toString()).join('') };
}

/** Opens a TLS connection to a way in. Its certificate is not judged here: it has no DNS name. */
export async function connectTls(
  address: string,
  client?: Pick<ClientCertificate, 'cert' | 'key'>,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const [host = '', port] = address.split(':');
  const own = client === undefined ? {} : { cert: client.cert, key: client.key };
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ...own, ...options });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => undefined);
  return socket;
}

/** A caller that comes with this certificate, or without one. */
export async function tlsCaller(stage: WayInStage, client: ClientCertificate | undefined, token = ''): Promise<Caller> {
  const to = { ...stage.to, connect: () => connectTls(stage.to.address(), client) };
  return new Caller(to, await makeKey(), token);
}
