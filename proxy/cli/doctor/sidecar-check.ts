import { version } from '../../open-record.ts';
import { CommandFailure } from '../command.ts';
import { callOperator } from '../operator-client.ts';
import { inStep, wordOf, type Findings } from './finding.ts';
import type { Patient } from './patient.ts';

/** Whether a sidecar answers at the operator's socket, and whether it runs this program and this configuration. */
export async function checkSidecar({ config, paths }: Patient, found: Findings): Promise<void> {
  let self: Readonly<Record<string, unknown>>;
  try {
    self = await inStep(callOperator({ socket: paths.operatorSocket }, 'GET', '/v1/sidecar'));
  } catch (error) {
    const why = error instanceof CommandFailure ? error.message : wordOf(error);
    found.info(`none answers: ${why}`);
    return;
  }
  const { pid, version: running, config: digest } = self;
  const shown = `${String(digest).slice(0, 16)}, version ${String(running)}, pid ${String(pid)}`;
  if (digest !== config.digest)
    found.warn(
      `it runs another configuration (digest ${shown}); this one is ${config.digest.slice(0, 16)}`,
      'A good change is taken within seconds; its log says why this one is not. Restart it, or name the configuration that it runs.',
    );
  else if (running !== version)
    found.warn(`it runs another version (digest ${shown}); this is ${version}`, 'Restart it.');
  else found.ok(`it runs this configuration (digest ${shown})`);
}
