import { createServer, type Socket } from 'node:net';
import { listenOnFreePort } from './free-port.ts';

/** A tool, or a program, that answers byte for byte what a test gives it. */
export interface ByteTool {
  readonly port: number;
  /** Requests as they came, head and declared body. */
  readonly seen: string[];
  /** What is said to the next requests; undefined: the connection is closed without a word. */
  answer: Buffer | string | undefined;
  close(): void;
}

/** Opens one on loopback. Text is sent as UTF-8. The connection stays open after an answer. */
export async function openByteTool(): Promise<ByteTool> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    let read = '';
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      read += chunk.toString('latin1');
      const end = read.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(read)?.[1] ?? 0);
      if (end === -1 || read.length < end + 4 + length) return;
      tool.seen.push(read);
      read = '';
      if (tool.answer === undefined) socket.destroy();
      else socket.write(tool.answer);
    });
  });
  const tool: ByteTool = {
    port: await listenOnFreePort(server),
    seen: [],
    answer: undefined,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return tool;
}
