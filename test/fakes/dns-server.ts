import { createSocket, type RemoteInfo } from 'node:dgram';

/** What a name is answered with: addresses, an error of the server, or nothing at all. */
export type DnsAnswer = readonly string[] | 'servfail' | 'nxdomain' | 'silence' | { readonly alias: string };

/** One question as it came. */
export interface SeenQuestion {
  readonly name: string;
  readonly type: 'A' | 'AAAA' | 'other';
}

/** A DNS server on loopback (RFC 1035, UDP, A and AAAA) that says what a test writes down. */
export interface DnsServer {
  /** `127.0.0.1:port`, as `dns.servers` takes it. */
  readonly address: string;
  readonly seen: SeenQuestion[];
  /**
   * Addresses by name in lower case; a function gets the count of questions of this type so far, from 0, so that answers can change.
   * A name that is absent does not exist.
   */
  readonly names: Record<string, DnsAnswer | ((count: number) => DnsAnswer)>;
  close(): Promise<void>;
}

const typeCodes = { 1: 'A', 28: 'AAAA' } as const;
const rcodes = { servfail: 2, nxdomain: 3 } as const;

export async function openDnsServer(): Promise<DnsServer> {
  const socket = createSocket('udp4');
  const seen: SeenQuestion[] = [];
  const names: DnsServer['names'] = {};
  socket.on('message', (query: Buffer, from: RemoteInfo) => {
    const { name, end } = readName(query, 12);
    const type = typeCodes[query.readUInt16BE(end) as keyof typeof typeCodes] ?? 'other';
    const count = seen.filter((question) => question.name === name && question.type === type).length;
    seen.push({ name, type });
    const listed = Object.hasOwn(names, name) ? names[name] : 'nxdomain';
    const answer = typeof listed === 'function' ? listed(count) : (listed ?? 'nxdomain');
    if (answer === 'silence') return;
    socket.send(reply(query, end + 4, type, answer, names), from.port, from.address);
  });
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
  return {
    address: `127.0.0.1:${socket.address().port}`,
    seen,
    names,
    close: () => new Promise((done) => socket.close(() => done())),
  };
}

function readName(packet: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  for (let length = packet[at] ?? 0; length > 0; length = packet[at] ?? 0) {
    labels.push(packet.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 };
}

function writeName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

/** Answers in one packet; an alias stands before the addresses of the name that it leads to, as real resolvers give it. */
function reply(
  query: Buffer,
  questionEnd: number,
  type: SeenQuestion['type'],
  answer: Exclude<DnsAnswer, 'silence'>,
  names: DnsServer['names'],
): Buffer {
  const records: Buffer[] = [];
  let found = answer;
  let owner = Buffer.from([0xc0, 12]);
  if (typeof found === 'object' && 'alias' in found) {
    const { alias } = found;
    records.push(record(owner, 5, writeName(alias)));
    owner = Buffer.from(writeName(alias));
    const listed = names[alias];
    found = Array.isArray(listed) ? (listed as readonly string[]) : 'nxdomain';
  }
  if (Array.isArray(found)) {
    for (const address of found as readonly string[]) {
      const isV6 = address.includes(':');
      if ((type === 'A' && !isV6) || (type === 'AAAA' && isV6))
        records.push(record(owner, isV6 ? 28 : 1, bytesOf(address)));
    }
  }
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2);
  const rcode = typeof found === 'string' ? rcodes[found] : 0;
  head.writeUInt16BE(0x8180 | rcode, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, query.subarray(12, questionEnd), ...records]);
}

function record(owner: Buffer, type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(10);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(1, 2);
  // A life of 0 s: whoever keeps an answer does so on his own account.
  head.writeUInt32BE(0, 4);
  head.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, head, data]);
}

function bytesOf(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const hex = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [front = '', back] = hex.split('::');
  const groups = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(':'));
  const zeros = Array<string>(8 - groups(front).length - groups(back).length).fill('0');
  const all = back === undefined ? groups(front) : [...groups(front), ...zeros, ...groups(back)];
  return Buffer.concat(all.map((group) => Buffer.from(group.padStart(4, '0'), 'hex')));
}
