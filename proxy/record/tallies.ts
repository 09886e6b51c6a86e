import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** A number that the way of a call raises without a look-up: prom-client hashes labels at every `inc`. */
export interface Tally {
  value: number;
}

/** Counters of one metric, one for each label set of a closed list; each exists at 0 from its declaration on. */
export class Tallies {
  readonly #children = new Map<string, { values: readonly string[]; tally: Tally }>();

  constructor(registry: Registry, name: string, help: string, labelNames: readonly string[]) {
    const children = this.#children;
    const counter = new Counter({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        counter.reset();
        for (const { values, tally } of children.values()) counter.labels(...values).inc(tally.value);
      },
    });
  }

  /** The tally of a label set, declared at 0 if it is new. Values come from closed sets or the configuration only. */
  of(...values: readonly string[]): Tally {
    const key = values.join('\u0000');
    let child = this.#children.get(key);
    if (child === undefined) {
      child = { values, tally: { value: 0 } };
      this.#children.set(key, child);
    }
    return child.tally;
  }

  /** For a metric without labels whose number is kept elsewhere. */
  readFrom(read: () => number): void {
    this.#children.set('', {
      values: [],
      tally: {
        get value() {
          return read();
        },
      },
    });
  }
}

/** A gauge whose value is asked for when it is scraped. */
export function gaugeOf(registry: Registry, name: string, help: string, read: () => number): void {
  const gauge = new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      gauge.set(read());
    },
  });
}

/** Gauges of one metric by label, set when they are scraped; what is not in the list is not there. */
export function gaugesOf<Label extends string>(
  registry: Registry,
  name: string,
  help: string,
  labelNames: readonly Label[],
  read: () => readonly { readonly labels: Record<Label, string>; readonly value: number }[],
): void {
  const gauge = new Gauge<Label>({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      gauge.reset();
      // Without labels, a reset sets 0, which would say something: that an identity ended in 1970.
      if (labelNames.length === 0) gauge.remove();
      for (const { labels, value } of read()) gauge.set(labels, value);
    },
  });
}

/** One series of a histogram, observed without a look-up. */
export class Lane {
  readonly bounds: readonly number[];
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.bounds.length && value > (this.bounds[at] ?? 0)) at++;
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    this.sum += value;
  }
}

type Series<Label extends string> = Awaited<ReturnType<Histogram<Label>['get']>>['values'];

/** A histogram over lanes, rendered by prom-client when scraped. */
export class LaneHistogram<Label extends string> extends Histogram<Label> {
  readonly #lanes: { readonly labels: Record<Label, string>; readonly lane: Lane }[] = [];
  readonly #name: string;
  readonly #bounds: readonly number[];
  /** Without values: name, help and type as prom-client writes them. */
  readonly #frame: Histogram<Label>;

  constructor(registry: Registry, name: string, help: string, labelNames: readonly Label[], bounds: readonly number[]) {
    super({ name, help, labelNames, buckets: [...bounds], registers: [registry] });
    this.#name = name;
    this.#bounds = bounds;
    this.#frame = new Histogram({ name, help, labelNames, buckets: [...bounds], registers: [] });
  }

  lane(labels: Record<Label, string>): Lane {
    const lane = new Lane(this.#bounds);
    this.#lanes.push({ labels, lane });
    return lane;
  }

  override get(): ReturnType<Histogram<Label>['get']> {
    return this.getForPromString();
  }

  /** What prom-client renders a scrape from, where a metric has it: `get` alone would leave every scrape empty. */
  async getForPromString(): ReturnType<Histogram<Label>['get']> {
    const rendered = await this.#frame.get();
    rendered.values = this.#lanes.flatMap(({ labels, lane }) => this.#series(labels, lane));
    return rendered;
  }

  #series(labels: Record<Label, string>, lane: Lane): Series<Label> {
    let total = 0;
    const buckets = lane.counts.map((count, at) => {
      total += count;
      return { metricName: `${this.#name}_bucket`, labels: { ...labels, le: lane.bounds[at] ?? '+Inf' }, value: total };
    });
    return [
      ...buckets,
      { metricName: `${this.#name}_sum`, labels, value: lane.sum },
      { metricName: `${this.#name}_count`, labels, value: total },
    ];
  }
}
