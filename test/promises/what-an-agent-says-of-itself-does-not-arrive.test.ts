import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEchoTool, type EchoTool, type SeenCall } from '../stage/echo-tool.ts';
import { basic, exchangeRaw, type RawAnswer } from '../stage/raw-call.ts';
import { callInTunnel, expectRefused, type TriedCall } from '../stage/refused-calls.ts';
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
      bound: { port: tool.port, proof: 'dpop' },
      open: { port: tool.port, token: false },
      keyed: { port: tool.port, more: { handle_header: 'x-crm-key' } },
    },
  });
  task = await stage.task();
});
afterAll(async () => {
  await stage?.close();
  await tool.close();
});

/** Statements of who calls, for whom, by which proof or which way, as gateways, proxies and frameworks read them. */
const identity = `
  DPoP Txn-Token Workload-Identity-Token Workload-Proof-Token Waybill-Delegation Waybill-Task X-Waybill-Subject Signature
  Signature-Input Signature-Key Signature-Agent OAuth-Client-Attestation OAuth-Client-Attestation-PoP
  Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups
  X-Forwarded-Access-Token X-Forwarded-Client-Cert X-Forwarded-Prefix X-Real-IP True-Client-IP X-Client-IP X-Cluster-Client-IP
  CF-Connecting-IP Fastly-Client-IP X-Envoy-External-Address X-Envoy-Peer-Metadata X-Envoy-Peer-Metadata-Id
  Client-Cert Client-Cert-Chain X-Client-Cert X-SSL-Cert X-SSL-Client-Cert X-SSL-Client-Verify SSL-Client-Cert SSL-Client-S-DN
  X-Client-DN X-Client-Verify X-TLS-Client-Cert TLS-Client-Subject X-ARR-ClientCert X-Amzn-Mtls-Clientcert
  Remote-User Remote-Groups Remote-Name Remote-Email X-Remote-User X-Remote-Group X-Remote-Extra-Scopes X-User X-User-Id
  X-User-Email X-User-Name X-User-Groups X-User-Roles X-Username X-Userinfo X-Auth-User X-Auth-Username X-Auth-Email X-Auth-Groups
  X-Authenticated-User X-Authenticated-Userid X-WebAuth-User X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Access-Token
  On-Behalf-Of X-On-Behalf-Of Impersonate-User Impersonate-Group Impersonate-Uid Impersonate-Extra-Scopes
  X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-Amzn-Oidc-Accesstoken X-MS-Client-Principal X-MS-Client-Principal-Id
  X-MS-Token-AAD-Access-Token X-Goog-IAP-JWT-Assertion X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id
  X-Endpoint-API-UserInfo X-Apigateway-Api-Userinfo Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email
  X-Consumer-Username X-Consumer-Custom-Id X-Credential-Identifier X-JWT-Assertion X-JWT-Payload X-JWT-Claim-Sub
  X-Authentik-Username X-Pomerium-Jwt-Assertion X-Vouch-User Tailscale-User-Login OIDC-Claim-Sub X-Spiffe-Id X-Delegation-Chain
  X-HTTP-Method X-HTTP-Method-Override X-Method-Override X-Original-URL X-Original-URI X-Original-Host X-Original-Method
  X-Rewrite-URL X-Host X-HTTP-Host-Override
`
  .trim()
  .split(/\s+/);
const marker = 'posed-as-somebody';

/** Header lines in the spellings that a tool could read as the name: letter case, `_` and `.` for `-`, and several of each. */
function spellings(name: string): string[] {
  const folded = (to: string): string => name.replaceAll('-', to);
  return [
    ...new Set([
      name,
      name.toLowerCase(),
      name.toUpperCase(),
      folded('_'),
      folded('_').toUpperCase(),
      folded('.'),
      name.replace('-', '_'),
      name.replace('-', '.'),
    ]),
  ];
}

async function send(lines: readonly string[], host = 'crm.test', rest = '', method = 'GET'): Promise<RawAnswer> {
  const all = [
    `${method} http://${host}/x HTTP/1.1`,
    `Host: ${host}`,
    `Proxy-Authorization: ${basic(task.handle)}`,
    ...lines,
  ];
  return exchangeRaw(stage.sidecar.addresses.outbound, Buffer.from(`${all.join('\r\n')}\r\n\r\n${rest}`));
}

const textOf = (seen: SeenCall | undefined): string => (seen?.rawHeaders ?? []).join('\n');

describe('W12: headers that say who calls are not the agent’s to send', () => {
  test.for(['crm.test', 'bound.test', 'open.test'])('in any case, count or spelling: %s', async (host) => {
    const arrived: string[] = [];
    for (const name of identity) {
      const lines = spellings(name).map((spelling) => `${spelling}: ${marker}`);
      const answer = await send([...lines, lines[0] ?? '', 'X-Agent-Own: kept'], host);
      const seen = textOf(tool.seen.at(-1));
      if (answer.status !== 200 || !seen.includes('X-Agent-Own\nkept'))
        arrived.push(`${name}: ${answer.status} ${answer.code}`);
      if (seen.includes(marker))
        arrived.push(
          `${name} arrived: ${(tool.seen.at(-1)?.rawHeaders ?? []).filter((_text, at, all) => all[at + 1] === marker).join()}`,
        );
    }
    expect(arrived).toEqual([]);
  });

  test('nor as trailers, by any name', async () => {
    const trailers = [...identity, 'Authorization', 'Cookie', 'Host', 'X-Own']
      .map((name) => `${name}: ${marker}\r\n`)
      .join('');
    const answer = await send(
      ['Transfer-Encoding: chunked', 'Trailer: DPoP, Authorization, X-Own'],
      'crm.test',
      `5\r\nhello\r\n0\r\n${trailers}\r\n`,
      'POST',
    );
    expect(answer.status).toBe(200);
    expect([tool.seen.at(-1)?.body.toString(), textOf(tool.seen.at(-1)).includes(marker)]).toEqual(['hello', false]);
  });

  test('the credentials that arrive are ours alone: one Authorization, one proof, no handle, no key of the agent', async () => {
    for (const [host, scheme] of [
      ['crm.test', 'Bearer'],
      ['bound.test', 'DPoP'],
    ] as const) {
      await send(
        [
          'Authorization: Bearer an-own-token',
          'x-api-key: sk-dummy',
          `X_Api_Key: ${task.handle}`,
          'authorization.: x',
          'DPoP: eyJ.x.y',
          'Dpop: eyJ.x.z',
          'X-Agent-Own: kept',
        ],
        host,
      );
      const { rawHeaders = [] } = tool.seen.at(-1) ?? {};
      const names = rawHeaders.filter((_text, at) => at % 2 === 0).map((name) => name.toLowerCase());
      expect(names.filter((name) => name === 'authorization')).toHaveLength(1);
      expect(names.filter((name) => name === 'dpop')).toHaveLength(scheme === 'DPoP' ? 1 : 0);
      expect(tool.seen.at(-1)?.headers.authorization).toMatch(new RegExp(`^${scheme} ey`));
      expect(textOf(tool.seen.at(-1))).not.toMatch(/an-own-token|sk-dummy|wbh_|eyJ\.x/);
    }
  });

  test('a tool without credential keeps the agent’s own key, and no handle', async () => {
    await send(['Authorization: Bearer an-own-token', 'x-api-key: sk-own'], 'open.test');
    expect(tool.seen.at(-1)?.headers).toMatchObject({ authorization: 'Bearer an-own-token', 'x-api-key': 'sk-own' });
    const handle = encodeURIComponent(task.handle).replace('wbh_', '%77bh_');
    const spelled = [
      `Bearer ${task.handle}`,
      task.handle,
      basic(task.handle),
      `Bearer ${handle}`,
      Buffer.from(task.handle).toString('base64'),
      `Basic ${Buffer.from(task.handle).toString('base64url')}`,
      `ApiKey ${task.handle}`,
      `Token token="${task.handle}"`,
      `Bearer ${task.handle}, other`,
    ];
    for (const value of spelled) {
      await send([`Authorization: ${value}`, `x-api-key: ${value}`], 'open.test');
      expect(tool.seen.at(-1)?.headers).not.toHaveProperty('authorization');
      expect(tool.seen.at(-1)?.headers).not.toHaveProperty('x-api-key');
    }
  });
});

describe('W12: a header of ours cannot be taken away by naming it in Connection', () => {
  test('that is a 400, in any spelling and place, and nobody hears of it', async () => {
    const named = [
      'authorization',
      'Authorization',
      'close, AUTHORIZATION',
      'keep-alive,\tauthorization',
      'x-foo, authorization , x-bar',
      'DPoP',
      'dpop',
      'host',
      'content-length',
      'transfer-encoding',
      'cookie',
      'via',
      'x-api-key',
      'X_Api_Key',
      'x-crm-key',
      'Waybill-Delegation',
      'waybill_delegation',
      'WAYBILL.delegation',
      'Txn-Token',
      'txn_token',
      'Signature-Input',
      'x-forwarded-for',
      'X_Forwarded_User',
      'x.forwarded.user',
      'proxy-authorization',
      'connection',
    ];
    const [before, asked] = [tool.seen.length, stage.service.counts.token];
    const tried: TriedCall[] = [];
    for (const value of named) {
      tried.push({ what: value, answer: await send([`Connection: ${value}`]) });
      tried.push({ what: `second ${value}`, answer: await send(['Connection: close', `Connection: ${value}`]) });
    }
    const inside = { url: '/x', headers: { Host: 'crm.test', Connection: 'authorization' } };
    tried.push({
      what: 'tunnel',
      answer: await callInTunnel(stage.sidecar.addresses.outbound, 'crm.test:80', { handle: task.handle }, inside),
    });
    await expectRefused(stage.sidecar.eventsFile, tried, 400, 'header_forbidden');
    expect([tool.seen.length, stage.service.counts.token]).toEqual([before, asked]);
  });

  test('what else it names is for us alone, as are the hops’ own headers', async () => {
    const hops = [
      'Connection: X-Foo, x_bar , keep-alive',
      'X-Foo: hop',
      'X_Bar: hop',
      'Keep-Alive: hop',
      'Proxy-Connection: hop',
      'TE: trailers',
      'Trailer: hop',
      'Upgrade: hop',
      'HTTP2-Settings: hop',
      'Proxy-Foo: hop',
      'Proxy_Authorization: hop',
      'X-Agent-Own: kept',
    ];
    const answer = await send(hops);
    expect(answer.status).toBe(200);
    expect(textOf(tool.seen.at(-1))).not.toMatch(/\nhop|trailers/);
    expect(tool.seen.at(-1)?.headers['x-agent-own']).toBe('kept');
  });
});

test('W12: our own member of a trace does not arrive, nor does a trace that cannot be read', async () => {
  const parent = 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const states: [readonly string[], string | undefined, string | undefined][] = [
    [[parent, 'tracestate: a=1, waybill=x', 'Tracestate: waybill=y'], parent.slice(13), 'a=1'],
    [[parent, 'tracestate: a=1,a=2'], parent.slice(13), undefined],
    [[parent.replace('00-', 'ff-'), 'tracestate: a=1'], undefined, undefined],
    [['tracestate: a=1', parent, parent], undefined, undefined],
  ];
  for (const [lines, traceparent, tracestate] of states) {
    expect((await send(lines)).status).toBe(200);
    const headers = tool.seen.at(-1)?.headers ?? {};
    expect([lines, headers['traceparent'], headers['tracestate']]).toEqual([lines, traceparent, tracestate]);
  }
});
