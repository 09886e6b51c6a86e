import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.ts';

/** One alert as Alertmanager sent it to a receiver. */
export interface Notice {
  /** Which receiver: the severity that its route asks for. */
  readonly receiver: string;
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** `performance.now()` when it came. */
  readonly atMs: number;
}

/** One element of an instant vector. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A Prometheus and an Alertmanager of their own, on loopback. */
export interface Monitoring {
  readonly notices: readonly Notice[];
  query(expression: string): Promise<Sample[]>;
  /** Asks again until the answer is as wanted; throws what was last answered after the limit. */
  queryUntil(what: string, expression: string, wanted: (samples: Sample[]) => boolean, limitMs?: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts both. They scrape, evaluate and tell every second, where production takes 15 to 30; each alert goes to the receiver `page` or
 * `ticket` by its severity, alone and at once.
 * @param target `host:port` of the metrics to scrape. @param dir a folder for their data. @param rules file with alert rules.
 */
export async function openMonitoring(target: string, dir: string, rules: string): Promise<Monitoring> {
  const webhook = await openWebhook();
  const alertmanagerPort = await freePort();
  const prometheusPort = await freePort();
  for (const name of ['prometheus', 'alertmanager']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'alertmanager.yaml'), JSON.stringify(alertmanagerConfig(webhook.port)));
  writeFileSync(join(dir, 'prometheus.yaml'), JSON.stringify(prometheusConfig(target, alertmanagerPort, rules)));
  const programs = [
    startProgram('prometheus-alertmanager', [
      `--config.file=${join(dir, 'alertmanager.yaml')}`,
      `--storage.path=${join(dir, 'alertmanager')}`,
      `--web.listen-address=127.0.0.1:${alertmanagerPort}`,
      '--cluster.listen-address=',
    ]),
    startProgram('prometheus', [
      `--config.file=${join(dir, 'prometheus.yaml')}`,
      `--storage.tsdb.path=${join(dir, 'prometheus')}`,
      `--web.listen-address=127.0.0.1:${prometheusPort}`,
    ]),
  ];
  const close = async (): Promise<void> => {
    await Promise.all(programs.map((program) => program.stop()));
    webhook.close();
  };
  try {
    await programs[0]?.ready(`http://127.0.0.1:${alertmanagerPort}/-/ready`);
    await programs[1]?.ready(`http://127.0.0.1:${prometheusPort}/-/ready`);
  } catch (error) {
    await close();
    throw error;
  }
  const query = (expression: string): Promise<Sample[]> => ask(prometheusPort, expression);
  return {
    notices: webhook.notices,
    query,
    close,
    async queryUntil(what, expression, wanted, limitMs = 60_000) {
      const end = performance.now() + limitMs;
      for (;;) {
        const samples = await query(expression);
        if (wanted(samples)) return;
        if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}: ${JSON.stringify(samples)}`);
        await sleep(200);
      }
    },
  };
}

function prometheusConfig(target: string, alertmanagerPort: number, rules: string): object {
  return {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [`127.0.0.1:${alertmanagerPort}`] }] }] },
    scrape_configs: [
      { job_name: 'waybill', static_configs: [{ targets: [target], labels: { agent: 'invoice-bot' } }] },
    ],
  };
}

function alertmanagerConfig(webhookPort: number): object {
  const severities = ['page', 'ticket'];
  return {
    route: {
      receiver: 'other',
      group_by: ['...'],
      group_wait: '0s',
      group_interval: '1s',
      repeat_interval: '1h',
      routes: severities.map((severity) => ({ matchers: [`severity="${severity}"`], receiver: severity })),
    },
    receivers: [...severities, 'other'].map((name) => ({
      name,
      webhook_configs: [{ url: `http://127.0.0.1:${webhookPort}/${name}`, send_resolved: true }],
    })),
  };
}

interface Webhook {
  readonly port: number;
  readonly notices: Notice[];
  close(): void;
}

async function openWebhook(): Promise<Webhook> {
  const notices: Notice[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const { alerts } = (await json(request)) as { alerts: Omit<Notice, 'receiver' | 'atMs'>[] };
      const receiver = (request.url ?? '').slice(1);
      for (const { status, labels, annotations } of alerts)
        notices.push({ receiver, status, labels, annotations, atMs: performance.now() });
      response.end();
    })().catch(() => response.destroy());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    notices,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

interface Program {
  /** Waits until this address answers 200; throws what the program printed where it does not within a minute. */
  ready(url: string): Promise<void>;
  stop(): Promise<void>;
}

function startProgram(name: string, args: readonly string[]): Program {
  // One processor is enough for a scrape a second, and leaves the others to the tests.
  const child: ChildProcess = spawn(name, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, GOMAXPROCS: '1' },
  });
  let printed = '';
  let ended = false;
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => (printed += chunk));
  const exited = new Promise<void>((done) => {
    child.once('error', () => done()).once('exit', () => done());
  }).then(() => (ended = true));
  return {
    async ready(url) {
      const end = performance.now() + 60_000;
      while (!(await isOk(url))) {
        if (ended || performance.now() > end) throw new Error(`${name} does not get ready: ${printed.slice(-2000)}`);
        await sleep(100);
      }
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

async function isOk(url: string): Promise<boolean> {
  return fetch(url).then(
    async (response) => {
      await response.body?.cancel();
      return response.ok;
    },
    () => false,
  );
}

async function ask(port: number, expression: string): Promise<Sample[]> {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`);
  const { data } = (await response.json()) as {
    data?: { result: { metric: Record<string, string>; value: [number, string] }[] };
  };
  if (data === undefined) throw new Error(`Prometheus refuses: ${expression}`);
  return data.result.map(({ metric, value: [, value] }) => ({ labels: metric, value: Number(value) }));
}
