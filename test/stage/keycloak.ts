import { createServer } from 'node:http';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openAuthority, type Authority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer, type WorkloadApiServer } from '../../proxy/embedded/workload-api.ts';
import { findKeycloakBuild, layOut } from './keycloak-build.ts';
import { startKeycloakProcess, type KeycloakProcess } from './keycloak-process.ts';
import { realmOf, secrets, type RealmOptions } from './keycloak-realm.ts';
import { removeFolder } from './sidecar-process.ts';
import { certificateOf, type ClientCertificate } from './tls-caller.ts';

/** What a test says of a realm; where the keys of SVIDs are, the stage knows. */
export type StagedRealm = Omit<RealmOptions, 'bundleEndpoint' | 'trustDomain'>;

/** Alice's session at a realm. */
export interface Session {
  readonly accessToken: string;
  /** Ends it, as her browser would. */
  logOut(): Promise<void>;
}

/** A real Keycloak, with a SPIFFE trust domain that it believes. */
export interface KeycloakStage {
  readonly trustDomain: string;
  issuer(realm: string): string;
  spiffeId(name: string): string;
  /** Signs alice in at `frontend` (resource owner password grant). The token is a bearer token. */
  signIn(realm: string, scopes?: readonly string[]): Promise<Session>;
  /** What the realm itself says of a token (RFC 7662), asked by the tool. */
  introspect(realm: string, token: string): Promise<Record<string, unknown>>;
  /** An exchange by the client of this workload, without a sidecar: what a thief of its identity would do. */
  exchange(realm: string, name: string, subjectToken: string, form: Readonly<Record<string, string>>): Promise<string>;
  /** An X.509-SVID of the trust domain. */
  svidOf(name: string): Promise<ClientCertificate>;
  /** A Workload API of its own for `spiffe://<trust domain>/<name>`; returns its address. */
  workload(name: string): Promise<string>;
  output(): string;
  close(): Promise<void>;
}

/** Time for all of it where nothing is kept yet: download, build, the first database, and a start. */
export const openingMs = 900_000;

/** JWT-SVIDs of at most 300 s are taken, and only while they are not older. */
const svidSeconds = 240;

/** Starts one with these realms; or says why there is none. */
export async function openKeycloak(realms: readonly StagedRealm[]): Promise<KeycloakStage | { missing: string }> {
  const build = await findKeycloakBuild();
  if ('missing' in build) return build;
  const home = mkdtempSync(join(tmpdir(), 'waybill-keycloak-'));
  layOut(build.folder, home);
  const authority = await openAuthority('example.org');
  const bundle = await openBundleEndpoint(authority);
  for (const realm of realms) {
    const imported = realmOf({ ...realm, bundleEndpoint: bundle.url, trustDomain: authority.trustDomain });
    writeFileSync(join(home, 'data', 'import', `${realm.name}.json`), JSON.stringify(imported));
  }
  const keycloak = await startKeycloakProcess(home);
  return stageOf(keycloak, authority, home, bundle);
}

function stageOf(keycloak: KeycloakProcess, authority: Authority, home: string, bundle: BundleEndpoint): KeycloakStage {
  const workloads: WorkloadApiServer[] = [];
  const post = (realm: string, path: string, form: Record<string, string>): Promise<Response> =>
    fetch(`${keycloak.url}/realms/${realm}/protocol/openid-connect/${path}`, {
      method: 'POST',
      body: new URLSearchParams(form),
    });
  const spiffeId = (name: string): string => `spiffe://${authority.trustDomain}/${name}`;
  const frontend = { client_id: 'frontend', client_secret: secrets.frontend };
  return {
    trustDomain: authority.trustDomain,
    spiffeId,
    issuer: (realm) => `${keycloak.url}/realms/${realm}`,
    async signIn(realm, scopes = []) {
      const user = {
        username: 'alice',
        password: secrets.alice,
        ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
      };
      const { access_token: accessToken, refresh_token: refreshToken } = await members(
        await post(realm, 'token', { grant_type: 'password', ...frontend, ...user }),
      );
      return {
        accessToken: String(accessToken),
        logOut: async () => {
          const response = await post(realm, 'logout', { ...frontend, refresh_token: String(refreshToken) });
          if (!response.ok) throw new Error(`no logout: ${response.status} ${await response.text()}`);
        },
      };
    },
    async introspect(realm, token) {
      const tool = { client_id: 'tickets-api', client_secret: secrets.tickets };
      return members(await post(realm, 'token/introspect', { token, ...tool }));
    },
    async exchange(realm, name, subjectToken, form) {
      const iat = Math.floor(Date.now() / 1000);
      const sub = spiffeId(name);
      const aud = [`${keycloak.url}/realms/${realm}`];
      const answer = await members(
        await post(realm, 'token', {
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token: subjectToken,
          subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
          client_assertion: authority.issueJwt({
            sub,
            aud,
            iss: `spiffe://${authority.trustDomain}`,
            iat,
            exp: iat + 60,
          }),
          ...form,
        }),
      );
      return String(answer['access_token']);
    },
    svidOf: async (name) => certificateOf(await authority.issueX509(spiffeId(name), 3600)),
    async workload(name) {
      const server = await openWorkloadApiServer({
        socketPath: join(home, `${name}.sock`),
        authority,
        spiffeId: spiffeId(name),
        x509TtlSeconds: 3600,
        jwtTtlSeconds: svidSeconds,
      });
      workloads.push(server);
      return `unix://${server.socketPath}`;
    },
    output: () => keycloak.output(),
    async close() {
      for (const server of workloads) server.close();
      await keycloak.stop();
      bundle.close();
      removeFolder(home);
    },
  };
}

async function members(response: Response): Promise<Record<string, unknown>> {
  const text = await response.text();
  if (!response.ok) throw new Error(`Keycloak answers ${response.status}: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

interface BundleEndpoint {
  readonly url: string;
  close(): void;
}

/** The SPIFFE bundle of a domain with the keys of its JWT-SVIDs (SPIFFE bundles, 4), over plain http, which is good on loopback. */
async function openBundleEndpoint(authority: Authority): Promise<BundleEndpoint> {
  const server = createServer((_request, response) => {
    const keys = authority.bundleJwks().map((key) => ({ ...key, use: 'jwt-svid' }));
    // With a hint of a few seconds Keycloak fetches it for every request.
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ keys, spiffe_refresh_hint: 300 }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/bundle`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
