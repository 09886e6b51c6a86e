/**
 * The static upstream, a process of its own: answers each request head with the same bytes, so that as little as possible of
 * its core is spent here. Started with the scenario's name; speaks with the runner over the process channel.
 */
import { createServer, type Socket } from 'node:net';
import { scenarios } from './scenarios.ts';

/** What the upstream tells: first its port, then, whenever it is asked, what it saw so far. */
export type UpstreamMessage =
  | { readonly port: number }
  | { readonly requests: number; /** Text of the newest request. */ readonly lastRequest: string };

const endOfHead = Buffer.from('\r\n\r\n');
const scenario = scenarios.find((one) => one.name === process.argv[2]);
if (scenario === undefined) throw new Error(`no scenario ${process.argv[2]}`);
const response = Buffer.from(scenario.response);

let requests = 0;
let lastRequest: Buffer = Buffer.alloc(0);

const server = createServer({ noDelay: true }, (socket) => {
  let rest: Buffer | undefined;
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    rest = answer(socket, bytes);
  });
  // A variant that closes its side in the middle of a round is counted by the load generator, not here.
  socket.on('error', () => socket.destroy());
});

/** Answers every whole head in `bytes` and returns what is left of a torn one. */
function answer(socket: Socket, bytes: Buffer): Buffer | undefined {
  let start = 0;
  while (start < bytes.length) {
    const end = bytes.indexOf(endOfHead, start);
    if (end < 0) return bytes.subarray(start);
    lastRequest = bytes.subarray(start, end);
    requests += 1;
    socket.write(response);
    start = end + endOfHead.length;
  }
  return undefined;
}

function tell(message: UpstreamMessage): void {
  process.send?.(message);
}

process.on('message', () => tell({ requests, lastRequest: lastRequest.toString('latin1') }));
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') tell({ port: address.port });
});
