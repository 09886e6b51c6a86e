import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDnsServer, type DnsServer } from '../fakes/dns-server.ts';
import { runWaybill, type CommandOptions } from './command-line.ts';

/** One finding of `waybill doctor --json`. */
export interface Finding {
  readonly check: string;
  readonly subject: string;
  readonly state: 'ok' | 'info' | 'warning' | 'failed';
  readonly message: string;
  readonly advice?: string;
}

/** Of the environment of tests, what has nothing to do with proxies. */
const plainEnv = { PATH: process.env['PATH'], HOME: process.env['HOME'], TMPDIR: process.env['TMPDIR'] };

/** What the secret file of every service holds. */
export const clientSecret = 'doctor-client-secret-0123456789abcdef';

/** A folder with a configuration that the doctor is asked about. */
export class Surgery {
  readonly folder = mkdtempSync(join(tmpdir(), 'waybill-doctor-'));
  readonly dns: DnsServer;

  private constructor(dns: DnsServer) {
    this.dns = dns;
  }

  static async open(): Promise<Surgery> {
    return new Surgery(await openDnsServer());
  }

  get options(): CommandOptions {
    return { cwd: this.folder, env: plainEnv };
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Settings of a token service that knows us by a secret. */
  service(issuer: string): Record<string, unknown> {
    const file = this.path('secret');
    writeFileSync(file, clientSecret, { mode: 0o600 });
    return { issuer, client_auth: 'client_secret_basic', client_id: 'bot', client_secret_file: file };
  }

  /** Writes a configuration with these sections; what is not said is in order. Resolves with its path. */
  write(sections: Record<string, unknown>): string {
    const all = {
      version: 1,
      agent: { name: 'bot', purpose: 'test' },
      listen: { outbound: '127.0.0.1:15001', metrics: '127.0.0.1:0', health: '127.0.0.1:0' },
      operator: { socket: this.path('operator.sock') },
      ca: { dir: this.path('ca'), publish: this.path('trust') },
      record: { file: this.path('state/events.jsonl') },
      dns: { servers: [this.dns.address] },
      rules: [{ name: 'all', effect: 'allow', when: 'true' }],
      ...sections,
    };
    writeFileSync(this.path('waybill.yaml'), JSON.stringify(all));
    return this.path('waybill.yaml');
  }

  /** Runs `waybill doctor --json`. */
  async ask(file: string, env: NodeJS.ProcessEnv = {}, ...args: string[]) {
    const options = { cwd: this.folder, env: { ...plainEnv, ...env } };
    const finished = await runWaybill(['doctor', '--json', '--config', file, ...args], options);
    return { ...finished, ...(JSON.parse(finished.stdout) as { ok: boolean; findings: Finding[] }) };
  }

  async close(): Promise<void> {
    await this.dns.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** What was found of this kind, one line each. */
export function listFound(findings: readonly Finding[], state: Finding['state'], check?: string): string[] {
  return findings
    .filter((finding) => finding.state === state && (check === undefined || finding.check === check))
    .map(({ check: kind, subject, message }) => `${kind} ${subject}: ${message}`);
}

/** A tool of the configuration that is dialled on loopback. */
export const toolAt = (port: number, more: Record<string, unknown> = {}, host = 'crm.test') => ({
  match: { host },
  dial: `127.0.0.1:${port}`,
  ...more,
});
