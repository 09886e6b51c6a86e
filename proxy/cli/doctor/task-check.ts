import { isLoopbackAddress } from '../../../config/addresses.ts';
import type { Settings } from '../../../config/settings.ts';
import { standingMayUse } from '../../identify/ladder.ts';
import { rungsOf } from '../../identify/rungs.ts';
import { countsAt } from '../../identify/trace-rung.ts';
import type { Tool } from '../../intercept/tool-catalogue.ts';
import { agentPeerOf } from '../../tasks/peer-binding.ts';
import { bindsProcesses, findBlindness } from '../../tasks/process-sight.ts';
import { givesMarks } from '../../tasks/trace-mark.ts';
import type { Findings } from './finding.ts';
import type { Patient } from './patient.ts';

/** How a client can say at a tool for which task it calls: the rungs that `task_unknown` would name there. */
export async function checkRungs(tool: Tool, settings: Settings, found: Findings): Promise<void> {
  if (!tool.credentialed) {
    found.info('calls need no task');
    return;
  }
  const { standing, trace_rung: upTo } = settings.tasks;
  const isListed = standing !== 'off' && standing.tools.includes(tool.name);
  const rungs = rungsOf({
    hasProxy: true,
    headers: tool.headers,
    isTraced: givesMarks(settings) && countsAt(tool.settings.risk, upTo) && isNear(settings),
    opensTasks: opensTasks(tool.name, settings),
    isStanding: isListed && standingMayUse(tool.settings.on_behalf_of),
  });
  const places = rungs.filter(({ isPlace }) => isPlace).map(({ text }) => text);
  const others = rungs.filter(({ isPlace }) => !isPlace).map(({ text }) => text);
  found.info([`send the task handle ${places.join(', or ')}`, ...others].join('; or '));
}

/** A mark counts from loopback only. */
function isNear({ listen }: Settings): boolean {
  const { address } = listen.outbound;
  return isLoopbackAddress(address) || address === '::1' || /^(?:0\.0\.0\.0|::)$/.test(address);
}

function opensTasks(tool: string, { purposes }: Settings): boolean {
  return [...purposes.values()].some(({ tools }) => tools.includes(tool));
}

/** Whether the processes of the agent could be told from here, where tasks are bound to them. */
export async function checkBinding({ config, surroundings }: Patient, found: Findings): Promise<void> {
  const peer = agentPeerOf(config.settings);
  if (!bindsProcesses(peer)) {
    found.ok(peer.uid === undefined && peer.bind === 'none' ? 'nothing is bound' : 'bound by user id only');
    return;
  }
  const blind = findBlindness(peer, surroundings.uid);
  for (const why of blind)
    found.fail(why, 'Every call with a handle would be refused (handle_foreign_peer). Mend it, or bind by agent.uid.');
  if (blind.length === 0) found.ok('the processes of the agent can be told from here');
}
