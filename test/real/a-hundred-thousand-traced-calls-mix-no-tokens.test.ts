import { expect, type TestContext, test } from 'vitest';
import { type FoundAgent, findNodeAgent, findPythonAgent } from '../stage/traced-agents.ts';
import { callTraced, type CrowdSize, type TracedOutcome } from '../stage/traced-crowd.ts';

/** Together 2,000 tasks and 102,000 calls that a tool should get, so that at least 100,000 come to theirs; beside them each task makes two that none may get. */
const shares: readonly { name: string; find: () => Promise<FoundAgent>; size: CrowdSize }[] = [
  {
    name: 'Node.js',
    find: findNodeAgent,
    size: { users: 200, tasks: 1600, atOnce: 48, during: 26, late: 25 },
  },
  {
    name: 'Python',
    find: findPythonAgent,
    size: { users: 200, tasks: 400, atOnce: 16, during: 26, late: 25 },
  },
];

const sumOf = (counts: Readonly<Record<string, number>>, pattern: RegExp): number =>
  Object.entries(counts).reduce((sum, [name, count]) => (pattern.test(name) ? sum + count : sum), 0);

test.for(shares)(
  'W11: 200 users, 20 tools, one agent for $name with OpenTelemetry: no call goes out with a token of another task, user or tool',
  { timeout: 600_000 },
  async ({ name, find, size }, context: TestContext) => {
    const agent = await find();
    if ('missing' in agent) context.skip(agent.missing);
    const found = await callTraced(agent, size);
    tell(name, found);
    const { outcomes, record } = found;
    const meant = size.tasks * (size.during + size.late);
    expect([found.wrong.slice(0, 5), record.wrong.slice(0, 5)]).toEqual([[], []]);
    expect(found.unanswered).toEqual([]);
    expect(record.tasks).toBe(size.tasks);
    // Each call is there, whatever it came to; almost all of them had their tool, in spite of the faults.
    expect(sumOf(outcomes, /^(?:during|parallel|late) /)).toBe(meant);
    expect(sumOf(outcomes, /answer-of-another/)).toBe(0);
    expect(sumOf(outcomes, /^(?:during|parallel|late) ok$/)).toBeGreaterThan(meant * 0.95);
    // What went out was named by its trace, and by nothing else.
    expect(Object.keys(record.admitted)).toEqual(['trace']);
    expect(record.admitted['trace']).toBeGreaterThanOrEqual(found.delivered);
    // Behind the end of the task, and at a tool that is too grave, nothing goes out.
    expect(outcomes).toMatchObject({ 'gone handle_ended': size.tasks, 'grave task_unknown': size.tasks });
    expect(sumOf(outcomes, /^(?:gone|grave) /)).toBe(size.tasks * 2);
    expect(sumOf(record.refused, /^handle_ended trace$/)).toBeGreaterThanOrEqual(size.tasks);
    expect(found.faults).toBeGreaterThan(5);
  },
);

function tell(name: string, { outcomes, record, ...found }: TracedOutcome): void {
  const rate = Math.round(found.delivered / found.seconds);
  console.log(
    `${name}: ${record.tasks} tasks, ${found.delivered} calls delivered with ${found.tokens} tokens in ${found.seconds.toFixed(0)} s ` +
      `(${rate}/s); the token service was asked ${found.exchanges} times and had ${found.faults} faults`,
    { outcomes, admitted: record.admitted, refused: record.refused },
  );
}
