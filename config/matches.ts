import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';

/** Says what is wrong with `match.host`; undefined when it is a name, an IP address, `*.name` or `*`. */
function findHostFault(text: string): string | undefined {
  if (text === '*' || isAddress(text)) return undefined;
  if (text.includes('://'))
    return 'must be a host only, without scheme: crm.example.org and not https://crm.example.org';
  if (text.includes('/')) return 'must be a host only; paths go to `match.paths`';
  if (/:\d*$/.test(text)) return 'must be a host only; the port goes to `match.port`';
  const name = text.replace(/^\*\./, '').replace(/\.$/, '');
  if (name.includes('*')) return 'may have a star only as a whole, `*`, or in front, `*.example.org`';
  if (/[^\x21-\x7e]/.test(name)) return 'must be written in ASCII; international names in their xn-- form';
  const labels = name.split('.');
  const wrong = labels.some((label) => !/^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
  // A last label that is a number is read as an IPv4 address by URL parsers (0x7f.1, 2130706433), so two readers could differ.
  if (wrong || name.length > 253 || /^(?:\d+|0[xX][0-9A-Fa-f]*)$/.test(labels.at(-1) ?? '')) {
    return 'must be a host name or an IP address, such as crm.example.org or 10.1.2.3';
  }
  return undefined;
}

/** Zone ids (`fe80::1%eth0`) are refused: they mean something on one machine only. */
function isAddress(text: string): boolean {
  return isIPv4(text) || (isIPv6(text.replace(/^\[(.*)\]$/, '$1')) && !text.includes('%'));
}

/** One normal form, the same as that of a call's target: lower case, no trailing dot, IPv6 compressed and without brackets. */
function normalHost(text: string): string {
  if (!text.includes(':')) return text.toLowerCase().replace(/\.$/, '');
  return new URL(`http://[${text.replace(/^\[(.*)\]$/, '$1')}]/`).hostname.slice(1, -1);
}

const host = z
  .string()
  .check((context) => {
    const fault = findHostFault(context.value);
    if (fault !== undefined)
      context.issues.push({ code: 'custom', message: fault, input: context.value, continue: false });
  })
  .transform(normalHost);

/** Says what is wrong with a path pattern. Paths are compared decoded, so an escape in a pattern could never match. */
function findPathFault(text: string): string | undefined {
  if (!text.startsWith('/')) return 'must start with "/", such as /api/**';
  if (/[?#]/.test(text)) return 'must be a path without query or fragment';
  if (text.includes('%')) return 'must be written decoded, without % escapes';
  if (/[\\;\p{Cc}]|\/\/|\/\.{1,2}(?:\/|$)/u.test(text)) {
    return 'must not hold "//", dot segments, backslashes or ";": calls with such paths are refused anyway';
  }
  if (text.split('/').some((segment) => segment.includes('**') && segment !== '**')) {
    return '`**` must be a whole segment, such as /api/**; within a segment use `*`';
  }
  return undefined;
}

const pathPattern = z
  .string()
  .max(1024)
  .check((context) => {
    const fault = findPathFault(context.value);
    if (fault !== undefined) context.issues.push({ code: 'custom', message: fault, input: context.value });
  });

/** Small letters would be another method, which no tool knows: a rule for it would never match. */
const method = z.string().regex(/^[A-Z][A-Z0-9_-]{0,31}$/, {
  error: 'must be an HTTP method in capitals, such as GET (methods are case-sensitive, RFC 9110, 9.1)',
});

/** Which calls are calls of a tool. */
export const match = z
  .strictObject({
    host: host.meta({
      description:
        'Host of the tool: a name or an IP address; for tools without `token` also `*.example.org` (names below it) or `*`.',
      examples: ['crm.example.org'],
    }),
    port: z
      .int()
      .min(1)
      .max(65_535)
      .optional()
      .meta({
        description: 'Port of the tool.',
        examples: [8443],
        'x-default': 'any',
      }),
    scheme: z
      .enum(['http', 'https'])
      .optional()
      .meta({
        description:
          'Scheme that a mount (`/tools/NAME/…`) calls the tool by; where the agent writes the URL itself, that says it, but a tool with a `token` or `secret` and a written `https` is not called over plain http at all.',
        examples: ['https'],
        'x-default': '`https`; `http` for port 80, `plaintext: unsafe`, and loopback without `tls.ca`',
      }),
    protocol: z
      .literal('http')
      .prefault('http')
      .meta({ description: 'What the tool speaks.', examples: ['http'] }),
    paths: z
      .array(pathPattern)
      .min(1)
      .max(256)
      .readonly()
      .optional()
      .meta({
        description:
          'Paths of the tool: `*` stands for anything within one segment, a `**` segment for any number of segments.',
        examples: [['/api/**']],
        'x-default': 'every path',
      }),
    methods: z
      .array(method)
      .min(1)
      .max(64)
      .readonly()
      .optional()
      .meta({ description: 'HTTP methods of the tool.', examples: [['GET', 'POST']], 'x-default': 'every method' }),
  })
  .readonly();

/** `host` is lower case without trailing dot, IPv6 without brackets; `paths` and `methods` are absent where nothing is ruled by them. */
export type MatchSettings = z.output<typeof match>;
