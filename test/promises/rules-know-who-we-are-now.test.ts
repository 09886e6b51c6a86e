import { afterEach, expect, test } from 'vitest';
import { eventually } from '../fakes/eventually.ts';
import { reconfigure } from '../stage/config-edit.ts';
import { openEchoTool } from '../stage/echo-tool.ts';
import { callThrough } from '../stage/raw-call.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

let stage: WayInStage;

afterEach(async () => {
  await stage?.close();
});

test.for(['as it started', 'after a change of the configuration'])(
  'the way in decides as who we are now: %s',
  async (when) => {
    stage = await openWayIn({
      authority: await openDomain(),
      inbound: { tls: 'off' },
      sections: {
        rules: [{ name: 'retired', effect: 'deny', when: 'agent.spiffe_id == "spiffe://example.org/retired"' }],
      },
    });
    const caller = await stage.caller();
    expect((await caller.send({})).status).toBe(200);
    if (when !== 'as it started')
      await reconfigure(stage, ({ inbound = {} }) => {
        inbound['present'] = 'headers';
      });
    await stage.workload?.setEntries([{ spiffeId: 'spiffe://example.org/retired' }]);
    const rotated = () => stage.sidecar.events().filter(({ event }) => event === 'svid.rotated');
    await eventually('we are somebody else', () => rotated().at(-1)?.['spiffe_id'] === 'spiffe://example.org/retired');
    expect((await caller.send({})).code).toBe('denied_by_rule');
  },
);

test('a change while we are nobody does not hold for who we are then', async () => {
  const tool = await openEchoTool();
  const ours = 'spiffe://example.org/agent';
  stage = await openWayIn({
    authority: await openDomain(),
    inbound: { tls: 'off' },
    tools: { open: { port: tool.port, token: false } },
    sections: {
      rules: [
        { name: 'not-us', effect: 'deny', when: `agent.spiffe_id == "${ours}"` },
        { name: 'all', effect: 'allow', when: 'true' },
      ],
    },
  });
  try {
    const use = () => callThrough(stage.sidecar.addresses.outbound, 'http://open.test/x');
    const rotations = () => stage.sidecar.events().filter(({ event }) => event === 'svid.rotated').length;
    expect((await use()).code).toBe('denied_by_rule');
    const before = rotations();
    await stage.workload?.removeEntries();
    await eventually('we are nobody', () => stage.sidecar.events().some(({ event }) => event === 'svid.lost'));
    await reconfigure(stage, ({ inbound = {} }) => {
      inbound['present'] = 'headers';
    });
    await stage.workload?.setEntries([{ spiffeId: ours }]);
    await eventually('we are who we were', () => rotations() > before, 20_000);
    expect((await use()).code).toBe('denied_by_rule');
    expect((await (await stage.caller()).send({})).code).toBe('denied_by_rule');
  } finally {
    await tool.close();
  }
}, 40_000);
