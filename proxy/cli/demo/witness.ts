import { readFile } from 'node:fs/promises';
import { exchangeHttp } from '../http-exchange.ts';
import { parseObject, type JsonObject } from '../json-object.ts';

/** The events of one name in a record, oldest first. */
export async function readEvents(file: string, name: string): Promise<readonly JsonObject[]> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  return lines.map(parseObject).filter((event): event is JsonObject => event?.['event'] === name);
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
