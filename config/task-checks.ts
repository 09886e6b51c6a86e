import { suggest } from './nearness.ts';
import { isGraver } from './risks.ts';
import type { Finding } from './shape-errors.ts';
import type { Written } from './written.ts';

/** Rules are named in answers, events and metrics, so a name must mean one rule. */
export function checkRules(written: Written): readonly Finding[] {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (let index = 0; index < written.count(['rules']); index++) {
    const path = ['rules', index, 'name'];
    const name = written.text(path);
    if (name === undefined) continue;
    if (seen.has(name))
      findings.push({ path, message: 'a rule of this name stands above already; every rule needs a name of its own' });
    seen.add(name);
  }
  return findings;
}

/** Only Linux tells to whom a connection belongs: elsewhere every handle would be refused. */
export function checkPeerBinding(written: Written, platform: string = process.platform): readonly Finding[] {
  if (platform === 'linux') return [];
  const bind = written.text(['tasks', 'bind']) ?? 'none';
  return [
    { path: ['agent', 'uid'], to: 'a user id', isAsked: written.has(['agent', 'uid']) },
    { path: ['agent', 'executable'], to: 'an executable', isAsked: written.has(['agent', 'executable']) },
    { path: ['tasks', 'bind'], to: bind === 'uid' ? 'a user id' : 'a process', isAsked: bind !== 'none' },
  ]
    .filter(({ isAsked }) => isAsked)
    .map(({ path, to }) => ({
      path,
      message: `binds handles to ${to}, which needs Linux; this is ${platform}. Remove it here`,
    }));
}

/** Purposes name tools that exist. */
export function checkPurposes(written: Written): readonly Finding[] {
  return written.names(['purposes']).flatMap((name) => checkToolNames(written, ['purposes', name, 'tools']));
}

/** The standing task has no user: its tools must take that, and its purpose must admit them. */
export function checkStanding(written: Written): readonly Finding[] {
  const tools = ['tasks', 'standing', 'tools'];
  const findings = [...checkToolNames(written, tools)];
  const purpose = written.text(['tasks', 'standing', 'purpose']);
  const purposes = written.names(['purposes']);
  if (purpose !== undefined && purposes.length > 0 && !purposes.includes(purpose)) {
    findings.push({
      path: ['tasks', 'standing', 'purpose'],
      message: `is not one of \`purposes\`${suggest(purpose, purposes)}`,
    });
  }
  for (const [path, name] of written.texts(tools)) {
    if (!written.has(['tools', name, 'token']) && !written.has(['tools', name, 'secret'])) continue;
    const onBehalfOf = written.text(['tools', name, 'on_behalf_of']) ?? 'user';
    if (onBehalfOf === 'user' || onBehalfOf === 'workload') {
      findings.push({
        path,
        message: `tool \`${name}\` is \`on_behalf_of: ${onBehalfOf}\`; the standing task needs \`agent\` or \`any\``,
      });
    }
    const fault = purpose !== undefined && purposes.includes(purpose) ? findUnfit(written, purpose, name) : undefined;
    if (fault !== undefined) findings.push({ path, message: `the purpose of the standing task ${fault}` });
  }
  return findings;
}

/** Why a purpose does not admit a tool: the standing task is opened with the tools that it lists, and nobody looks again. */
function findUnfit(written: Written, purpose: string, tool: string): string | undefined {
  if (!written.texts(['purposes', purpose, 'tools']).some(([, name]) => name === tool))
    return `does not admit tool \`${tool}\``;
  const limit = written.text(['purposes', purpose, 'risk']);
  const risk = written.text(['tools', tool, 'risk']) ?? 'read';
  return limit !== undefined && isGraver(risk, limit)
    ? `admits risk ${limit} at most; tool \`${tool}\` is ${risk}`
    : undefined;
}

/** A name with a slip in it would silently admit nothing, or later something else. */
function checkToolNames(written: Written, path: readonly string[]): readonly Finding[] {
  const tools = written.names(['tools']);
  return written
    .texts(path)
    .filter(([, name]) => !tools.includes(name))
    .map(([at, name]) => ({ path: at, message: `no tool of this name is in \`tools\`${suggest(name, tools)}` }));
}
