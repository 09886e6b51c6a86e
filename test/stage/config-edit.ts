import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../fakes/eventually.ts';
import type { Stage } from './way-out-stage.ts';

type Sections = Record<string, Record<string, unknown>>;

/** The configuration of a stage has one section a line, as JSON; those of the places are none of ours. */
export function editConfig(stage: Pick<Stage, 'dir'>, change: (sections: Sections) => void): void {
  const file = join(stage.dir, 'waybill.yaml');
  const lines = readFileSync(file, 'utf8').split('\n');
  const isOurs = (line: string): boolean => /^\w+: [{[]"|^\w+: \[\{"|^\w+: \{\}$/.test(line);
  const named = lines.filter(isOurs).map((line): [string, unknown] => {
    const at = line.indexOf(': ');
    return [line.slice(0, at), JSON.parse(line.slice(at + 2))];
  });
  const sections = Object.fromEntries(named) as Sections;
  change(sections);
  const text = Object.entries(sections).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  writeFileSync(file, [...lines.filter((line) => line !== '' && !isOurs(line)), ...text, ''].join('\n'));
}

/** Changes it and waits for what the sidecar says of it. */
export async function reconfigure(
  stage: Pick<Stage, 'dir' | 'sidecar'>,
  change: (sections: Sections) => void,
): Promise<Record<string, unknown>> {
  return heard(stage, () => editConfig(stage, change));
}

/** The event that follows something which makes the sidecar look at its configuration. */
export async function heard(stage: Pick<Stage, 'sidecar'>, act: () => void): Promise<Record<string, unknown>> {
  const said = (): Record<string, unknown>[] =>
    stage.sidecar.events().filter(({ event }) => event === 'config.reloaded' || event === 'config.rejected');
  const before = said().length;
  act();
  await eventually('the sidecar has looked at its configuration', () => said().length > before);
  return said().at(-1) ?? {};
}
