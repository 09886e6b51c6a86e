import { afterAll, beforeAll, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel } from '../stage/refused-calls.ts';
import { openStage, type StagedTool } from '../stage/way-out-stage.ts';
import { openWayIn } from '../stage/way-in-stage.ts';

let tool: EchoTool;
let tools: Record<string, StagedTool>;
beforeAll(async () => {
  tool = await openEchoTool();
  const { port } = tool;
  tools = {
    crm: { port },
    keyed: { port, more: { handle_header: 'X-Crm-Key' } },
    ledger: { port, more: { risk: 'write' } },
  };
});
afterAll(() => tool?.close());

const byProxy = 'as the password of the proxy URL (http://task:HANDLE@proxy), ';
const handle = (places: string): string => `Send the task handle: ${places}.`;
const plain = handle(`${byProxy}as Authorization: Bearer, or as x-api-key`);
const trace = ' Or send traceparent and tracestate of the request that the call is made for, as OpenTelemetry does.';
const door = ' Or open a task with the token of its user: POST /v1/tasks at http://waybill.local through the proxy.';

function hintOf(answer: RawAnswer): string {
  const { code, hint } = JSON.parse(answer.body) as { code: string; hint: string };
  expect(code).toBe('task_unknown');
  return hint;
}

test('W11: with the rungs that this client has at this tool, and no other', async () => {
  const stage = await openStage({ tools });
  const { outbound } = stage.sidecar.addresses;
  try {
    const use = (name: string) => callThrough(outbound, `http://${name}.test/x`);
    const mount = requestBytes('GET', '/tools/crm/x', { Host: outbound });
    expect(hintOf(await use('crm'))).toBe(plain);
    expect(hintOf(await use('keyed'))).toBe(
      handle(`${byProxy}as Authorization: Bearer, as x-api-key, or as x-crm-key`),
    );
    expect(hintOf(await callInTunnel(outbound, 'crm.test:80', {}, { headers: { Host: 'crm.test' } }))).toBe(plain);
    expect(hintOf(await exchangeRaw(outbound, mount))).toBe(handle('as Authorization: Bearer, or as x-api-key'));
  } finally {
    await stage.close();
  }
});

test('with its trace where requests come in with one, up to the risk that it counts for, and with its own door', async () => {
  for (const [sections, hints] of [
    [{}, [plain + trace, plain]],
    [{ tasks: { trace_rung: 'write' } }, [plain + trace, plain + trace]],
    [
      { tasks: { trace_rung: 'off' }, purposes: { reconcile: { tools: ['crm', 'ledger'] } } },
      [plain + door, plain + door],
    ],
  ] as const) {
    const stage = await openWayIn({ tools, sections });
    try {
      const { outbound } = stage.sidecar.addresses;
      for (const [at, name] of ['crm', 'ledger'].entries()) {
        const hint = hintOf(await callThrough(outbound, `http://${name}.test/x`));
        expect([sections, name, hint]).toEqual([sections, name, hints[at]]);
      }
    } finally {
      await stage.close();
    }
  }
});
