import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import {
  createSecureContext,
  type ConnectionOptions,
  type DetailedPeerCertificate,
  type PeerCertificate,
  type SecureContext,
} from 'node:tls';
import type { Tool } from '../intercept/tool-catalogue.ts';
import type { Origin } from '../intercept/origin.ts';
import { Refusal } from '../refusal.ts';
import type { ClientCertificate } from '../trust/client-certificate.ts';
import { isMeant } from '../trust/spiffe-pattern.ts';
import { readAuthorities } from '../spiffe/authorities-file.ts';
import type { X509BundleOf } from '../spiffe/x509-path.ts';
import { findTrustedPath, isStillTrusted, type TrustedPath } from '../trust/svid-paths.ts';
import type { World } from '../world.ts';

/** Port: who we are, and whom we believe, at this moment. */
export interface TlsTrust {
  /** Our X.509-SVID as a certificate; another object for another SVID. */
  svid(): ClientCertificate | undefined;
  /** What the SVIDs of a trust domain are verified with; undefined where it is not trusted. */
  readonly authoritiesOf: X509BundleOf;
}

/** Port: hears why the file that `tls.ca` of a tool names cannot be used. Who calls is told only that the tool cannot be verified. */
type TellUnusable = (tool: string, error: unknown) => void;

/** The terms of one TLS connection to a tool: what it is verified by, and what we show of ourselves. */
export interface Channel {
  /** `x5t#S256` of the certificate that we present (RFC 8705 3.1); undefined where we present none. */
  readonly certificate: string | undefined;
  readonly options: ConnectionOptions;
  /** Whether a connection that was made on these terms may still be used: same SVID of ours, peer still trusted. */
  isCurrent(): boolean;
}

/** What answered is not the tool; the code tells it apart from a connection that failed. */
class ForeignSvid extends Error {
  readonly code = 'ERR_TLS_FOREIGN_SVID';

  constructor() {
    super('the certificate is not the SVID of this tool');
  }
}

/** A context is made once for each of these, not once a connection. */
interface Context {
  readonly secure: SecureContext;
  readonly certificate: ClientCertificate | undefined;
  readonly authorities: readonly Buffer[] | undefined;
  /** Of `tls.ca`, where that is what counts. */
  readonly roots: string | undefined;
}

/** TLS to tools: by the Web PKI or the tool's own CA and its name, or by SPIFFE ID against the bundle of its trust domain. */
export class ToolTls {
  readonly #trust: TlsTrust;
  readonly #world: World;
  readonly #tell: TellUnusable;
  /** The newest of each tool: an SVID or a bundle that was replaced is not used again. */
  readonly #contexts = new WeakMap<Tool, Context>();

  constructor(trust: TlsTrust, world: World, tell: TellUnusable) {
    this.#trust = trust;
    this.#world = world;
    this.#tell = tell;
  }

  /**
   * The terms for a connection that is opened now. Refuses with `identity_unavailable` where an SVID or a bundle is needed and absent, and
   * with `upstream_tls` where the CA file of the tool cannot be read or holds no certificate.
   * @param bound our certificate that the token of the call is bound to; else the SVID of this moment is presented.
   */
  channelTo(tool: Tool, origin: Origin, bound: ClientCertificate | undefined): Channel {
    const context = this.#contextFor(tool, bound);
    let peer: TrustedPath | undefined;
    const { spiffe_id: wanted } = tool.settings.tls;
    const checkSvid = (_host: string, certificate: PeerCertificate): Error | undefined => {
      peer = this.#findPeer(certificate, tool);
      return peer === undefined ? new ForeignSvid() : undefined;
    };
    return {
      certificate: context.certificate?.thumbprint,
      options: {
        host: origin.host,
        ...(isIP(origin.host) === 0 ? { servername: origin.host } : {}),
        ALPNProtocols: ['http/1.1'],
        minVersion: 'TLSv1.2',
        rejectUnauthorized: true,
        secureContext: context.secure,
        // An SVID holds no DNS name: in place of the name its SPIFFE ID is compared, and the path checked by our own rules as well.
        ...(wanted === undefined ? {} : { checkServerIdentity: checkSvid }),
      },
      isCurrent: () =>
        (tool.settings.tls.client !== 'svid' || this.#trust.svid() === context.certificate) &&
        (peer === undefined || this.#isStillGood(peer)),
    };
  }

  /** Whether the CA file of a tool is another than its connections were verified by, or cannot be read; the next ones take it as it is. */
  forgetOldRoots(tool: Tool): boolean {
    const { ca } = tool.settings.tls;
    const roots = this.#contexts.get(tool)?.roots;
    if (ca === undefined || roots === undefined || roots === readOrNothing(ca)) return false;
    return this.#contexts.delete(tool);
  }

  #contextFor(tool: Tool, bound: ClientCertificate | undefined): Context {
    const { ca, client, spiffe_id: peer } = tool.settings.tls;
    const certificate = client === 'svid' ? (bound ?? this.#trust.svid()) : undefined;
    const authorities = peer === undefined ? undefined : this.#trust.authoritiesOf(trustDomainOf(peer.id))?.authorities;
    if (client === 'svid' && certificate === undefined) throw new Refusal('identity_unavailable');
    if (peer !== undefined && (authorities === undefined || authorities.length === 0))
      throw new Refusal('identity_unavailable', 'There is no trust bundle for the trust domain of this tool.');
    const known = this.#contexts.get(tool);
    if (known !== undefined && known.certificate === certificate && known.authorities === authorities) return known;
    const roots = authorities !== undefined || ca === undefined ? undefined : this.#readRoots(tool.name, ca);
    const trusted = authorities?.map(toPem) ?? roots;
    const trust = {
      ...(trusted === undefined ? {} : { ca: trusted }),
      // A bundle may hold an authority that another one signed: it is trusted for itself.
      ...(authorities === undefined ? {} : { allowPartialTrustChain: true }),
    };
    const secure = certificate?.contextFor(trust) ?? createSecureContext(trust);
    const context = { certificate, authorities, roots, secure };
    this.#contexts.set(tool, context);
    return context;
  }

  /** Without the CA that was named nobody is the tool: the public authorities, in its place, would vouch for many others (W1). */
  #readRoots(tool: string, file: string): string {
    try {
      return readAuthorities(file);
    } catch (error) {
      this.#tell(tool, error);
      throw new Refusal('upstream_tls', 'The file with the CA of this tool cannot be used.');
    }
  }

  /** The verified path of a tool's SVID; undefined where it is none, or that of somebody else. */
  #findPeer(certificate: PeerCertificate, tool: Tool): TrustedPath | undefined {
    const wanted = tool.settings.tls.spiffe_id;
    if (wanted === undefined) return undefined;
    try {
      const found = findTrustedPath(readChain(certificate), this.#trust.authoritiesOf, this.#world.now());
      return isMeant(found.path.spiffeId, wanted) ? found : undefined;
    } catch {
      return undefined;
    }
  }

  #isStillGood(peer: TrustedPath): boolean {
    const now = this.#world.now();
    return peer.path.notAfterMs > now && isStillTrusted(peer, this.#trust.authoritiesOf, now);
  }
}

/** DER, leaf first. Node links a root to itself. */
function readChain(certificate: PeerCertificate): readonly Buffer[] {
  const chain: Buffer[] = [];
  let at: PeerCertificate | DetailedPeerCertificate | undefined = certificate;
  while (at !== undefined && chain.length < 10 && chain.at(-1)?.equals(at.raw) !== true) {
    chain.push(at.raw);
    at = 'issuerCertificate' in at ? at.issuerCertificate : undefined;
  }
  return chain;
}

/** @param id a SPIFFE ID, or the trust domain or path before a final `/**`. */
function trustDomainOf(id: string): string {
  return id.slice('spiffe://'.length).split('/', 1)[0] ?? '';
}

function readOrNothing(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function toPem(der: Buffer): string {
  return new X509Certificate(der).toString();
}
