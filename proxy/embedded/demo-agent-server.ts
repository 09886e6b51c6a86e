import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/**
 * An agent that is called and calls on, as the planner and the worker of the demo are: a plain HTTP server that reads who its user is from
 * the token it was given, and hands the same `Authorization` to whatever it calls with plain fetch. It knows no Waybill and no proof;
 * what leads its calls through its sidecar is its environment alone. Usage: `demo-agent-server NEXT_URL`. Its first line on standard
 * error says where it listens; it ends when its standard input does.
 */
const next = process.argv[2] ?? '';

const server = createServer((request, response) => {
  serve(request, response).catch(() => response.destroy());
});

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  process.stderr.write(`${JSON.stringify({ port })}\n`);
});
process.stdin.resume().once('end', () => process.exit());

async function serve({ headers }: IncomingMessage, response: ServerResponse): Promise<void> {
  const { authorization = '' } = headers;
  const { sub, iss } = readToken(authorization);
  const asked = await fetch(next, { headers: { authorization } });
  const body = { user: sub, token_of: iss, answer: await asked.json() };
  response.writeHead(asked.status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

/** Claims of the token, as agents read them that trust whoever stands before them. */
function readToken(authorization: string): { sub?: unknown; iss?: unknown } {
  const payload = Buffer.from(authorization.split('.')[1] ?? '', 'base64url').toString('utf8');
  const claims: unknown = JSON.parse(payload);
  return typeof claims === 'object' && claims !== null ? claims : {};
}
