import type { ServerResponse } from 'node:http';
import { expect } from 'vitest';
import { openEchoTool, type EchoTool, type SeenCall } from './echo-tool.ts';
import { callThrough, type RawAnswer } from './raw-call.ts';
import type { StagedTask } from './sidecar-process.ts';
import { makeToolCertificate } from './tool-certificate.ts';
import { openStage, type Stage } from './way-out-stage.ts';

/** What a tool answers. */
export interface Said {
  readonly status?: number;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Headers of an interim answer before. */
  readonly early?: Record<string, string>;
  readonly trailers?: [string, string][];
  readonly body?: string;
}

type CallOptions = Parameters<typeof callThrough>[2];

/** Tools whose answers a test says, with every setting of cookies: `open` and `held` have no credential, `secure` has TLS. */
export interface CookieStage extends Stage {
  readonly tool: EchoTool;
  readonly secure: EchoTool;
  /** What the tools answer from now on. */
  say: (call: SeenCall) => Said;
  /** Whose task calls are made in, unless they name another. */
  current: StagedTask;
  call(name: string, path?: string, options?: CallOptions, task?: StagedTask): Promise<RawAnswer>;
  /** The cookies that the tool gets, each line as it came. */
  sentTo(name: string, path?: string, options?: CallOptions, task?: StagedTask): Promise<string>;
  /** Lets the tool answer once with these cookies; nothing of them comes back. */
  set(name: string, lines: readonly string[], path?: string): Promise<void>;
}

/** Lines of an answer that have to do with cookies. */
export const cookieLines = (answer: RawAnswer): string[] => answer.lines.filter((line) => /cookie/i.test(line));

export async function openCookieStage(): Promise<CookieStage> {
  let say: CookieStage['say'] = () => ({});
  const answer = (call: SeenCall, response: ServerResponse): void => {
    const { status = 200, headers = [], early, trailers, body = 'ok' } = say(call);
    if (early !== undefined) response.writeEarlyHints({ link: '</a>; rel=preload', ...early });
    response.writeHead(status, headers.flat());
    if (call.method !== 'HEAD') response.write(body);
    if (trailers !== undefined) response.addTrailers(trailers);
    response.end();
  };
  const certificate = await makeToolCertificate('secure.test');
  const tool = await openEchoTool({ answer });
  const secure = await openEchoTool({ tls: certificate, answer });
  const opened = await openTools(tool.port, secure.port, certificate.ca);
  const stage: CookieStage = {
    ...opened,
    tool,
    secure,
    current: await opened.task('alice'),
    get say() {
      return say;
    },
    set say(next) {
      say = next;
    },
    call(name, path = '/', options = {}, { handle } = stage.current) {
      const host = name === 'files' ? 'files.crm.test' : `${name}.test`;
      return callThrough(opened.sidecar.addresses.outbound, `http://${host}${path}`, { handle, ...options });
    },
    async sentTo(name, path, options, task) {
      say = () => ({});
      await stage.call(name, path, options, task);
      const { rawHeaders } = tool.seen.at(-1) ?? { rawHeaders: [] };
      return rawHeaders.filter((_text, at, all) => at % 2 === 1 && /^cookie/i.test(all[at - 1] ?? '')).join(' | ');
    },
    async set(name, lines, path) {
      say = () => ({ headers: lines.map((line) => ['Set-Cookie', line] as const) });
      const came = await stage.call(name, path);
      expect([came.status, cookieLines(came)]).toEqual([200, []]);
    },
    async close() {
      await opened.close();
      await Promise.all([tool.close(), secure.close()]);
    },
  };
  return stage;
}

function openTools(port: number, securePort: number, ca: string): Promise<Stage> {
  return openStage({
    tools: {
      // The same place under two names: what is done there by one is not for the other.
      writer: { port, more: { match: { host: 'crm.test', methods: ['POST'] } } },
      crm: { port },
      files: { port, host: 'files.crm.test' },
      bound: { port, proof: 'dpop' },
      stripped: { port, more: { cookies: 'strip' } },
      passed: { port, more: { cookies: 'pass' } },
      open: { port, token: false },
      held: { port, token: false, more: { cookies: 'hold' } },
      secure: { port: securePort, ca },
    },
  });
}
