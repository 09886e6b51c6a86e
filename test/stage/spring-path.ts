import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EchoTool, openEchoTool, type SeenCall } from './echo-tool.ts';
import { callThrough, type RawAnswer } from './raw-call.ts';
import { openTask, removeFolder, startSidecar, type SidecarProcess, type StagedTask } from './sidecar-process.ts';
import type { SpringServer } from './spring-server.ts';

/** Alice's agent, and a worker that it may call; each with its own sidecar. Both may call tools of a third. */
export interface SpringPath {
  readonly agent: SidecarProcess;
  readonly worker: SidecarProcess;
  /** The one program behind every tool but the worker. */
  readonly tool: EchoTool;
  /** A task of the agent, with a token from a fresh login of alice. */
  task(): Promise<StagedTask>;
  /** Calls a tool of the agent by name. */
  call(task: StagedTask, tool: string): Promise<RawAnswer>;
  /** Calls the worker, which calls this tool of its own and answers as that did. */
  callThroughWorker(task: StagedTask, tool: string): Promise<RawAnswer>;
  close(): Promise<void>;
}

const workerOrigin = 'http://worker.localhost';

/** Audiences for which the server lies (`AuthorizationServer.java`); each is a tool of that name. */
export const lies = ['drops-the-actor', 'names-another-actor', 'names-another-namespace', 'cuts-the-history'] as const;

/** Opens both. Everything that they know of the server is in their configurations. */
export async function openSpringPath(server: SpringServer): Promise<SpringPath> {
  const tool = await openEchoTool();
  const program = await openEchoTool({ answer: (call, response) => void relay(call, response) });
  const relay = async (call: SeenCall, response: import('node:http').ServerResponse): Promise<void> => {
    const headers = { authorization: String(call.headers.authorization) };
    const answer = await callThrough(worker.addresses.outbound, `http://${call.path.slice(1)}.test/`, { headers });
    response.writeHead(answer.status, { 'content-type': answer.headers['content-type'] ?? '' }).end(answer.body);
  };
  const workerConfig = configurationOf('worker', server, tool.port, {
    inbound: {
      origin: workerOrigin,
      accept: [{ issuer: server.issuer, proof: 'dpop' }],
      forward_to: `http://127.0.0.1:${program.port}`,
    },
  });
  const worker = await startSidecar(workerConfig.text, { dir: workerConfig.dir });
  const agentConfig = configurationOf('agent', server, tool.port, {}, worker.addresses.inbound);
  const agent = await startSidecar(agentConfig.text, { dir: agentConfig.dir });
  const call = (task: StagedTask, url: string): Promise<RawAnswer> =>
    callThrough(agent.addresses.outbound, url, { handle: task.handle });
  return {
    agent,
    worker,
    tool,
    task: async () => openTask(agent, { subject_token: await server.login() }),
    call: (task, name) => call(task, `http://${name}.test/`),
    callThroughWorker: (task, name) => call(task, `${workerOrigin}/${name}`),
    async close() {
      await Promise.all([agent.stop(), worker.stop()]);
      await Promise.all([tool.close(), program.close()]);
      for (const { dir } of [agentConfig, workerConfig]) removeFolder(dir);
    },
  };
}

function configurationOf(
  name: string,
  server: SpringServer,
  toolPort: number,
  sections: Record<string, unknown>,
  workerAddress?: string,
): { readonly dir: string; readonly text: string } {
  const dir = mkdtempSync(join(tmpdir(), `waybill-spring-${name}-`));
  const secretFile = join(dir, 'client-secret');
  writeFileSync(secretFile, server.secretOf(name), { mode: 0o600 });
  const corp = {
    issuer: server.issuer,
    client_auth: 'client_secret_basic',
    client_id: name,
    client_secret_file: secretFile,
    actor: 'client_credentials',
    verify: 'jwt',
    // A virtual machine that has just started, among other heavy programs, is slow at first.
    timeout: '8s',
    expect: { sub: 'same', act: 'self', typ: ['none'] },
  };
  const at = (host: string, address: string, token: Record<string, unknown>): object => ({
    match: { host },
    dial: address,
    token: { from: 'corp', ...token },
  });
  const tools: Record<string, object> = {};
  const add = (tool: string, token: Record<string, unknown>): void => {
    tools[tool] = at(`${tool}.test`, `127.0.0.1:${toolPort}`, { audience: tool, scopes: ['notes.read'], ...token });
  };
  add('notes', {});
  add('vault', { proof: 'dpop' });
  add('unknown-scope', { scopes: ['notes.read', 'payroll.read'] });
  const wider = { scopes: ['notes.read', 'notes.write'] };
  add('wider', wider);
  add('narrowed', { ...wider, from: 'narrow' });
  add('asked', { from: 'asked' });
  add('silent', { from: 'silent' });
  for (const lie of lies) add(lie, {});
  if (workerAddress !== undefined)
    tools['worker'] = at('worker.localhost', workerAddress, { resource: workerOrigin, proof: 'dpop' });
  const all: Record<string, unknown> = {
    agent: { name, purpose: 'notes' },
    identity: 'none',
    trust: { issuers: [{ issuer: server.issuer, audience: name, typ: ['none'] }] },
    token_services: {
      corp,
      asked: { ...corp, verify: 'introspect' },
      narrow: { ...corp, expect: { ...corp.expect, scopes: 'subject' } },
      // No actor token is sent, but an actor is expected: by itself the server then leaves out those who acted before, too.
      silent: { ...corp, actor: 'none' },
    },
    tools,
    rules: [{ name: 'all', effect: 'allow', when: 'true' }],
    ...sections,
  };
  const text = Object.entries(all).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  return { dir, text: text.join('\n') };
}
