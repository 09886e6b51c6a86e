import type { Server } from 'node:http';

/** What the baselines write into `Authorization`: as long as an ES256 access token with a few claims. */
export const bearer = `Bearer ${'eyJhbGciOiJFUzI1NiJ9'.repeat(30)}`;

/** Listens on a free loopback port, tells it to the runner, and ends when the runner is gone. */
export function listen(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    if (address !== null && typeof address === 'object') process.send?.({ port: address.port });
  });
  process.on('disconnect', () => process.exit(0));
}
