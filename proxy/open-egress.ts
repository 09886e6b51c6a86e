import { isDeepStrictEqual } from 'node:util';
import { isSpiffe } from '../config/identity.ts';
import type { LoadedSettings } from '../config/load.ts';
import type { ToolNonces } from './bind/nonces.ts';
import { TaskLinks } from './bind/task-links.ts';
import { compileRulesOrErrors } from './check-rules.ts';
import { Desk } from './decide/permit.ts';
import { LinkSigner } from './delegation/link-signer.ts';
import type { EgressRooms } from './egress.ts';
import type { X509SvidSource } from './exchange/client-auth/spiffe-x509.ts';
import { openPurse } from './exchange/credential.ts';
import type { TokenDesk } from './exchange/token-desk.ts';
import type { CookieJars } from './forward/cookies/cookie-jars.ts';
import type { SecretIndex } from './forward/screen/secret-index.ts';
import type { Upstreams } from './forward/upstream.ts';
import { headerClassifier } from './intercept/header-names.ts';
import { buildToolCatalogue, type Tool } from './intercept/tool-catalogue.ts';
import { signingIdentity } from './open-identity.ts';
import type { OpenRecord } from './open-record.ts';
import { openServiceChoice } from './open-service-choice.ts';
import { faultFacts, type ProcessLog } from './process-log.ts';
import type { EgressGuard } from './route/egress-guard.ts';
import { openStandingTask } from './tasks/standing-task.ts';
import type { CutOffs } from './tasks/cut-offs.ts';
import type { TaskBook } from './tasks/task-book.ts';
import { givesMarks } from './tasks/trace-mark.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** What the way out keeps, whatever the configuration becomes. */
export interface LastingRooms {
  readonly world: World;
  readonly record: OpenRecord;
  readonly log: ProcessLog;
  readonly guard: EgressGuard;
  readonly desk: TokenDesk;
  readonly tasks: TaskBook;
  readonly cutOffs: CutOffs;
  readonly workload: Workload;
  readonly x509Svids: X509SvidSource;
  readonly upstreams: Upstreams;
  readonly nonces: ToolNonces;
  readonly secrets: SecretIndex;
  readonly cookies: CookieJars;
  /** Tools of the configurations before that are no more, or others now. */
  readonly formerTools: WeakSet<Tool>;
  /** The SPIFFE ID that rules decide by. */
  readonly knownAs: () => string;
  /** Our name in `Via`. */
  readonly pseudonym: string;
}

/** The rooms of the way out under one configuration: a call keeps those that it began with. */
export interface OpenEgressRooms extends EgressRooms {
  readonly config: LoadedSettings;
  readonly nextCallId: () => string;
  /** Decides from now on as an agent of this identity. */
  decideAs(spiffeId: string): void;
  /** The same rooms under another configuration. Throws `ConfigErrors` for rules that do not compile. */
  for(config: LoadedSettings): OpenEgressRooms;
}

/** Opens them. @param before those that were in force until now: what is as it was stays. */
export function openEgressRooms(
  config: LoadedSettings,
  lasting: LastingRooms,
  before: OpenEgressRooms | undefined,
): OpenEgressRooms {
  const { world, record, log, tasks, cutOffs, workload, x509Svids, pseudonym, upstreams, nonces, secrets } = lasting;
  const { settings } = config;
  const rules = compileRulesOrErrors(config, lasting.knownAs());
  const catalogue = buildToolCatalogue(settings.tools, before?.reader.catalogue.tools);
  const credentialHeaders = new Set(catalogue.tools.flatMap(({ headers }) => headers));
  const choice = openServiceChoice(settings, upstreams, pseudonym, world, log);
  const readsPath = rules.readsPath();
  const rooms = {
    config,
    world,
    services: choice,
    reader: {
      catalogue,
      classOfName: headerClassifier(credentialHeaders),
      pseudonym,
      rulesPath: (tools: Parameters<EgressRooms['reader']['rulesPath']>[0]) =>
        readsPath || tools.some((tool) => tool.paths.length > 0),
    },
    ladder: {
      handles: tasks.handles,
      tasks,
      secrets,
      trace: { marks: tasks.marks, upTo: settings.tasks.trace_rung, isGiven: givesMarks(settings) },
      opensTasks: settings.purposes.size > 0,
      standing: standingTask(config, lasting, before),
    },
    desk: new Desk(rules, catalogue.tools, record.trail),
    guard: lasting.guard,
    purse: openPurse({
      desk: lasting.desk,
      services: settings.token_services,
      choice,
      svids: x509Svids,
      revocations: cutOffs,
      formerTools: lasting.formerTools,
      world,
    }),
    links: new TaskLinks(new LinkSigner(), () => signingIdentity(workload), isSpiffe(settings.identity), world),
    nonces,
    trail: record.trail,
    upstreams,
    road: openRoad(lasting),
    onFault: (id: string, error: unknown) => {
      record.trail.fault();
      log.error({ call: id, ...faultFacts(error) }, 'fault');
    },
    nextCallId: before?.nextCallId ?? callIds(record.log.boot),
    decideAs: (spiffeId: string) => {
      rooms.desk = new Desk(compileRulesOrErrors(config, spiffeId), catalogue.tools, record.trail);
    },
    for: (next: LoadedSettings): OpenEgressRooms => openEgressRooms(next, lasting, rooms),
  };
  return rooms;
}

function openRoad({ tasks, cutOffs, pseudonym, cookies, secrets, nonces }: LastingRooms): EgressRooms['road'] {
  return {
    handles: tasks.handles,
    revocations: cutOffs,
    pseudonym,
    cookies,
    onSecrets: (sent) => secrets.learn(sent),
    onNonce: (origin, nonce) => nonces.keep(origin, nonce),
  };
}

/** The one of before, where the configuration says of it what it said. */
function standingTask(
  { settings }: LoadedSettings,
  { tasks, workload }: LastingRooms,
  before: OpenEgressRooms | undefined,
) {
  const isAsBefore = isDeepStrictEqual(settings.tasks.standing, before?.config.settings.tasks.standing);
  return before !== undefined && isAsBefore
    ? before.ladder.standing
    : openStandingTask(settings, workload.spiffeId(), tasks);
}

/** Ids that are told apart across boots and cost nothing. */
function callIds(boot: string): () => string {
  let count = 0;
  return () => `${boot}-${(count += 1).toString(36)}`;
}
