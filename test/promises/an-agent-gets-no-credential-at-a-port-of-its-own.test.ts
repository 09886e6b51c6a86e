import { spawnSync } from 'node:child_process';
import { networkInterfaces } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { classifyAddress } from '../../proxy/route/address-class.ts';
import { eventually } from '../fakes/eventually.ts';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { readRecord } from '../stage/event-record.ts';
import { exchangeAs, mayBeOthers } from '../stage/foreign-caller.ts';
import { type ForeignListener, openForeignListener } from '../stage/foreign-listener.ts';
import { freePort } from '../stage/free-port.ts';
import { basic, requestBytes } from '../stage/raw-call.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

if (!mayBeOthers) console.log('skipped: calling as another user needs root');
/** The user of the agent, and that of a tool beside it. */
const [agent, neighbour] = [4242, 4243];
/** An address of this machine that other machines reach, too; not every machine has one. */
const outer = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .map(({ address }) => address)
  .find((address) => classifyAddress(address) === 'private');
let tool: EchoTool;
let named: ForeignListener;
let stage: Stage;
let task: StagedTask;
const open: ForeignListener[] = [];

beforeAll(async () => {
  if (!mayBeOthers) return;
  tool = await openEchoTool();
  named = await openForeignListener(agent, '127.0.0.1');
  const at = (host: string, more: object = {}) => ({
    port: 1,
    host,
    more: { dial: undefined, addresses: ['loopback'], ...more },
  });
  stage = await openStage({
    tools: {
      near: at('localhost'),
      four: at('127.0.0.1'),
      other: at('127.0.0.7'),
      six: at('::1'),
      mapped: at('::ffff:127.0.0.1'),
      // What says which port it is means that one, whoever listens there.
      named: at('127.0.0.2', { match: { host: 'named.test', port: named.port }, dial: `127.0.0.1:${named.port}` }),
      dialled: { port: named.port },
      bare: { ...at('127.0.0.3'), token: false },
      ...(outer === undefined ? {} : { outer: at(outer, { addresses: ['private'], plaintext: 'unsafe' }) }),
    },
  });
  task = await stage.task();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((listener) => listener.close()));
});
afterAll(async () => {
  await stage?.close();
  await named?.close();
  await tool?.close();
});

async function listen(uid: number, host: string): Promise<ForeignListener> {
  const listener = await openForeignListener(uid, host);
  open.push(listener);
  return listener;
}

const bytesFor = (authority: string): Buffer =>
  requestBytes('GET', `http://${authority}/x`, { Host: authority, 'Proxy-Authorization': basic(task.handle) });

/** Status and code of a call by the agent. */
const call = (authority: string): Promise<string> =>
  exchangeAs(agent, stage.sidecar.addresses.outbound, bytesFor(authority));

describe.runIf(mayBeOthers)('W3: where the configuration names no port of a tool on loopback', () => {
  test.each([
    ['127.0.0.1', 'localhost'],
    ['0.0.0.0', 'localhost'],
    ['::', 'localhost'],
    ['127.0.0.1', '127.0.0.1'],
    ['0.0.0.0', '127.0.0.7'],
    ['::', '[::1]'],
    ['::1', '[::1]'],
    ['127.0.0.1', '[::ffff:127.0.0.1]'],
  ])('an agent that listens at %s gets nothing by a call of %s', async (at, host) => {
    const own = await listen(agent, at);
    const exchanges = stage.service.counts.token;
    expect(await call(`${host}:${own.port}`)).toBe('403 address_forbidden');
    expect([own.seen, stage.service.counts.token]).toEqual([[], exchanges]);
    expect(readRecord(stage.sidecar.eventsFile).at(-1)).toMatchObject({ event: 'call.refused', stage: 'route' });
  });

  test('nor one that hangs up before it can be told whose the connection is', async () => {
    const own = await listen(agent, '127.0.0.1');
    const authority = `localhost:${own.port}`;
    const script = `
      const [port, bytes] = process.argv.slice(1);
      const socket = require('node:net').connect(Number(port), '127.0.0.1', () =>
        socket.write(Buffer.from(bytes, 'base64'), () => process.exit(0)));`;
    const port = stage.sidecar.addresses.outbound.split(':')[1] ?? '';
    const count = (): number => readRecord(stage.sidecar.eventsFile).length;
    for (let round = 0; round < 5; round += 1) {
      const before = count();
      const args = ['-e', script, port, bytesFor(authority).toString('base64')];
      spawnSync(process.execPath, args, { uid: agent, cwd: '/' });
      await eventually('the call has an event', () => count() > before);
    }
    expect(own.seen).toEqual([]);
  });

  test('a tool of another user is called, at whatever port it listens', async () => {
    for (const at of ['127.0.0.1', '0.0.0.0', '::']) {
      const other = await listen(neighbour, at);
      expect([at, (await call(`localhost:${other.port}`)).slice(0, 3)]).toEqual([at, '200']);
      expect(other.seen).toEqual([expect.stringMatching(/^Bearer ey/)]);
    }
    // One of the sidecar's own user, too.
    expect((await call(`localhost:${tool.port}`)).slice(0, 3)).toBe('200');
  });

  test('where nobody listens, nothing is there, and no token is asked for', async () => {
    const exchanges = stage.service.counts.token;
    expect(await call(`127.0.0.7:${await freePort()}`)).toBe('502 upstream_unreachable');
    expect(stage.service.counts.token).toBe(exchanges);
  });

  test('a tool whose port is named, or that gets no credential, is called as before', async () => {
    expect((await call(`named.test:${named.port}`)).slice(0, 3)).toBe('200');
    expect((await call('dialled.test')).slice(0, 3)).toBe('200');
    const own = await listen(agent, '0.0.0.0');
    expect((await call(`127.0.0.3:${own.port}`)).slice(0, 3)).toBe('200');
    expect(own.seen).toEqual(['nothing']);
  });
});

describe.runIf(mayBeOthers && outer !== undefined)(
  'W3: the same where it is at an address of this machine off loopback',
  () => {
    const place = outer?.includes(':') === true ? `[${outer}]` : outer;

    test.each(['outer', '::'])('an agent that listens there (%s) gets nothing', async (at) => {
      const own = await listen(agent, at === 'outer' ? (outer ?? '') : at);
      expect(await call(`${place}:${own.port}`)).toBe('403 address_forbidden');
      expect(own.seen).toEqual([]);
    });

    test('a tool of another user is called, on a connection that is used again', async () => {
      const other = await listen(neighbour, outer ?? '');
      for (let round = 0; round < 2; round += 1) expect((await call(`${place}:${other.port}`)).slice(0, 3)).toBe('200');
      expect(other.seen).toEqual(Array(2).fill(expect.stringMatching(/^Bearer ey/)));
    });
  },
);
