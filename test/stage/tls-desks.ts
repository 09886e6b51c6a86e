import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { privateAuthorities } from '../../proxy/exchange/endpoint-connections.ts';
import { type Endpoints, openEndpoints } from '../../proxy/exchange/endpoints.ts';
import type { ServiceSettings } from '../../proxy/exchange/service-settings.ts';
import { ClientCertificate } from '../../proxy/trust/client-certificate.ts';
import { realWorld } from '../../proxy/world.ts';
import { type Minted, mintAuthority, mintLeaf } from '../fakes/certificate-mint.ts';
import { agentId, type DeskUnderTest, openDesk } from '../fakes/token-desk.ts';
import { openTlsTokenService, type TlsTokenService, type TlsTokenServiceOptions } from '../fakes/tls-token-service.ts';
import { makeToolCertificate, type ToolCertificate } from './tool-certificate.ts';

/** The SVIDs of a workload, as a test changes them. */
export interface Svids {
  current: ClientCertificate | undefined;
  readonly certificate: () => ClientCertificate | undefined;
}

type Settings = Omit<Partial<ServiceSettings>, 'expect'>;

/** Token services over TLS with a private authority, desks at them, and certificates for clients. */
export class TlsDesks {
  /** A folder for files of the test. */
  readonly folder = mkdtempSync(join(tmpdir(), 'desk-tls-'));
  readonly caFile = join(this.folder, 'ca.pem');
  readonly #own: ToolCertificate;
  readonly #clients: Minted;
  readonly #opened: { close(): unknown }[] = [];

  constructor(own: ToolCertificate, clients: Minted) {
    this.#own = own;
    this.#clients = clients;
    writeFileSync(this.caFile, own.ca);
  }

  /** What a service on localhost is made with. */
  get serverTls(): TlsTokenServiceOptions['tls'] {
    const { cert, key } = this.#own;
    return { cert, key, clientCa: [new X509Certificate(this.#clients.der).toString()] };
  }

  async start(options: Omit<TlsTokenServiceOptions, 'tls'> = {}): Promise<TlsTokenService> {
    const service = await openTlsTokenService({ tls: this.serverTls, ...options });
    this.#opened.push(service);
    return service;
  }

  /** Endpoints as the sidecar has them, to loopback. */
  endpointsFor(settings: Pick<ServiceSettings, 'issuer' | 'tls'> & { readonly jwks_uri?: string }): Endpoints {
    const guard = { find: ({ port }: { port: number }) => ({ address: '127.0.0.1', port, kind: 'loopback' }) as const };
    const endpoints = openEndpoints(guard, realWorld([]), privateAuthorities([settings]), () => undefined);
    this.#opened.push(endpoints);
    return endpoints;
  }

  /** A desk at a service that is trusted by its own CA. */
  async desk(service: Parameters<typeof openDesk>[0], settings: Settings, svids?: Svids): Promise<DeskUnderTest> {
    const tls = { ca: this.caFile };
    const { call } = this.endpointsFor({ issuer: service.issuer, tls });
    const whole = { actor: 'none', tls, ...settings, expect: { act: 'none' } } as const;
    return openDesk(service, whole, { call, ...(svids === undefined ? {} : { x509Svids: svids }) });
  }

  /** A certificate that the services know as that of a client; of no workload. */
  leaf(): Promise<Minted> {
    return mintLeaf(this.#clients, { uris: [], subject: 'CN=invoice-bot' });
  }

  async svid(spiffeId = agentId): Promise<ClientCertificate> {
    const leaf = await mintLeaf(this.#clients, { uris: [spiffeId] });
    return new ClientCertificate({ chain: [leaf.der], key: leaf.privateKey, spiffeId });
  }

  async svids(): Promise<Svids> {
    const svids: Svids = { current: await this.svid(), certificate: () => svids.current };
    return svids;
  }

  /** Closes what was opened since the last time. */
  async close(): Promise<void> {
    await Promise.all(this.#opened.splice(0).map((server) => server.close()));
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

export async function openTlsDesks(): Promise<TlsDesks> {
  return new TlsDesks(await makeToolCertificate('localhost'), await mintAuthority(undefined));
}

/** Metadata of a service with other endpoints for mutual TLS (RFC 8705 5). */
export function withAliases(metadata: Record<string, unknown>): Record<string, unknown> {
  const below = `${String(metadata['issuer'])}/mtls`;
  return {
    ...metadata,
    mtls_endpoint_aliases: {
      token_endpoint: `${below}/token`,
      revocation_endpoint: `${below}/revoke`,
      introspection_endpoint: `${below}/introspect`,
    },
  };
}
