import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { forms } from '../../proxy/forward/screen/forms.ts';
import { openEchoTool, type EchoTool } from './echo-tool.ts';
import { callThrough, type RawAnswer } from './raw-call.ts';
import { expectRefused } from './refused-calls.ts';
import { openScriptedTool, type ScriptedTool } from './scripted-tool.ts';
import type { StagedTask } from './sidecar-process.ts';
import { openStage, type Stage } from './way-out-stage.ts';

/** Tools, tasks, and secrets of all kinds that went out already. */
export interface LeakStage extends Stage {
  readonly tool: EchoTool;
  /** Reads bodies as they come; `received` is what came of the last. */
  readonly slow: ScriptedTool;
  received(): string;
  readonly alice: StagedTask;
  readonly bob: StagedTask;
  /** The token of alice at `crm`. */
  readonly token: string;
  /** The static key of `keyed`. */
  readonly key: string;
  call(name: string, options: Parameters<typeof callThrough>[2]): Promise<RawAnswer>;
  post(body: string | Buffer, name?: string, headers?: Record<string, string>): Promise<RawAnswer>;
  /** How often `credential_leak` was counted. */
  leaks(): Promise<number>;
  /** Each is refused, told in one event, counted once, and neither tool nor token service hears of it. */
  expectStopped(sends: Record<string, () => Promise<RawAnswer>>): Promise<void>;
}

/** Opens one. Tools: `crm`, `open` without credential, `hosts` of any name, `unscreened`, `keyed` with a static key, `slow`. */
export async function openLeakStage(): Promise<LeakStage> {
  const tool = await openEchoTool();
  let received = '';
  const slow = await openScriptedTool((request, response) => {
    received = '';
    request.setEncoding('latin1').on('data', (text: string) => (received += text));
    request.once('end', () => response.end('whole'));
  });
  const key = randomBytes(24).toString('base64');
  const stage = await openTools(tool, slow, key);
  const alice = await stage.task('alice');
  const { outbound } = stage.sidecar.addresses;
  const call: LeakStage['call'] = (name, options) =>
    callThrough(outbound, `http://${name}.test/x`, { handle: alice.handle, ...options });
  const leaks = (): Promise<number> =>
    stage.sidecar.metric('waybill_replays_blocked_total{way="out",reason="credential_leak",grade="proven"}');
  await call('crm', {});
  const token = (tool.seen.at(-1)?.headers.authorization ?? '').replace(/^\w+ /, '');
  await call('keyed', {});
  return {
    ...stage,
    tool,
    slow,
    received: () => received,
    alice,
    bob: await stage.task('bob'),
    token,
    key,
    call,
    post: (body, name = 'crm', headers = {}) => call(name, { method: 'POST', headers, body }),
    leaks,
    async expectStopped(sends) {
      const [seen, asked, before] = [tool.seen.length, stage.service.counts.token, await leaks()];
      const tried = [];
      for (const [what, send] of Object.entries(sends)) tried.push({ what, answer: await send() });
      await expectRefused(stage.sidecar.eventsFile, tried, 403, 'credential_leak');
      expect((await leaks()) - before).toBe(tried.length);
      expect([tool.seen.length, stage.service.counts.token]).toEqual([seen, asked]);
    },
    async close() {
      await stage.close();
      await Promise.all([tool.close(), slow.close()]);
    },
  };
}

function openTools(tool: EchoTool, slow: ScriptedTool, key: string): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'waybill-stage-'));
  const file = join(dir, 'key');
  writeFileSync(file, key);
  return openStage({
    dir,
    tools: {
      crm: { port: tool.port },
      open: { port: tool.port, token: false },
      hosts: { port: tool.port, host: '*.hosts.test', token: false },
      unscreened: { port: tool.port, more: { unsafe_response_screen: 'off' } },
      keyed: { port: tool.port, token: false, more: { secret: { file, in: 'header', name: 'x-key' } } },
      slow: { port: slow.port },
    },
  });
}

/** A secret in the forms of the list, or in those in which a token is looked for. */
export function written(text: string, ofTokens: boolean): [string, Buffer][] {
  return forms
    .filter(({ name, isCommon }) => !ofTokens || isCommon || /^(?:JSON with \\\/|percent-encoded, where)/.test(name))
    .flatMap(({ name, write }) => write(Buffer.from(text, 'latin1')).map((bytes): [string, Buffer] => [name, bytes]));
}
