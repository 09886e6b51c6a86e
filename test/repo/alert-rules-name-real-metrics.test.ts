import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { metricNames } from '../../proxy/record/metrics.ts';
import { removeFolder, startSidecar, type SidecarProcess } from '../stage/sidecar-process.ts';
import { readGrouping, readSelectors, readTemplateLabels, valuesOf, type Selector } from './promql-names.ts';
import { readSource } from './sources.ts';

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}
interface UnitTest {
  readonly alert_rule_test?: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[];
}

const folder = 'deploy/prometheus';
const { groups } = parse(readSource(`${folder}/waybill.rules.yaml`)) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const alerts = rules.filter((rule) => rule.alert !== undefined);
const recorded = new Map(rules.flatMap(({ record, expr }) => (record === undefined ? [] : [[record, expr]])));

/** Metrics of Prometheus itself and of the Blackbox exporter. */
const others: ReadonlySet<string> = new Set(['up', 'probe_success']);
/** Metrics and values of labels that a later version brings, with the reason. One leaves this list when it is there. */
const later: ReadonlyMap<string, string> = new Map();
/** Labels of targets: Prometheus sets the first two, the scrape configurations the rest. */
const targetLabels = ['job', 'instance', 'agent', 'machine', 'namespace', 'pod'];

/** Metrics as a sidecar tells them before its first call: for each the label sets of its series. */
let exposed: Map<string, Record<string, string>[]>;
let sidecar: SidecarProcess;

beforeAll(async () => {
  // A token service that is never asked, and a tool with an unsafe setting, so that their series are there.
  sidecar = await startSidecar(`
token_services:
  corp: { issuer: "http://127.0.0.1:9", client_auth: client_secret_basic, client_id: agent, client_secret_file: /dev/null }
tools:
  pay: { match: { host: pay.test }, token: { from: corp, audience: pay }, risk: payment, unsafe_bearer: true }
rules: [{ name: all, effect: allow, when: "true" }]
`);
  exposed = readExposition(await sidecar.metrics());
});
afterAll(async () => {
  await sidecar.stop();
  removeFolder(sidecar.dir);
});

function readExposition(text: string): Map<string, Record<string, string>[]> {
  const names = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name);
  const found = new Map<string, Record<string, string>[]>(names.map((name) => [name, []]));
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const pairs = [...labels.matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)];
    found.get(name)?.push(Object.fromEntries(pairs.map(([, label = '', value = '']) => [label, value])));
  }
  return found;
}

/** The selectors of an expression. One of a recorded metric is one of the metric that its rule begins with. */
function findSources(expression: string): Selector[] {
  return readSelectors(expression).flatMap(({ metric, matchers }) => {
    const made = recorded.get(metric);
    if (made === undefined) return [{ metric, matchers }];
    return findSources(made).map((inner, index) =>
      index === 0 ? { metric: inner.metric, matchers: [...inner.matchers, ...matchers] } : inner,
    );
  });
}

function labelsOf(metric: string): string[] {
  return [...targetLabels, ...(exposed.get(metric) ?? []).flatMap((labels) => Object.keys(labels))];
}

const own = (): Selector[] =>
  rules.flatMap(({ expr }) => findSources(expr)).filter(({ metric }) => !others.has(metric));

test('every metric of the rules is one of the sidecar', () => {
  for (const [name, why] of later) console.log(`later: ${name}, ${why}`);
  const known: readonly string[] = [...metricNames, ...later.keys()];
  expect(own().flatMap(({ metric }) => (known.includes(metric) ? [] : [metric]))).toEqual([]);
  expect([...later.keys()].filter((name) => exposed.has(name))).toEqual([]);
  expect(new Set(own().map(({ metric }) => metric)).size).toBeGreaterThan(8);
});

test('every label and value that the rules select by is on a series that is there from the start', () => {
  const absent = own().flatMap(({ metric, matchers }) =>
    matchers.flatMap((matcher) => {
      const series = exposed.get(metric) ?? [];
      const values = valuesOf(matcher).filter((value) => !later.has(`${matcher.label}="${value}"`));
      if (targetLabels.includes(matcher.label)) return [];
      if (!series.some((labels) => matcher.label in labels)) return [`${metric} has no label ${matcher.label}`];
      const missing = values.filter((value) => !series.some((labels) => labels[matcher.label] === value));
      return missing.map((value) => `${metric} has no ${matcher.label}="${value}"`);
    }),
  );
  expect(absent).toEqual([]);
});

test('every series that a rule selects by equality exists, with all of its matchers at once', () => {
  const selected = own().map(({ metric, matchers }) => ({
    metric,
    exact: matchers.filter(({ op, label }) => op === '=' && !targetLabels.includes(label)),
  }));
  const absent = selected.filter(
    ({ metric, exact }) =>
      exact.length > 0 &&
      exposed.get(metric)?.some((labels) => exact.every(({ label, value }) => labels[label] === value)) !== true,
  );
  expect(absent).toEqual([]);
});

test('the labels that rules group by, join by and write into their texts are there', () => {
  const unknown = rules.flatMap(({ alert, record, expr, annotations = {} }) => {
    const labels = findSources(expr).flatMap(({ metric }) => labelsOf(metric));
    const used = [...readGrouping(expr), ...Object.values(annotations).flatMap(readTemplateLabels)];
    return used.filter((label) => !labels.includes(label)).map((label) => `${alert ?? record}: ${label}`);
  });
  expect(unknown).toEqual([]);
  const scraped = ['scrape.yaml', 'scrape.kubernetes.yaml'].map((file) => readSource(`${folder}/${file}`)).join('');
  expect(targetLabels.slice(2).filter((label) => !new RegExp(`\\b${label}\\b`).test(scraped))).toEqual([]);
});

test('the jobs that rules name are those of the scrape configurations', () => {
  const jobs = rules.flatMap(({ expr }) => readSelectors(expr)).flatMap(({ matchers }) => matchers);
  const named = new Set(jobs.filter(({ label }) => label === 'job').map(({ value }) => value));
  const [machines, compose] = [`${folder}/scrape.yaml`, 'deploy/compose/prometheus.yaml'].map(
    (file) => parse(readSource(file)) as { scrape_configs: { job_name: string }[] },
  );
  const pods = parse(readSource(`${folder}/scrape.kubernetes.yaml`)) as {
    scrape_configs: { relabel_configs: { target_label?: string; replacement?: string }[] }[];
  };
  for (const configured of [machines, compose])
    expect(configured?.scrape_configs.map(({ job_name }) => job_name).toSorted()).toEqual([...named].toSorted());
  const relabelled = pods.scrape_configs.flatMap(({ relabel_configs }) => relabel_configs);
  expect(relabelled.filter(({ target_label }) => target_label === 'job').map(({ replacement }) => replacement)).toEqual(
    [...named].toSorted(),
  );
});

test('every alert pages or makes a ticket, says what it means, and links to its section of the runbooks', () => {
  const headings = [...readSource(`${folder}/runbooks.md`).matchAll(/^## (.+)$/gm)].map(([, text = '']) => text);
  const anchors = headings.map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
  for (const { alert, labels, annotations } of alerts) {
    expect(['page', 'ticket'], alert).toContain(labels?.['severity']);
    expect(Object.keys(annotations ?? {}).toSorted(), alert).toEqual(['description', 'runbook_url', 'summary']);
    const [page, anchor = ''] = (annotations?.['runbook_url'] ?? '').split('#');
    expect(page, alert).toBe('https://waybill.dev/runbooks');
    expect(anchors, alert).toContain(anchor);
  }
  const names = alerts.map(({ alert = '' }) => alert);
  expect(new Set(names).size).toBe(names.length);
  expect(headings.filter((heading) => heading.startsWith('Waybill') && !names.includes(heading))).toEqual([]);
});

test('a replay pages within 30 s, with the intervals and the routing that are shown', () => {
  const { global } = parse(readSource(`${folder}/scrape.yaml`)) as { global: Record<string, string> };
  const [, routing = ''] =
    /^## Routing[\s\S]*?^```yaml\n([\s\S]*?)^```$/m.exec(readSource(`${folder}/runbooks.md`)) ?? [];
  const { route } = parse(routing) as { route: { routes: { matchers: string[]; group_wait: string }[] } };
  const pages = route.routes.find(({ matchers }) => matchers.includes('severity="page"'));
  const waits = [global['scrape_interval'], global['evaluation_interval'], pages?.group_wait].map((text = '') => {
    expect(text).toMatch(/^\d+s$/);
    return Number.parseInt(text, 10);
  });
  // The alert has no `for`. The rest of the 30 s is for a scrape, an evaluation and a message.
  expect(alerts.find(({ alert }) => alert === 'WaybillReplayProven')).not.toHaveProperty('for');
  expect(waits.reduce((sum, wait) => sum + wait, 0)).toBeLessThanOrEqual(25);
  expect(readSource(`${folder}/waybill.rules.intervals.test.yaml`)).toContain(
    `evaluation_interval: ${global['evaluation_interval']}`,
  );
});

test('only alerts about all sidecars together drop the name of the sidecar: one must not hide another', () => {
  const dropping = alerts.filter(({ expr }) => /\bby \(/.test(expr) && !/\bby \([^)]*instance/.test(expr));
  expect(dropping.map(({ alert }) => alert)).toEqual([
    'WaybillJobUnknown',
    'WaybillTargetsVanished',
    'WaybillUnsafeSettings',
  ]);
});

test('every link inside the runbooks leads to a section', () => {
  const text = readSource(`${folder}/runbooks.md`);
  const anchors = [...text.matchAll(/^## (.+)$/gm)].map(([, heading = '']) => heading.toLowerCase());
  const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = '']) => anchor);
  expect(links.length).toBeGreaterThan(0);
  expect(links.filter((anchor) => !anchors.includes(anchor))).toEqual([]);
});

test('every alert has a unit test in which it fires and one in which it is silent', () => {
  const { tests } = parse(readSource(`${folder}/waybill.rules.test.yaml`)) as { tests: UnitTest[] };
  const checks = tests.flatMap(({ alert_rule_test = [] }) => alert_rule_test);
  const fires = new Set(checks.filter(({ exp_alerts = [] }) => exp_alerts.length > 0).map((check) => check.alertname));
  const silent = new Set(checks.filter(({ exp_alerts = [] }) => exp_alerts.length === 0).map((one) => one.alertname));
  const names = alerts.map(({ alert = '' }) => alert);
  expect(names.filter((name) => !fires.has(name))).toEqual([]);
  expect(names.filter((name) => !silent.has(name))).toEqual([]);
});

test('the reading of expressions finds names, and nothing that is none', () => {
  const expression =
    'sum by (job, le) (rate(a_total{x="}\\"b", y!~"c|d"}[5m] offset 1h)) / on (z) b:c:d1 > 1e3 or max_over_time((e - time())[1h:1m]) unless up';
  expect(readSelectors(expression)).toEqual([
    {
      metric: 'a_total',
      matchers: [
        { label: 'x', op: '=', value: '}\\"b' },
        { label: 'y', op: '!~', value: 'c|d' },
      ],
    },
    { metric: 'b:c:d1', matchers: [] },
    { metric: 'e', matchers: [] },
    { metric: 'up', matchers: [] },
  ]);
  expect(readGrouping(expression)).toEqual(['job', 'le', 'z']);
});
