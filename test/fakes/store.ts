import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { listenOnFreePort } from '../stage/free-port.ts';

/** A store of a fleet in this process: as much of Valkey as sidecars use, and what a real one does not do on demand. */
export interface FakeStore {
  readonly port: number;
  readonly sets: Map<string, Map<string, number>>;
  /** Passwords that clients sent. */
  readonly passwords: string[];
  /** Connections stay, and nothing is answered until `answer`. */
  hang(): void;
  answer(): void;
  /** What it says that it is. */
  role: string;
  mode: string;
  /** Its memory is full: it takes nothing, and no transaction. */
  isFull: boolean;
  /** How many replicas it says have taken a write. */
  replicas: number;
  /** Connections are closed, everything is forgotten. */
  wipe(): void;
  close(): Promise<void>;
}

type Reply = string | number | null | Fault | readonly Reply[];

/** Opens one on loopback. @param password that it asks for. @param tls its certificate, where it speaks TLS only. */
export async function openFakeStore(password?: string, tls?: { cert: string; key: string }): Promise<FakeStore> {
  const sets = new Map<string, Map<string, number>>();
  const texts = new Map<string, string>();
  const sockets = new Set<Socket>();
  let waiting: (() => void)[] | undefined;
  const hear = (socket: Socket): void => {
    sockets.add(socket);
    let isKnown = password === undefined;
    let queued: string[][] | undefined;
    let isSpoilt = false;
    let read = '';
    const one = (words: string[]): Reply => {
      const name = words[0]?.toUpperCase() ?? '';
      if (name === 'AUTH') {
        store.passwords.push(words.at(-1) ?? '');
        isKnown = words.at(-1) === password;
        return isKnown ? 'OK' : new Fault('WRONGPASS invalid username-password pair or user is disabled.');
      }
      if (!isKnown) return new Fault('NOAUTH Authentication required.');
      const grows = ['SET', 'ZADD'].includes(name) || (queued !== undefined && name !== 'EXEC');
      if (store.isFull && grows) {
        isSpoilt = queued !== undefined;
        return new Fault("OOM command not allowed when used memory > 'maxmemory'.");
      }
      if (name === 'MULTI') queued = [];
      if (name === 'EXEC' && isSpoilt) {
        queued = undefined;
        isSpoilt = false;
        return new Fault('EXECABORT Transaction discarded because of previous errors.');
      }
      if (name === 'EXEC') {
        const all = (queued ?? []).map(answerTo);
        queued = undefined;
        return all;
      }
      if (queued !== undefined && name !== 'MULTI') {
        queued.push(words);
        return 'QUEUED';
      }
      return answerTo(words);
    };
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      read += chunk;
      const handle = (): void => {
        const found = takeCommands(read);
        read = found.rest;
        for (const words of found.commands) socket.write(encode(one(words)), 'latin1');
      };
      if (waiting === undefined) handle();
      else waiting.push(handle);
    });
  };
  const server = tls === undefined ? createServer(hear) : createTlsServer(tls, hear);
  const setOf = (key = ''): Map<string, number> => sets.get(key) ?? sets.set(key, new Map()).get(key) ?? new Map();
  const answerTo = ([name = '', key = '', ...rest]: string[]): Reply => {
    switch (name.toUpperCase()) {
      case 'HELLO':
        return ['server', 'fake', 'mode', store.mode, 'role', store.role];
      case 'GET':
        return texts.get(key) ?? null;
      case 'SET':
        texts.set(key, rest[0] ?? '');
        return 'OK';
      case 'WAIT':
        return store.replicas;
      case 'MEMORY':
        return 100 * setOf(rest[0]).size;
      case 'ZCARD':
        return setOf(key).size;
      case 'ZADD': {
        const set = setOf(key);
        // After GT: score, member, score, member.
        for (let at = 1; at < rest.length; at += 2) {
          const [score, member] = [Number(rest[at]), rest[at + 1] ?? ''];
          set.set(member, Math.max(score, set.get(member) ?? 0));
        }
        return 1;
      }
      case 'ZRANGE': {
        const newest = [...setOf(key)].toSorted(([, a], [, b]) => b - a).slice(0, Number(rest[1]) + 1);
        return newest.flatMap(([member, score]) => [member, String(score).replace('Infinity', 'inf')]);
      }
      default:
        return name.toUpperCase() === 'MULTI' ? 'OK' : 0;
    }
  };
  const port = await listenOnFreePort(server);
  const store: FakeStore = {
    port,
    sets,
    passwords: [],
    role: 'master',
    mode: 'standalone',
    isFull: false,
    replicas: 0,
    hang: () => (waiting ??= []),
    answer() {
      const held = waiting ?? [];
      waiting = undefined;
      for (const handle of held) handle();
    },
    wipe() {
      sets.clear();
      texts.clear();
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
  return store;
}

/** An error reply. */
class Fault {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

function encode(reply: Reply): string {
  if (reply instanceof Fault) return `-${reply.text}\r\n`;
  if (reply === null) return '$-1\r\n';
  if (typeof reply === 'number') return `:${reply}\r\n`;
  if (typeof reply === 'string') return `$${reply.length}\r\n${reply}\r\n`;
  return `*${reply.length}\r\n${reply.map(encode).join('')}`;
}

/** The whole commands at the beginning of a text (RESP: arrays of bulk strings), and what is left. */
function takeCommands(text: string): { commands: string[][]; rest: string } {
  const commands: string[][] = [];
  let at = 0;
  for (;;) {
    const head = /^\*(\d+)\r\n/.exec(text.slice(at));
    if (head === null) return { commands, rest: text.slice(at) };
    let next = at + head[0].length;
    const words: string[] = [];
    for (let left = Number(head[1]); left > 0; left -= 1) {
      const size = /^\$(\d+)\r\n/.exec(text.slice(next));
      if (size === null) return { commands, rest: text.slice(at) };
      next += size[0].length;
      const word = text.slice(next, next + Number(size[1]));
      next += Number(size[1]) + 2;
      if (next > text.length) return { commands, rest: text.slice(at) };
      words.push(word);
    }
    commands.push(words);
    at = next;
  }
}
