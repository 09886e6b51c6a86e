import { isIPv4 } from 'node:net';
import { isLoopbackAddress, parseIpPort, type IpPort } from './addresses.ts';
import type { SettingPath } from './config-errors.ts';
import type { Finding } from './shape-errors.ts';
import { programUrl } from './urls.ts';
import type { Written } from './written.ts';

/** Listeners, with what they listen at when nothing is said. */
const listeners: readonly (readonly [SettingPath, string])[] = [
  [['listen', 'outbound'], '127.0.0.1:15001'],
  [['listen', 'inbound'], '0.0.0.0:15006'],
  [['listen', 'metrics'], '127.0.0.1:15020'],
  [['listen', 'health'], '127.0.0.1:15021'],
  [['operator', 'listen'], '127.0.0.1:15000'],
  [['signals', 'listen'], '127.0.0.1:15022'],
];

/** One of them, as it will be opened. */
interface Listener extends IpPort {
  readonly path: SettingPath;
}

/** What is written is last, so that a fault is reported where a person can change it. Port 0 takes a free one and is left out. */
function listListeners(written: Written): readonly Listener[] {
  return listeners
    .filter(([path]) => path[1] !== 'inbound' || written.has(['inbound']))
    .filter(([path]) => path[0] !== 'signals' || written.has(['signals']))
    .toSorted(([a], [b]) => Number(written.has(a)) - Number(written.has(b)))
    .flatMap(([path, byDefault]) => {
      const place = parseIpPort(written.has(path) ? (written.text(path) ?? '') : byDefault);
      return place === undefined || place.port === 0 ? [] : [{ path, ...place }];
    });
}

/** Whether both would answer at some address; an unspecified one stands for all of its family, and `::` for IPv4 too. */
function meet(a: IpPort, b: IpPort): boolean {
  return a.port === b.port && (a.address === b.address || isAt(a, b.address) || isAt(b, a.address));
}

function isAt({ address }: IpPort, other: string): boolean {
  return address === '::' || (address === '0.0.0.0' && isIPv4(other));
}

/** Two listeners cannot share a port, and would mix up who may reach what. */
export function checkListeners(written: Written): readonly Finding[] {
  const all = listListeners(written);
  return all.flatMap((listener, index) => {
    const other = all.slice(0, index).findLast((earlier) => meet(earlier, listener));
    if (other === undefined) return [];
    return [{ path: listener.path, message: `\`${other.path.join('.')}\` listens at this address and port already` }];
  });
}

/** The program behind the way in is not one of our own listeners: a request would come round again, or reach the operator's side. */
export function checkProgram(written: Written): readonly Finding[] {
  const path = ['inbound', 'forward_to'];
  const place = programUrl.safeParse(written.text(path)).data;
  if (place === undefined) return [];
  // `localhost` is whichever loopback address answers.
  const reaches = (listener: Listener): boolean =>
    place.host === 'localhost'
      ? place.port === listener.port && (isLoopbackAddress(listener.address) || isAt(listener, '127.0.0.1'))
      : meet(listener, { address: place.host, port: place.port });
  const own = listListeners(written).find(reaches);
  return own === undefined
    ? []
    : [{ path, message: `is \`${own.path.join('.')}\` of this sidecar; name the port of the program behind it` }];
}
