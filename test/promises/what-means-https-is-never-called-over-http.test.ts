import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool } from '../stage/echo-tool.ts';
import { callThrough, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
import type { StagedTask } from '../stage/sidecar-process.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';

let secure: EchoTool;
/** Where the agent would like the credential to go: it speaks plain http, at the place of the tool. */
let plain: EchoTool;
let stage: Stage;
let task: StagedTask;

/** Tools whose configuration means https, by what says so. `dial` leads to loopback, where plain http is good otherwise. */
const means = ['by_scheme', 'by_ca', 'by_address', 'by_unsafe'];

beforeAll(async () => {
  const certificate = await makeToolCertificate('by_ca.test', 'secure.test', '127.0.0.1');
  secure = await openEchoTool({ tls: certificate });
  plain = await openEchoTool();
  const { ca } = certificate;
  stage = await openStage({
    tools: {
      secure: { port: secure.port, ca, host: 'secure.test', more: { match: { host: 'secure.test', scheme: 'https' } } },
      by_scheme: { port: plain.port, more: { match: { host: 'by_scheme.test', scheme: 'https' } } },
      by_ca: { port: plain.port, ca },
      by_address: {
        port: plain.port,
        ca,
        more: { match: { host: '127.0.0.1', port: plain.port }, dial: undefined, addresses: 'loopback' },
      },
      // It says that plain http may leave this machine, and not that the tool is called by it.
      by_unsafe: { port: plain.port, ca, more: { plaintext: 'unsafe' } },
      implied: { port: plain.port },
      open: { port: plain.port, ca, token: false },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await secure?.close();
  await plain?.close();
});

const originOf = (name: string): string => (name === 'by_address' ? `127.0.0.1:${plain.port}` : `${name}.test:80`);

async function tryTwoWays(name: string): Promise<TriedCall[]> {
  const { outbound } = stage.sidecar.addresses;
  const host = originOf(name);
  const inTunnel = callInTunnel(outbound, host, { handle: task.handle }, { headers: { Host: host } });
  return [
    { what: name, answer: await callThrough(outbound, `http://${host}/x`, { handle: task.handle }) },
    { what: `${name} in a tunnel`, answer: await inTunnel },
  ];
}

function mounted(name: string): Promise<RawAnswer> {
  const { outbound } = stage.sidecar.addresses;
  const headers = { Authorization: `Bearer ${task.handle}` };
  return callThrough(outbound, `http://${outbound}/tools/${name}/x`, { headers });
}

describe('W2: a credential of a tool that is recognised by its certificate is not sent where none is shown', () => {
  test('not over plain http, also on loopback and at a `dial`, and before any token service is asked', async () => {
    const tried = (await Promise.all(means.map(tryTwoWays))).flat();
    await expectRefused(stage.sidecar.eventsFile, tried, 403, 'address_forbidden');
    expect(tried.map(({ answer }) => /tools\.X\.[a-z.]+/.exec(answer.body)?.[0])).toEqual(
      ['match.scheme', 'tls.ca', 'tls.ca', 'tls.ca'].flatMap((key) => [`tools.X.${key}`, `tools.X.${key}`]),
    );
    expect([plain.seen.length, stage.service.counts.token]).toEqual([0, 0]);
  });

  test('while a mount calls it over https, and what says nothing of https goes to loopback as before', async () => {
    expect([(await mounted('secure')).status, secure.seen.length]).toEqual([200, 1]);
    for (const name of ['implied', 'open'])
      expect((await tryTwoWays(name)).map(({ answer }) => [name, answer.status])).toEqual([
        [name, 200],
        [name, 200],
      ]);
  });
});
