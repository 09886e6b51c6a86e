import { dirname } from 'node:path';
import { agentEnvironment } from '../../proxy/cli/agent-environment.ts';
import { openBodyTool } from '../stage/body-tool.ts';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';
import { makeToolCertificate } from '../stage/tool-certificate.ts';
import { openStage, type Stage } from '../stage/way-out-stage.ts';
import { openGitServer, type GitServer } from './git-server.ts';

/** A sidecar with tools that real programs call: `plain.test` (http), `secure.test` (https), `git.test` (https), `events.test` (https). */
export interface ClientStage {
  readonly stage: Stage;
  readonly git: GitServer;
  /** Port of `plain.test`, to call it directly. */
  readonly plainPort: number;
  /** Environment of an agent with a task, and nothing else that could lead a program anywhere. */
  readonly env: NodeJS.ProcessEnv;
  readonly trustFolder: string;
  readonly proxy: URL;
  /** What is wrong with the requests that came to the tools since the last look: a handle, or no token. */
  takeFaults(): string[];
  /** How many requests came since the last look. */
  count(): number;
  close(): Promise<void>;
}

/** Events of a stream, milliseconds apart. */
export const eventGapMs = 700;

export async function openClientStage(): Promise<ClientStage> {
  const certificate = await makeToolCertificate('secure.test', 'git.test', 'events.test');
  const plain = await openBodyTool();
  const secure = await openBodyTool(certificate);
  const events = await openScriptedTool((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: first\n\n');
    setTimeout(() => response.end('data: last\n\n'), eventGapMs);
  }, certificate);
  const git = await openGitServer(certificate);
  const { ca } = certificate;
  const stage = await openStage({
    tools: {
      plain: { port: plain.port },
      secure: { port: secure.port, ca },
      events: { port: events.port, ca, proof: 'dpop' },
      git: { port: git.tool.port, ca },
    },
  });
  const { proxy } = await stage.task();
  const trustFolder = dirname(stage.sidecar.caFile);
  const tools: ScriptedTool[] = [plain, secure, events, git.tool];
  return {
    stage,
    git,
    plainPort: plain.port,
    trustFolder,
    proxy: new URL(proxy),
    env: { PATH: process.env['PATH'], HOME: stage.dir, LANG: 'C.UTF-8', ...agentEnvironment({ proxy, trustFolder }) },
    count: () => tools.reduce((sum, { requests }) => sum + requests.length, 0),
    takeFaults() {
      const seen = tools.flatMap(({ requests }) => requests.splice(0));
      return seen.flatMap(({ method, url, rawHeaders, headers }) => [
        ...(/^(?:Bearer|DPoP) ey/.test(headers.authorization ?? '') ? [] : [`${method} ${url}: no token`]),
        ...(rawHeaders.some(holdsHandle) ? [`${method} ${url}: a handle`] : []),
        ...('proxy-authorization' in headers ? [`${method} ${url}: the proxy's credential`] : []),
      ]);
    },
    close: async () => {
      await stage.close();
      await git.close();
      for (const tool of [plain, secure, events]) await tool.close();
    },
  };
}

function holdsHandle(value: string): boolean {
  return value.includes('wbh_') || Buffer.from(value.replace(/^Basic /, ''), 'base64').includes('wbh_');
}
