import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { openEchoTool, type EchoTool } from './echo-tool.ts';
import type { RawAnswer } from './raw-call.ts';
import { expectRefused, type TriedCall } from './refused-calls.ts';
import type { StagedTask } from './sidecar-process.ts';
import { makeToolCertificate } from './tool-certificate.ts';
import { openStage, type Stage } from './way-out-stage.ts';

/**
 * A sidecar with two tools, `alpha.test` and `beta.test`, each over plain HTTP on any port and over TLS on 443; the first also on 8443,
 * and at an IPv6 address.
 */
export interface TwoNames {
  readonly stage: Stage;
  /** `host:port` of the way out. */
  readonly outbound: string;
  /** A task that may use all of them. */
  readonly task: StagedTask;
  /** PEM of the pod's CA. */
  readonly ca: string;
  readonly alpha: EchoTool;
  readonly alphaTls: EchoTool;
  /** Every call was refused with 400 and one of the codes, with one event; no tool and no token service heard of it. */
  expectNothingLeft(calls: readonly TriedCall[], ...codes: string[]): Promise<void>;
  close(): Promise<void>;
}

export async function openTwoNames(): Promise<TwoNames> {
  const certificate = await makeToolCertificate('alpha.test', 'beta.test');
  const open = () => Promise.all([openEchoTool(), openEchoTool({ tls: certificate })]);
  const [alpha, alphaTls] = await open();
  const [beta, betaTls] = await open();
  const tools = [alpha, alphaTls, beta, betaTls];
  const plain = (tool: EchoTool, host: string) => ({ port: tool.port, more: { match: { host } } });
  const secure = (tool: EchoTool, host: string, port: number) => ({
    port: tool.port,
    ca: certificate.ca,
    more: { match: { host, port } },
  });
  const stage = await openStage({
    tools: {
      alpha: plain(alpha, 'alpha.test'),
      alpha_tls: secure(alphaTls, 'alpha.test', 443),
      alpha_high: secure(alphaTls, 'alpha.test', 8443),
      six: plain(alpha, '2001:db8::5'),
      beta: plain(beta, 'beta.test'),
      beta_tls: secure(betaTls, 'beta.test', 443),
    },
  });
  return {
    stage,
    outbound: stage.sidecar.addresses.outbound,
    task: await stage.task(),
    ca: readFileSync(stage.sidecar.caFile, 'utf8'),
    alpha,
    alphaTls,
    async expectNothingLeft(calls, ...codes) {
      await expectRefused(stage.sidecar.eventsFile, calls, 400, ...codes);
      expect(tools.map((tool) => [tool.connections(), tool.seen.length])).toEqual(tools.map(() => [0, 0]));
      expect(stage.service.counts).toMatchObject({ token: 0, introspect: 0, revoke: 0 });
    },
    async close() {
      await stage.close();
      await Promise.all(tools.map((tool) => tool.close()));
    },
  };
}

/** A call of a table, not yet made. */
export type Attempt = readonly [what: string, call: () => Promise<RawAnswer>];

/** Makes all calls at once. */
export function tryAll(attempts: readonly Attempt[]): Promise<TriedCall[]> {
  return Promise.all(attempts.map(async ([what, call]) => ({ what, answer: await call() })));
}
