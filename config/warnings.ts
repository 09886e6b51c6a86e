import { isLoopbackAddress } from './addresses.ts';
import { meantFor } from './client-auth.ts';
import { findInboundWarnings } from './inbound-warnings.ts';
import { findOverlapping } from './overlaps.ts';
import { isGraver } from './risks.ts';
import type { Dialect } from './service-profiles.ts';
import type { Settings } from './settings.ts';
import type { ToolSettings } from './tools.ts';
import { listOpen } from './unsafe.ts';

/** What is allowed and yet is likely a mistake: one sentence each, for `waybill validate`. */
export function findWarnings(settings: Settings): readonly string[] {
  return [
    ...findOverlaps([...settings.tools.values()]),
    ...findDeadEnds(settings),
    ...[...settings.tools.values()].flatMap(findLoopbackMistakes),
    ...listOpen(settings).map(
      ([name, { address }]) => `${name}: ${address} is not loopback; other machines may reach it.`,
    ),
    ...findUnused(settings),
    ...findInboundWarnings(settings),
  ];
}

/** More pairs of tools than a person reads; each of many tools may overlap with each. */
const maxOverlaps = 100;

/** Pairs of tools that a call could both be; which of them it is, is settled, but not always what was meant. */
function findOverlaps(tools: readonly ToolSettings[]): readonly string[] {
  const warnings: string[] = [];
  const pairs = findOverlapping(tools);
  let next = pairs.next();
  for (; next.done !== true; next = pairs.next()) {
    if (warnings.length === maxOverlaps) return [...warnings, 'tools: there are more overlaps than these.'];
    const [tool, other] = next.value;
    warnings.push(
      `tools.${tool.name} and tools.${other.name} overlap: some calls match both. Such a call is one of the tool with the more exact host, then a named port, then the longer of the path patterns that fit the call, then the earlier line.${portGap(tool, other) || portGap(other, tool)}`,
    );
  }
  return next.value ? warnings : [...warnings, 'tools: there are too many path patterns to find all overlaps.'];
}

/** A `dial` takes calls of every port to one server: there, what is ruled for one port is not ruled for the others. */
function portGap(ported: ToolSettings, other: ToolSettings): string {
  const { match, dial } = ported;
  const isSame = dial !== undefined && dial.address === other.dial?.address && dial.port === other.dial.port;
  if (!isSame || match.port === undefined || other.match.port !== undefined) return '';
  return ` tools.${ported.name} takes calls at port ${match.port} only; the same call on any other port is one of tools.${other.name}, and reaches the same server (\`dial\`).`;
}

/** Tools and purposes that no call can use as things stand. */
function findDeadEnds(settings: Settings): readonly string[] {
  const warnings: string[] = [];
  const { standing } = settings.tasks;
  const tools = [...settings.tools.values()];
  if (tools.length > 0 && !settings.rules.some((rule) => rule.effect === 'allow' && rule.mode === 'enforce')) {
    warnings.push('rules: no rule allows anything, so every call will be denied.');
  }
  const closed = standing === 'off' && settings.inbound === undefined && openersOf(settings).length === 0;
  if (closed && tools.some((tool) => (tool.token ?? tool.secret) !== undefined)) {
    warnings.push(
      'trust.issuers: no issuer with an `audience` is listed, so no task can be opened with a subject token.',
    );
  }
  for (const tool of tools) {
    const admitted = standing !== 'off' && standing.tools.includes(tool.name);
    if ((tool.token ?? tool.secret) !== undefined && tool.on_behalf_of === 'agent' && !admitted) {
      warnings.push(`tools.${tool.name}: is \`on_behalf_of: agent\`, but \`tasks.standing\` does not list it.`);
    }
  }
  for (const purpose of settings.purposes.values()) {
    for (const name of purpose.tools) {
      const risk = settings.tools.get(name)?.risk;
      if (risk !== undefined && purpose.risk !== undefined && isGraver(risk, purpose.risk)) {
        warnings.push(
          `purposes.${purpose.name}: lists tool ${name} of risk ${risk}, but admits ${purpose.risk} at most.`,
        );
      }
    }
  }
  return warnings;
}

/** Tools on this machine: where it says too little, any port is the tool's; where it says another kind of address, none is. */
function findLoopbackMistakes({ name, match, addresses, dial, tls, token, secret }: ToolSettings): readonly string[] {
  if (dial !== undefined) return [];
  if (!addresses.includes('loopback')) {
    if (!isLoopbackAddress(match.host)) return [];
    return [
      `tools.${name}: ${match.host} is loopback, and \`addresses\` does not list \`loopback\`, so every call will be refused.`,
    ];
  }
  // Over https the certificate says who listens, and these are called over https only.
  const proves =
    match.scheme === 'https' || tls.ca !== undefined || tls.spiffe_id !== undefined || token?.proof === 'mtls';
  if ((token ?? secret) === undefined || match.port !== undefined || proves) return [];
  return [
    `tools.${name}: names no port, and may be on loopback: whoever listens at the port that a call names is taken for the tool and gets its credential. Name it in \`match.port\`.`,
  ];
}

/** Issuers whose tokens can open a task. */
function openersOf(settings: Settings) {
  return settings.trust.issuers.filter((issuer) => issuer.audience.length > 0);
}

/** What is written and has no effect. */
function findUnused(settings: Settings): readonly string[] {
  const introspecting = (settings.inbound?.accept ?? []).map((entry) =>
    'issuer' in entry ? entry.introspect : undefined,
  );
  const used = new Set([
    ...[...settings.tools.values()].flatMap((tool) => [
      ...(tool.token?.from ?? []),
      tool.token?.granted_by,
      tool.txn_token?.from,
    ]),
    ...introspecting,
  ]);
  const warnings: string[] = [];
  for (const service of settings.token_services.values()) {
    if (!used.has(service.name)) warnings.push(`token_services.${service.name}: no tool gets its token from here.`);
    else if (service.actor !== 'none' && !isExchanging(service, settings)) {
      const why = 'no tool exchanges a token here, and other grants name no actor: nothing is sent.';
      warnings.push(`token_services.${service.name}.actor: ${why}`);
    }
    for (const [key, methods] of Object.entries(meantFor)) {
      if (!(key in service) || methods.includes(service.client_auth)) continue;
      warnings.push(
        `token_services.${service.name}: \`${key}\` is not used with \`client_auth: ${service.client_auth}\`.`,
      );
    }
  }
  if (settings.purposes.size > 0 && settings.agent.purpose !== '' && !settings.purposes.has(settings.agent.purpose)) {
    warnings.push('agent.purpose: is not one of `purposes`.');
  }
  return warnings;
}

/** Whether a service is asked for a token in exchange for another, by which grant and for what kind of token ever. */
function isExchanging(
  { name, dialect }: { readonly name: string; readonly dialect: Dialect },
  settings: Settings,
): boolean {
  return [...settings.tools.values()].some(
    ({ token, txn_token: txn }) =>
      txn?.from === name ||
      token?.granted_by === name ||
      (token?.from.includes(name) === true && (token.grant ?? dialect.grant) === 'token_exchange'),
  );
}
