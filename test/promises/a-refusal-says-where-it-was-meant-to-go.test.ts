import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, exchangeRaw, requestBytes, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, eventsOfCalls } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let tool: EchoTool;
let stage: Stage;
let task: StagedTask;

beforeAll(async () => {
  tool = await openEchoTool();
  stage = await openStage({
    tools: {
      crm: { port: tool.port },
      docs: { port: tool.port, host: '*.docs.test', token: false },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool?.close();
});

const outbound = (): string => stage.sidecar.addresses.outbound;

/** Code and target of the event of a refused call. */
async function toldOf(answer: RawAnswer): Promise<readonly unknown[]> {
  const [events] = await eventsOfCalls(stage.sidecar.eventsFile, [{ what: 'call', answer }]);
  return [events?.[0]?.['code'], events?.[0]?.['target']];
}

const connect = (target: string, headers: Record<string, string>): Promise<RawAnswer> =>
  exchangeRaw(outbound(), requestBytes('CONNECT', target, headers));

describe('WIRE 3: call.refused says where the call was meant to go, as far as that was read', () => {
  test('of a CONNECT, whatever is wrong with it', async () => {
    const rows: [code: string, target: string, headers: Record<string, string>, host: string, port: number][] = [
      ['authority_mismatch', 'crm.test:80', { Host: 'evil.test:80' }, 'crm.test', 80],
      ['authority_mismatch', 'CRM.test.:80', { Host: 'crm.test:81' }, 'crm.test', 80],
      ['destination_unlisted', 'evil.test:443', { Host: 'evil.test:443' }, 'evil.test', 443],
      ['destination_unlisted', '[2001:DB8::1]:443', { Host: '[2001:db8::1]:443' }, '2001:db8::1', 443],
      ['message_malformed', 'crm.test:80', { Host: 'crm.test:80', 'Content-Length': '2' }, 'crm.test', 80],
      ['message_malformed', 'crm.test:80', { Host: 'crm test' }, 'crm.test', 80],
      ['header_forbidden', 'crm.test:80', { Host: 'crm.test:80', Connection: 'authorization' }, 'crm.test', 80],
    ];
    for (const [code, target, headers, host, port] of rows)
      expect([target, ...(await toldOf(await connect(target, headers)))]).toEqual([
        target,
        code,
        { method: 'CONNECT', host, port },
      ]);
    // What is no host and port is no target.
    for (const target of ['crm.test', 'crm.test:0', 'user@crm.test:80', `${'a'.repeat(300)}.test:80`])
      expect([target, ...(await toldOf(await connect(target, { Host: target })))]).toEqual([
        target,
        'message_malformed',
        undefined,
      ]);
  });

  test('of a CONNECT inside a tunnel', async () => {
    const request = { method: 'CONNECT', url: 'evil.test:443', headers: { Host: 'evil.test:443' } };
    const answer = await callInTunnel(outbound(), 'crm.test:80', { handle: task.handle }, request);
    expect(await toldOf(answer)).toEqual(['message_malformed', { method: 'CONNECT', host: 'evil.test', port: 443 }]);
  });

  test('of names that disagree, and of what else is refused before it is a call', async () => {
    const { handle } = task;
    const target = { method: 'GET', scheme: 'http', host: 'crm.test', port: 80 };
    const evil = { headers: { Host: 'evil.test' } };
    const tls = { ca: readFileSync(stage.sidecar.caFile, 'utf8'), serverName: 'evil.test', insecure: true };
    const rows: [code: string, answer: RawAnswer, of: object][] = [
      ['authority_mismatch', await callThrough(outbound(), 'http://crm.test/x', { handle, ...evil }), target],
      ['authority_mismatch', await callInTunnel(outbound(), 'crm.test:80', { handle }, evil), target],
      [
        'authority_mismatch',
        await callInTunnel(outbound(), 'crm.test:443', { handle, tls }, { headers: { Host: 'crm.test' } }),
        { ...target, scheme: 'https', port: 443 },
      ],
      [
        'message_malformed',
        await exchangeRaw(outbound(), Buffer.from('GET http://crm.test/x HTTP/1.1\r\nAccept: x\r\n\r\n')),
        target,
      ],
      [
        'header_forbidden',
        await callThrough(outbound(), 'http://crm.test/x', { headers: { Connection: 'authorization' } }),
        target,
      ],
    ];
    for (const [code, answer, of] of rows) expect(await toldOf(answer)).toEqual([code, of]);
    const user = Buffer.from('GET http://user@crm.test/x HTTP/1.1\r\nHost: crm.test\r\n\r\n');
    expect(await toldOf(await exchangeRaw(outbound(), user))).toEqual(['message_malformed', undefined]);
  });
});

describe('W8: a host that holds a handle or a token is withheld', () => {
  test('refused or admitted, as it is, in hex and in pieces', async () => {
    const hex = Buffer.from(task.handle).toString('hex');
    const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl';
    const names = [
      task.handle,
      `x.${hex.slice(0, 60)}.${hex.slice(60)}`,
      `${hex.slice(0, 3)}.${hex.slice(3, 50)}`,
      jwt,
      `t-${jwt}`,
      `${jwt.slice(0, 2)}.${jwt.slice(2)}`,
    ];
    for (const name of names) {
      const withheld = { host: '[withheld]' };
      const evil = { headers: { Host: 'evil.test' } };
      const told = [
        await toldOf(await connect(`${name}.test:443`, { Host: 'evil.test:443' })),
        await toldOf(await connect(`${name}.test:443`, { Host: `${name}.test:443` })),
        await toldOf(await callThrough(outbound(), `http://${name}.test/x`, evil)),
        await toldOf(await callThrough(outbound(), `http://${name}.test/x`)),
      ];
      expect([name, told]).toMatchObject([name, told.map(([code]) => [code, withheld])]);
      await callThrough(outbound(), `http://${name}.docs.test/x`);
    }
    const record = readFileSync(stage.sidecar.eventsFile, 'utf8').toLowerCase();
    for (const part of [task.handle.toLowerCase(), hex.slice(10, 42), jwt.toLowerCase()])
      expect(record).not.toContain(part);
  });

  test('while a name that only looks a little like one is told', async () => {
    for (const name of [
      'keyservers-internal.prod.example.test',
      'keyjar-service.example.test',
      'wb.h_.test',
      'eyes.test',
    ])
      expect(await toldOf(await connect(`${name}:443`, { Host: `${name}:443` }))).toMatchObject([
        'destination_unlisted',
        { host: name },
      ]);
  });
});
