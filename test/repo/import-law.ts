import type { Import } from './sources.ts';

/** The stages of both ways, in the order of a call. A stage knows the ones before it by their evidence only. */
export const stages: readonly string[] = [
  'intercept',
  'identify',
  'verify',
  'decide',
  'route',
  'exchange',
  'bind',
  'present',
  'record',
  'forward',
];
/** Rooms that every stage may use. */
export const knowledge: readonly string[] = ['tasks', 'proofs', 'trust', 'spiffe', 'delegation', 'replay'];

/** One room in two files: the refusals and their rows. */
const catalogue: readonly string[] = ['refusal.ts', 'refusal-kinds.ts'];

/** Stands for all files directly in `proxy/` that are not named below: they wire rooms for the sidecar. */
const wiring = 'wiring';

/** From the top of the house down. A part may load what stands below it, never what stands above. */
const floors: readonly (readonly string[])[] = [
  ['main.ts'],
  ['cli'],
  ['sidecar.ts'],
  [wiring],
  ['egress.ts', 'ingress.ts'],
  ['steward', ...stages],
  knowledge.filter((room) => room !== 'spiffe'),
  ['once-a-minute.ts'],
  ['world.ts', 'refusal.ts', 'refusal-kinds.ts', 'process-log.ts', 'spiffe'],
];

/** The room of a file: its folder in `proxy/`, or the file itself where it lies there; undefined for all other files. */
export function findRoom(path: string): string | undefined {
  return path.startsWith('proxy/') ? path.split('/')[1] : undefined;
}

/**
 * What is wrong with one import by DESIGN 2, or undefined.
 * @param isCollaborator Whether `name` is a class of `file` that does something, and no evidence: to use it, state a port.
 */
export function findBreach(found: Import, isCollaborator: (file: string, name: string) => boolean): string | undefined {
  const { from, to } = found;
  const ours = /^(proxy|config|test|loadtest)\//.test(to);
  if (!ours) return undefined;
  const room = findRoom(from);
  if (room === undefined) return findBreachOutside(found);
  const target = findRoom(to);
  if (target === undefined) return findBreachOfConfig(found, room);
  if (room === target || (catalogue.includes(room) && catalogue.includes(target))) return undefined;
  if (room === 'spiffe') return 'spiffe/ imports nothing of the project';
  if (target === 'embedded') return room === 'cli' ? undefined : 'embedded/ is for cli/ and tests only';
  if (room === 'embedded') {
    return isBelow('steward', target) ? undefined : 'embedded/ imports knowledge, world and refusal only';
  }
  if (floorOf(room) === floorOf(target)) return findBreachBetween(found, room, target, isCollaborator);
  return isBelow(room, target) ? undefined : `${room} imports ${target}, which stands above it`;
}

function findBreachOutside({ from, to }: Import): string | undefined {
  if (from.startsWith('config/') && !to.startsWith('config/')) return 'config/ imports nothing but config/';
  return undefined;
}

function findBreachOfConfig({ to, typeOnly }: Import, room: string): string | undefined {
  if (!to.startsWith('config/')) return `the product imports ${to}`;
  if (room === 'spiffe') return 'spiffe/ imports nothing of the project';
  // The operator's side reads what people write, in the same forms as the configuration.
  if (isBelow(room, 'egress.ts') || room === 'steward' || typeOnly) return undefined;
  return 'rooms take types of the config only';
}

/** Two parts of one floor: knowledge may use knowledge; a stage sees the evidence of the stages before it, and the shapes in it. */
function findBreachBetween(
  { to, typeOnly, names }: Import,
  room: string,
  target: string,
  isCollaborator: (file: string, name: string) => boolean,
): string | undefined {
  if (knowledge.includes(room) || floorOf(room) === floorOf(wiring)) return undefined;
  if (!stages.includes(room) && room !== 'steward') return `${room} does not import ${target}`;
  if (!typeOnly) return `${room} may load nothing of ${target}: take evidence with "import type"`;
  if (room !== 'steward' && stages.indexOf(target) > stages.indexOf(room)) return `${target} comes after ${room}`;
  const other = names.find((name) => isCollaborator(to, name));
  return other === undefined ? undefined : `${other} of ${target} is no evidence: state what is needed as a port`;
}

function floorOf(room: string): number {
  const floor = floors.findIndex((rooms) => rooms.includes(room));
  return floor < 0 && room.endsWith('.ts') ? floorOf(wiring) : floor;
}

/** True for a known room that stands on a lower floor. */
function isBelow(room: string, target: string): boolean {
  return floorOf(target) > floorOf(room);
}
