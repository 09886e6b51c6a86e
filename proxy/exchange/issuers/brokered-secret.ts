import { join } from 'node:path';
import type { ToolSettings } from '../../../config/tools.ts';
import type { Call } from '../../intercept/call.ts';
import type { Tool } from '../../intercept/tool-catalogue.ts';
import { Refusal, UnprovenRefusal, whyUnread } from '../../refusal.ts';
import { readBounded } from '../../spiffe/bounded-file.ts';
import { Secret } from '../../trust/secret.ts';
import type { World } from '../../world.ts';

/** A longer one would not fit into the headers that tools take. */
const maxSecretBytes = 8192;
/** A file is read again on the first call after this long: a rotated secret needs no reload, and a removed one stops calls. */
const keptMs = 1000;

/** A shorter password would be met by chance in answers that do not hold it. */
const shortestScreened = 8;

type SecretSettings = NonNullable<ToolSettings['secret']>;

/**
 * A static key of a tool, on its way to that tool. It cannot be printed (W8); `headers` and `query` are the ways to the wire. Nothing
 * binds it to a task or a call, so the tool's binding level is `static`.
 */
export class BrokeredSecret {
  readonly #secret: Secret;
  /** The password of `user:password`: a tool may well answer with it alone. */
  readonly #password: Secret | undefined;
  readonly #headers: readonly string[];
  readonly #query: string | undefined;
  /** `secret:` and the tool's name: in events it stands where a token has its service. */
  readonly service: string;
  readonly audience: readonly string[] = [];
  readonly scopes: readonly string[] = [];
  /** It does not end by itself. */
  readonly expiresAtMs = undefined;

  constructor(tool: string, settings: SecretSettings, text: string) {
    this.service = `secret:${tool}`;
    this.#secret = new Secret(text);
    const password = settings.in === 'basic' ? text.slice(text.indexOf(':') + 1) : '';
    this.#password = password.length < shortestScreened ? undefined : new Secret(password);
    const { name = 'Authorization', prefix } = settings;
    const before = prefix ?? (name.toLowerCase() === 'authorization' ? 'Bearer ' : '');
    const inHeader = { header: [name, before + text], basic: ['Authorization', basic(text)], query: [] };
    this.#headers = inHeader[settings.in];
    this.#query = settings.in === 'query' ? `${encodeURIComponent(name)}=${inUrl(text)}` : undefined;
  }

  /** First 16 hex digits of the SHA-256 of the text: its name in events. */
  get id(): string {
    return this.#secret.id;
  }

  /** Headers to inject, flat. */
  headers(): readonly string[] {
    return this.#headers;
  }

  /** What is appended to the query of the request. */
  query(): string | undefined {
    return this.#query;
  }

  /** What is masked in answers. */
  screened(): readonly Secret[] {
    return this.#password === undefined ? [this.#secret] : [this.#secret, this.#password];
  }

  toString(): string {
    return `[secret ${this.id}]`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** What is known of the use of a static key. */
export interface SecretUse {
  /** First 16 hex digits of the SHA-256 of its text, as it was read last. */
  readonly id: string | undefined;
  readonly lastUsedAtMs: number | undefined;
}

/** The static keys of all tools that have one: read on use, each at most once a second. */
export class SecretShelf {
  readonly #world: World;
  readonly #held = new Map<string, { readonly secret: BrokeredSecret; readonly untilMs: number }>();
  readonly #reading = new Map<string, Promise<BrokeredSecret>>();
  readonly #usedAtMs = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** The key for one call. Throws or rejects with a `Refusal`. */
  take({ tool, target }: Call): BrokeredSecret | Promise<BrokeredSecret> {
    const settings = tool.settings.secret;
    if (settings === undefined) throw new Error('a secret for a tool without one');
    // A key that no token service bound to an origin goes only to the one that the configuration means (W2).
    if (target.origin.scheme !== tool.mount.scheme || target.origin.port !== tool.mount.port)
      throw new Refusal('destination_unlisted', `The credential of ${tool.name} is for another scheme or port.`);
    if (settings.in === 'query') checkQuery(target.path, settings.name ?? '');
    this.#usedAtMs.set(tool.name, this.#world.now());
    const held = this.#held.get(tool.name);
    if (held !== undefined && this.#world.monotonic() < held.untilMs) return held.secret;
    return this.#reading.get(tool.name) ?? this.#read(tool, settings);
  }

  /** For the inventory; what is not known yet is undefined. */
  useOf(tool: string): SecretUse {
    return { id: this.#held.get(tool)?.secret.id, lastUsedAtMs: this.#usedAtMs.get(tool) };
  }

  #read({ name }: Tool, settings: SecretSettings): Promise<BrokeredSecret> {
    const reading = readSecret(name, settings)
      .then((text) => {
        const secret = new BrokeredSecret(name, settings, text);
        this.#held.set(name, { secret, untilMs: this.#world.monotonic() + keptMs });
        return secret;
      })
      .finally(() => this.#reading.delete(name));
    this.#reading.set(name, reading);
    return reading;
  }
}

/** Two values of one parameter are read differently by different tools; and the agent's own would be taken for the key. */
function checkQuery(path: string, name: string): void {
  if (!path.startsWith('/')) throw new Refusal('message_malformed', 'This tool takes no request without a path.');
  const start = path.indexOf('?');
  if (start < 0) return;
  const wanted = folded(name);
  for (const pair of path.slice(start + 1).split(/[&;]/)) {
    if (folded(decoded(pair.split('=', 1)[0] ?? '')) === wanted)
      throw new Refusal('header_forbidden', `The query parameter ${name} is set by the sidecar; leave it out.`);
  }
}

/** A name as a tool may read it: without case, up to `[`, and with the signs that some fold into one. */
function folded(name: string): string {
  return name
    .replace(/[[\0].*$/s, '')
    .trim()
    .toLowerCase()
    .replaceAll(/[-. _]/g, '_');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    // A tool may still read the rest of it.
    return text.replaceAll(/%[0-9a-f]{2}/gi, (hex) => String.fromCharCode(Number.parseInt(hex.slice(1), 16)));
  }
}

/** The files that the secret of a tool stands in: one, or one for the user name and one for the password. */
export function secretFiles(tool: string, { file, dir, in: place }: SecretSettings): readonly string[] {
  if (file !== undefined) return [file];
  if (dir === undefined) throw new Error('a secret without a file');
  return (place === 'basic' ? ['username', 'password'] : [tool]).map((name) => join(dir, name));
}

/**
 * The secret of a tool as its next call would get it: one line of printable text, since anything else could end the header that it is
 * put into. Rejects with a `Refusal`, which holds nothing of it.
 */
export async function readSecret(tool: string, settings: SecretSettings): Promise<string> {
  const text = (await Promise.all(secretFiles(tool, settings).map(readText))).join(':');
  if (settings.in === 'basic' && !text.includes(':'))
    throw new UnprovenRefusal('The secret of a tool is no `user:password`.', 'unusable', settings.file);
  return text;
}

/** The content of a file, without the newline that editors and `echo` leave at its end. */
async function readText(file: string): Promise<string> {
  let text: string;
  try {
    text = (await readBounded(file, maxSecretBytes + 2)).toString('latin1').replace(/\r?\n$/, '');
  } catch (error) {
    throw new UnprovenRefusal('The secret of a tool cannot be read.', whyUnread(error), file);
  }
  // Anything else could end the header that it is put into.
  if (text.length > maxSecretBytes || !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text))
    throw new UnprovenRefusal(
      'The secret of a tool is empty, too long or no printable text.',
      text === '' ? 'empty' : 'unusable',
      file,
    );
  return text;
}

/** RFC 3986 2.1, every sign but the unreserved: it comes back in this form, and is known in this form alone. */
function inUrl(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** RFC 7617: `user:password` in base64. */
function basic(text: string): string {
  return `Basic ${Buffer.from(text, 'latin1').toString('base64')}`;
}
