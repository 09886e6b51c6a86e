import { createServer, type Server } from 'node:net';

/**
 * Below the ports that Linux hands out by itself (32768 and up): one of those, given back, is soon the port of another test's server, and
 * what should be refused is answered there.
 */
const lowest = 20_000;
const count = 12_000;

/** Test files run in processes of their own beside each other: each begins somewhere else. */
let next = (process.pid * 101) % count;

/** A port of loopback on which nobody listens, and which nobody gets who does not ask for this very one. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < count; tries += 1) {
    const port = lowest + next;
    next = (next + 1) % count;
    if (await isFree(port)) return port;
  }
  throw new Error('no port of loopback is free');
}

/** Opens a server on such a port of loopback, and tells which. */
export async function listenOnFreePort(server: Server): Promise<number> {
  const port = await freePort();
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  return port;
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
