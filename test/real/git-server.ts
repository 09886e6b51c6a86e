import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openScriptedTool, type ScriptedTool } from '../stage/scripted-tool.ts';

/** A git server over https: `git http-backend` behind a small CGI bridge. It demands a bearer token. */
export interface GitServer {
  readonly tool: ScriptedTool;
  /** The bare repository, for looking at it directly. */
  readonly repository: string;
  readonly head: string;
  close(): Promise<void>;
}

/** Opens one with a repository `sample.git` of a few files. */
export async function openGitServer(tls: { readonly cert: string; readonly key: string }): Promise<GitServer> {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-git-'));
  const repository = join(folder, 'sample.git');
  const work = join(folder, 'work');
  const git = (...args: string[]): string =>
    execFileSync('git', ['-c', 'safe.directory=*', ...args], { encoding: 'utf8' }).trim();
  git('init', '--quiet', '--bare', '--initial-branch=main', repository);
  git('-C', repository, 'config', 'http.receivepack', 'true');
  git('init', '--quiet', '--initial-branch=main', work);
  writeFileSync(join(work, 'README'), 'a sample\n');
  writeFileSync(join(work, 'large.bin'), randomBytes(3_000_000));
  git('-C', work, 'add', '.');
  git('-C', work, '-c', 'user.name=test', '-c', 'user.email=test@example.org', 'commit', '--quiet', '-m', 'first');
  git('-C', work, 'push', '--quiet', repository, 'main');
  const tool = await openScriptedTool((request, response) => {
    if ((request.headers.authorization ?? '').startsWith('Bearer ')) serve(folder, request, response);
    else response.writeHead(401).end();
  }, tls);
  return {
    tool,
    repository,
    head: git('-C', repository, 'rev-parse', 'main'),
    close: async () => {
      await tool.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** One request as CGI (RFC 3875): the body on standard input, the answer with its head on standard output. */
function serve(root: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'https://git');
  const { headers } = request;
  const backend = spawn('git', ['-c', 'safe.directory=*', 'http-backend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      REQUEST_METHOD: request.method,
      REMOTE_USER: 'test',
      CONTENT_TYPE: headers['content-type'] ?? '',
      ...(headers['content-length'] === undefined ? {} : { CONTENT_LENGTH: headers['content-length'] }),
      HTTP_CONTENT_ENCODING: headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
    },
  });
  request.pipe(backend.stdin);
  backend.stdin.on('error', () => undefined);
  let head = Buffer.alloc(0);
  backend.stdout.on('data', (chunk: Buffer) => {
    if (response.headersSent) {
      response.write(chunk);
      return;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) return;
    const lines = head.toString('latin1', 0, end).split('\r\n');
    const fields = lines.map(
      (line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()] as const,
    );
    const status = fields.find(([name]) => name === 'Status')?.[1] ?? '200';
    response.writeHead(Number.parseInt(status, 10), Object.fromEntries(fields.filter(([name]) => name !== 'Status')));
    response.write(head.subarray(end + 4));
  });
  backend.stdout.on('end', () => response.end());
}
