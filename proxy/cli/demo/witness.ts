import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { exchangeHttp } from '../http-exchange.ts';
import { parseObject, type JsonObject } from '../json-object.ts';

/** The events of one name in a record, oldest first. */
export async function readEvents(file: string, name: string): Promise<readonly JsonObject[]> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  return lines.map(parseObject).filter((event): event is JsonObject => event?.['event'] === name);
}

/** Events of refusals and ends are written in turns of the sidecar's loop, beside its answer: a busy machine takes a while. */
const recordedWithinMs = 5000;

/** The newest event of a name that fits, as soon as it is in the record; undefined where it does not get there. */
export async function awaitEvent(
  file: string,
  name: string,
  fits: (event: JsonObject) => boolean,
): Promise<JsonObject | undefined> {
  for (let waitedMs = 0; waitedMs < recordedWithinMs; waitedMs += 20) {
    const event = (await readEvents(file, name)).findLast(fits);
    if (event !== undefined) return event;
    await sleep(20);
  }
  return undefined;
}

/** Blocked replays by reason, as the sidecar's `/metrics` counts them; every reason is there, most at 0. */
export async function readReplaysBlocked(metricsAddress: string): Promise<Readonly<Record<string, number>>> {
  const { text } = await exchangeHttp({ url: new URL(`http://${metricsAddress}/metrics`) });
  const series = text.matchAll(/^waybill_replays_blocked_total\{(?<labels>[^}]*)\} (?<value>\d+)$/gm);
  const counts: Record<string, number> = {};
  for (const { groups } of series) {
    const reason = /reason="(?<reason>[a-z_]+)"/.exec(groups?.['labels'] ?? '')?.groups?.['reason'];
    if (reason !== undefined) counts[reason] = (counts[reason] ?? 0) + Number(groups?.['value']);
  }
  return counts;
}

/** The same over several sidecars. */
export async function sumReplaysBlocked(
  metricsAddresses: readonly string[],
): Promise<Readonly<Record<string, number>>> {
  const sums: Record<string, number> = {};
  for (const counts of await Promise.all(metricsAddresses.map(readReplaysBlocked))) {
    for (const [reason, count] of Object.entries(counts)) sums[reason] = (sums[reason] ?? 0) + count;
  }
  return sums;
}
