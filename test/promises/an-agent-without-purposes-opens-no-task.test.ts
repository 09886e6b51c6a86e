import { expect, test } from 'vitest';
import { exchangeAs, mayBeOthers } from '../stage/foreign-caller.ts';
import { askOwnDoor } from '../stage/own-door.ts';
import { requestBytes } from '../stage/raw-call.ts';
import { callOperator } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

function open(more: Record<string, unknown>): Promise<Stage> {
  return openStage({
    tools: { crm: { port: 1 } },
    sections: {
      agent: { name: 'invoice-bot', purpose: 'reconcile' },
      purposes: { reconcile: { tools: ['crm'] } },
      ...more,
    },
  });
}

test('W9: without purposes the agent opens nothing, and with agent.uid nobody else does', async () => {
  for (const more of [
    { purposes: {} },
    { agent: { name: 'a', purpose: 'reconcile', uid: (process.getuid?.() ?? 0) + 4242 } },
  ]) {
    const stage = await open(more);
    const token = () => stage.service.subjectToken({ sub: 'alice' });
    const { outbound } = stage.sidecar.addresses;
    try {
      const subject_token = await token();
      const answer = await askOwnDoor(outbound, '/v1/tasks', { subject_token });
      expect([answer.status, answer.code]).toEqual([
        403,
        'purposes' in more ? 'purpose_not_allowed' : 'peer_not_allowed',
      ]);
      const opened = await callOperator(stage.sidecar.addresses.socket, 'POST', '/v1/tasks', {
        subject_token: await token(),
      });
      expect(opened.status).toBe(201);
      const { handle } = opened.body as { handle: string };
      if ('agent' in more)
        expect((await askOwnDoor(outbound, '/v1/tasks/self/complete', {}, { 'x-api-key': handle })).code).toBe(
          'peer_not_allowed',
        );
      if ('agent' in more && mayBeOthers) {
        const text = JSON.stringify({ subject_token });
        const head = { Host: 'waybill.local', 'Content-Length': String(text.length) };
        expect(
          await exchangeAs(
            (process.getuid?.() ?? 0) + 4242,
            outbound,
            requestBytes('POST', `http://waybill.local/v1/tasks`, head, text),
          ),
        ).toMatch(/^201/);
      }
    } finally {
      await stage.close();
    }
  }
});
