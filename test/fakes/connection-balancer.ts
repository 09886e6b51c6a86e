import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A balancer of TCP connections: each new one goes to the next replica, and stays there. */
export interface ConnectionBalancer {
  readonly port: number;
  /** Connections that were led to each replica. */
  readonly counts: readonly number[];
  close(): Promise<void>;
}

/** Opens one. @param replicas addresses, `host:port`, asked for at each connection. */
export async function openConnectionBalancer(replicas: readonly (() => string)[]): Promise<ConnectionBalancer> {
  const counts = replicas.map(() => 0);
  const sockets = new Set<Socket>();
  let next = 0;
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.setNoDelay().once('close', () => sockets.delete(socket));
  };
  const server = createServer((caller) => {
    const at = next;
    next = (next + 1) % replicas.length;
    counts[at] = (counts[at] ?? 0) + 1;
    const [host = '', port] = (replicas[at]?.() ?? '').split(':');
    const replica = connect(Number(port), host);
    keep(caller)
      .on('error', () => replica.destroy())
      .once('close', () => replica.destroy());
    keep(replica)
      .on('error', () => caller.destroy())
      .once('close', () => caller.destroy());
    caller.pipe(replica).pipe(caller);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    counts,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
