import { randomFillSync } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { lookup } from 'node:dns/promises';
import { connect, isIP, type Socket, type TcpNetConnectOpts } from 'node:net';

/** What lies outside the program and must be replaceable in tests: clock, random, DNS and dial. Nothing else belongs here. */
export interface World {
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic clock, milliseconds with fractions. */
  readonly monotonic: () => number;
  /** Cryptographically strong random bytes. */
  readonly random: (bytes: number) => Buffer;
  /** Every IPv4 and IPv6 address of a DNS name. Rejects when there is none. IP literals never come here. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /**
   * Opens a TCP connection to an address (never a name: only a checked address is dialled). TLS over it begins when it stands, not before:
   * in its place comes another one where the first address does not answer. `connectionAttempt` tells which one is dialled.
   * @param others dialled in its place, one after the other, where nobody answers there; before it, where nobody answered there of late.
   */
  readonly dial: (address: string, port: number, others?: readonly string[]) => Socket;
}

/**
 * The real world.
 * @param dnsServers `dns.servers` of the config as `address:port`; empty means the operating system's resolver.
 */
export function realWorld(dnsServers: readonly string[]): World {
  return {
    now: Date.now,
    monotonic: () => performance.now(),
    random: pooledRandom(),
    resolve: dnsServers.length > 0 ? resolveAt(dnsServers) : knownFirst(resolveBySystem, () => performance.now()),
    dial: dialing(() => performance.now()),
  };
}

/** How long one of several addresses has to answer before the next is dialled, milliseconds. */
const attemptMs = 1000;

/** How long an address that did not answer is dialled behind the others of its name, milliseconds. */
const silentMs = 30_000;
const maxSilent = 1024;

/**
 * Dials, and remembers which of several addresses did not answer: each new connection would wait for it anew.
 * @param monotonic clock, milliseconds.
 */
export function dialing(monotonic: World['monotonic']): World['dial'] {
  /** Until when, by address and port; the youngest last. */
  const silent = new Map<string, number>();
  const isSilent = (address: string, port: number) => (silent.get(`${address} ${port}`) ?? -1) > monotonic();
  const note = (address: string, port: number): void => {
    silent.delete(`${address} ${port}`);
    const [oldest] = silent.size < maxSilent ? [] : silent.keys();
    if (oldest !== undefined) silent.delete(oldest);
    silent.set(`${address} ${port}`, monotonic() + silentMs);
  };
  const terms = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 };
  return (address, port, others = []) => {
    if (others.length === 0) return connect({ host: address, port, ...terms });
    const all = [address, ...others].toSorted((one, other) => +isSilent(one, port) - +isSilent(other, port));
    return connect({ ...terms, ...oneAfterTheOther(all, port) })
      .on('connectionAttemptFailed', note)
      .on('connectionAttemptTimeout', note);
  };
}

/** Several addresses for one connection. Node tries them in turn for a name that it looks up: here nobody is asked. */
function oneAfterTheOther(addresses: readonly string[], port: number): TcpNetConnectOpts {
  const all = addresses.map((address) => ({ address, family: isIP(address) }));
  return {
    host: 'several.invalid',
    port,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: attemptMs,
    // Not at once: whoever dials hears of the first attempt too.
    lookup: (_name, _options, found) => process.nextTick(found, null, all),
  };
}

const poolBytes = 4096;

/** Random bytes from a pool: one call into the generator for some hundred ids. What is handed out is wiped from the pool at once. */
function pooledRandom(): World['random'] {
  const pool = Buffer.allocUnsafeSlow(poolBytes);
  let used = poolBytes;
  return (bytes) => {
    if (bytes > poolBytes) return randomFillSync(Buffer.allocUnsafeSlow(bytes));
    if (used + bytes > poolBytes) {
      randomFillSync(pool);
      used = 0;
    }
    const taken = Buffer.from(pool.subarray(used, used + bytes));
    pool.fill(0, used, used + bytes);
    used += bytes;
    return taken;
  };
}

/** Names that are remembered as found. */
const maxKnown = 4096;
/** How long a name waits for its turn, milliseconds: nobody waits longer for its addresses. */
const turnMs = 8000;

/**
 * Looks up names that were found before at once, and of all others one at a time. The system looks up two names at a time, and takes 10 s and
 * more to give up one whose servers are silent: an agent that calls a pattern of hosts by ever new names would hold up all tools and services.
 */
export function knownFirst(look: World['resolve'], monotonic: World['monotonic']): World['resolve'] {
  const known = new Set<string>();
  let before: Promise<unknown> = Promise.resolve();
  const ask = async (host: string): Promise<readonly string[]> => {
    // The youngest last: names that are in use stay.
    const found = await look(host).finally(() => known.delete(host));
    known.add(host);
    const [oldest] = known.size > maxKnown ? known : [];
    if (oldest !== undefined) known.delete(oldest);
    return found;
  };
  return (host) => {
    if (known.has(host)) return ask(host);
    const askedAt = monotonic();
    const turn = before.then(() => {
      if (monotonic() - askedAt >= turnMs) throw new Error('it waited too long for its turn');
      return ask(host);
    });
    before = turn.catch(() => undefined);
    return turn;
  };
}

async function resolveBySystem(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true });
  return found.map((entry) => entry.address);
}

function resolveAt(servers: readonly string[]): World['resolve'] {
  const resolver = new Resolver({ timeout: 1000, tries: 2 });
  resolver.setServers(servers);
  return async (host) => {
    const [v4, v6] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const found = [...(v4.status === 'fulfilled' ? v4.value : []), ...(v6.status === 'fulfilled' ? v6.value : [])];
    if (found.length === 0) throw v4.status === 'rejected' ? v4.reason : new Error(`no address for ${host}`);
    return found;
  };
}
