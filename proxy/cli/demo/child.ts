import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { asObject, parseObject, type JsonObject } from '../json-object.ts';
import { keptLogLength, nodeOptions, programFile, type Environment } from './server-process.ts';

const agentWithinMs = 20_000;
/** The programs that the demo starts. */
const programs = {
  agent: new URL('../../embedded/demo-agent.ts', import.meta.url),
  intruder: new URL('../../embedded/demo-intruder.ts', import.meta.url),
};

/** What a program of the demo prints: the answer that it got, or why it got none. */
export interface AgentResult {
  readonly status: number | undefined;
  readonly body: JsonObject;
  readonly failed: string | undefined;
  /** All that it printed. */
  readonly text: string;
}

/** Runs one of the two small programs of `embedded/` with exactly this environment. */
export async function runProgram(name: keyof typeof programs, url: string, env: Environment): Promise<AgentResult> {
  const child = spawn(process.execPath, [...nodeOptions, programFile(programs[name]), url], {
    // Not one variable of ours: what leads the agent through the sidecar is to be seen in the call of this function.
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...env },
    timeout: agentWithinMs,
  });
  let text = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
  await once(child, 'close');
  const printed = parseObject(text);
  if (printed === undefined) {
    throw new Error(`the agent ended without an answer:\n${errors.slice(-keptLogLength).trimEnd()}`);
  }
  const { status, failed } = printed;
  return {
    status: typeof status === 'number' ? status : undefined,
    failed: typeof failed === 'string' ? failed : undefined,
    body: asObject(printed['body']),
    text,
  };
}
