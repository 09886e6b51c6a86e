import type { InboundSettings } from '../config/inbound.ts';
import type { LoadedSettings } from '../config/load.ts';
import { tool } from '../config/tools.ts';
import { compileRulesOrErrors } from './check-rules.ts';
import { EntryDesk } from './decide/entry-permit.ts';
import { programsOwn } from './forward/forward.ts';
import type { IngressRooms } from './ingress.ts';
import { headerClassifier } from './intercept/header-names.ts';
import { originOf, type Origin } from './intercept/origin.ts';
import { buildToolCatalogue, type Tool } from './intercept/tool-catalogue.ts';
import type { OpenRecord } from './open-record.ts';
import type { TaskDoor } from './present/open.ts';
import type { InertTokens } from './present/inert-token.ts';
import { Claims } from './replay/claim.ts';
import { MemoryLedger } from './replay/ledgers/memory.ts';
import { ServerNonces } from './replay/nonces.ts';
import { PresenterShares } from './replay/presenter-shares.ts';
import { classifyAddress } from './route/address-class.ts';
import { Lingering } from './tasks/lingering.ts';
import { allowTools, type Allowance } from './tasks/purposes.ts';
import { givesMarks } from './tasks/trace-mark.ts';
import { IssuerMetadata } from './trust/issuer-metadata.ts';
import { Issuers } from './trust/issuers.ts';
import { JwksCache } from './trust/jwks.ts';
import { InboundTokens, type AcceptedTokens } from './verify/inbound-token.ts';
import { InboundTxnTokens } from './verify/inbound-txn-token.ts';
import { Together } from './verify/together.ts';
import type { Verified } from './verify/verify.ts';
import type { WayOut } from './way-out.ts';

/** What the way in keeps, whatever the configuration becomes. */
export interface IngressKeep {
  readonly inert: InertTokens;
  readonly spent: Claims;
  readonly nonces: ServerNonces | undefined;
  readonly startedAtMs: number;
  /** Our name in `Via`. Not that of the way out: a program that passes `Via` on has sent its request nowhere twice. */
  readonly pseudonym: string;
  /** Answered tasks, by how long they stay open. */
  readonly lingering: Map<number, Lingering>;
  /** Keys of the issuers of tokens: a change of something else must not need them anew, or an issuer that is silent would stop all callers. */
  readonly keys: JwksCache;
  readonly metadata: IssuerMetadata;
  readonly inForce: { door: TaskDoor };
}

/** Opens it. */
export function openIngressKeep(
  config: LoadedSettings,
  wayOut: WayOut,
  record: OpenRecord,
): Omit<IngressKeep, 'inert'> {
  const { world } = wayOut;
  const spent = openLedger(config, wayOut);
  const lingering = new Map<number, Lingering>();
  const { call, vouchedBy } = wayOut.endpoints;
  record.late.ledgerEntries = () => spent.entriesAt(world.now());
  return {
    spent,
    nonces: config.settings.replay.nonce === 'required' ? new ServerNonces(world.random(32)) : undefined,
    startedAtMs: world.now(),
    pseudonym: `waybill-in-${world.random(6).toString('hex')}`,
    lingering,
    keys: new JwksCache(world, call, vouchedBy),
    metadata: new IssuerMetadata(world, call, vouchedBy),
    inForce: { door: makeDoor(config, wayOut, lingering) },
  };
}

/** The rooms of the way in under one configuration: a request keeps those that it began with. Throws `ConfigErrors` for rules that do not compile. */
export function openIngressRooms(
  config: LoadedSettings,
  inbound: InboundSettings,
  wayOut: WayOut,
  record: OpenRecord,
  lasting: IngressKeep,
): IngressRooms {
  const { settings } = config;
  const { world, tasks, knownAs } = wayOut;
  const { inert, spent, nonces, startedAtMs, pseudonym } = lasting;
  const window = { maxAgeMs: settings.replay.window, futureMs: settings.replay.future };
  let decidesAs = wayOut.knownAs();
  const rules = compileRulesOrErrors(config, decidesAs);
  const program = programTool(inbound.program);
  const openDesk = (compiled: typeof rules) => new EntryDesk(compiled, program, settings.agent.purpose, record.trail);
  let desk = openDesk(rules);
  const place = programPlace(inbound.forward_to);
  return {
    world,
    reader: {
      classOfName: headerClassifier(ownHeaders(inbound)),
      pseudonym,
      rulesPath: rules.readsPath(),
      origin: readOrigin(inbound.origin),
      program,
    },
    gate: { ...makeGate(config, inbound, wayOut, lasting), spent, nonces, window },
    spending: {
      world,
      spent,
      window,
      startedAtMs,
      hasNonces: nonces !== undefined,
      tokensOnce: inbound.token.once,
      txnOnceIn: inbound.txn_token?.once === true ? inbound.txn_token.audience : undefined,
    },
    get desk() {
      const known = knownAs();
      if (known !== decidesAs) desk = openDesk(compileRulesOrErrors(config, known));
      decidesAs = known;
      return desk;
    },
    door: () => lasting.inForce.door,
    presenter: {
      mode: inbound.present === 'unsafe_original' ? 'original' : inbound.present,
      ownHost: inbound.host === 'program' ? place.origin.authority : undefined,
      passesTxnToken: inbound.program === 'tool',
      asksForNonces: nonces !== undefined,
      handles: tasks.handles,
      inert,
      world,
    },
    trail: record.trail,
    upstreams: wayOut.upstreams,
    road: { handles: tasks.handles, revocations: wayOut.cutOffs, pseudonym, ...programsOwn },
    program: place,
    nonce: () => nonces?.current(world.now()),
    onFault: wayOut.onFault,
  };
}

function makeGate(config: LoadedSettings, inbound: InboundSettings, wayOut: WayOut, lasting: IngressKeep) {
  const { domains } = config.settings.trust;
  const { max_links: maxLinks, max_bytes: maxBytes, require } = inbound.chain;
  return {
    world: wayOut.world,
    revocations: wayOut.cutOffs,
    hasIdentity: () => inbound.tls !== 'svid' || wayOut.workload.x509() !== undefined,
    tokens: openTokens(config, inbound, wayOut, lasting),
    txnTokens: openTxnTokens(inbound, wayOut, lasting),
    together: new Together<Verified>(),
    authoritiesOf: (domain: string) => (domains.has(domain) ? wayOut.workload.authoritiesOf(domain) : undefined),
    origin: inbound.origin,
    resource: inbound.resource,
    acceptsCertificateAlone: trustDomainsOf(inbound),
    callers: inbound.callers ?? [],
    chain: { require, maxLinks, maxBytes },
    subjectMap: inbound.subject_map,
  };
}

/** How requests open tasks under one configuration. */
export function makeDoor(
  { settings }: LoadedSettings,
  { tasks, world }: WayOut,
  kept: IngressKeep['lingering'],
): TaskDoor {
  const allowances = new Map<string, Allowance>();
  for (const name of settings.purposes.keys()) allowances.set(name, allowTools(settings, name, undefined));
  const ofOthers = allowTools(settings, '', undefined);
  const { linger, mode } = settings.tasks;
  const lingering = kept.get(linger) ?? new Lingering(tasks, linger, world);
  kept.set(linger, lingering);
  return {
    book: tasks,
    purpose: settings.agent.purpose,
    allow: (purpose) => allowances.get(purpose) ?? ofOthers,
    deadlineMs: settings.tasks.deadline,
    issuers: new Set(settings.trust.issuers.map(({ issuer }) => issuer)),
    lingering: mode === 'request' ? lingering : undefined,
    traced: givesMarks(settings),
    maxOpenPerCaller: Math.max(64, Math.floor(settings.tasks.max_open / 4)),
  };
}

function openLedger({ settings }: LoadedSettings, { world }: WayOut): Claims {
  const { max_entries: capacity, window, future } = settings.replay;
  // One presenter may hold a quarter: it is stopped long before it stops the others.
  const shares = new PresenterShares(world, {
    perPresenter: Math.max(64, capacity / 4),
    horizonMs: window + 2 * future + 2000,
  });
  return new Claims(new MemoryLedger(world, capacity), shares);
}

function openTokens(
  { settings }: LoadedSettings,
  inbound: InboundSettings,
  wayOut: WayOut,
  { keys, metadata }: IngressKeep,
): InboundTokens {
  const { world, workload } = wayOut;
  const accepted = acceptedTokens(inbound);
  // The others may open tasks. A token of theirs is none for here, and no misuse of one, whatever its audience is.
  const issuers = settings.trust.issuers.filter(({ issuer }) => accepted.issuers.has(issuer));
  const jwtBundleOf = (domain: string) =>
    accepted.trustDomains.has(domain) ? workload.jwtAuthoritiesOf(domain) : undefined;
  return new InboundTokens(
    accepted,
    { accessTokens: new Issuers({ issuers, keys, metadata, world }), jwtBundleOf, isActive: wayOut.isActive },
    world,
  );
}

function acceptedTokens(inbound: InboundSettings): AcceptedTokens {
  const entries = inbound.accept.flatMap((entry) => ('issuer' in entry ? [entry] : []));
  const { resource } = inbound;
  return {
    resource,
    issuers: new Map(entries.map(({ issuer, proof }) => [issuer, proof ?? 'bearer'])),
    presenters: new Map(entries.map(({ issuer, presenters }) => [issuer, presenters])),
    introspection: new Map(entries.flatMap(({ issuer, introspect: by }) => (by === undefined ? [] : [[issuer, by]]))),
    trustDomains: trustDomainsOf(inbound),
  };
}

function openTxnTokens({ txn_token: accepted }: InboundSettings, { world }: WayOut, { keys, metadata }: IngressKeep) {
  return accepted === undefined ? undefined : new InboundTxnTokens(accepted, keys, metadata, world);
}

/** Headers that tell who calls, beside `Authorization`. Those that are not read are removed like all others of their kind (W12). */
function ownHeaders({ txn_token: accepted }: InboundSettings): ReadonlySet<string> {
  return new Set(['dpop', 'waybill-delegation', ...(accepted === undefined ? [] : ['txn-token'])]);
}

function trustDomainsOf(inbound: InboundSettings): ReadonlySet<string> {
  return new Set(inbound.accept.flatMap((entry) => ('trust_domain' in entry ? [entry.trust_domain] : [])));
}

function readOrigin(text: string): Origin {
  const url = new URL(text);
  const scheme = url.protocol === 'http:' ? 'http' : 'https';
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return originOf(scheme, host, url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port));
}

/** The program behind us as a destination: it gets no token of ours, and rules know it by this name. */
function programTool(name: 'agent' | 'tool'): Tool {
  const settings = tool.parse({ match: { host: 'localhost' }, addresses: 'loopback' });
  const [program] = buildToolCatalogue(new Map([[name, { ...settings, name }]])).tools;
  if (program === undefined) throw new Error('the program is no tool');
  return program;
}

/** Where the program listens: a literal address of this machine, so nothing is asked and nothing can be rebound. */
function programPlace({ host, port }: InboundSettings['forward_to']): IngressRooms['program'] {
  const address = host === 'localhost' ? '127.0.0.1' : host;
  return { origin: originOf('http', host, port), way: { address, port, kind: classifyAddress(address) } };
}
