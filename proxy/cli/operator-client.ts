import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { resolve } from 'node:path';
import { isLoopbackAddress } from '../../config/addresses.ts';
import { CommandFailure, exitCodes } from './command.ts';
import { AnswerTooLong, exchangeHttp, NoAnswerInTime } from './http-exchange.ts';
import { parseObject, type JsonObject } from './json-object.ts';

/** Where the operator's API is: its socket, or HTTP with the file of a bearer token. */
export type OperatorPlace = { readonly socket: string } | { readonly url: URL; readonly tokenFile: string };

/** A call to the operator's API that was refused; `body` is its problem+json. */
export class OperatorRefusal extends CommandFailure {
  readonly body: string;

  constructor(status: number, body: string) {
    super(status === 503 ? exitCodes.unavailable : exitCodes.no, sentenceOf(status, body));
    this.body = body;
  }
}

/** Calls the operator's API (WIRE 1). Rejects with `OperatorRefusal`, or with exit code 69 where no sidecar answers. */
export async function callOperator(
  place: OperatorPlace,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
): Promise<JsonObject> {
  const { status, text } = await send(place, method, path, body).catch((error: unknown) => {
    throw absenceOf(place, method, error);
  });
  if (status < 200 || status > 299) throw new OperatorRefusal(status, text);
  const answer = parseObject(text);
  if (answer === undefined) throw noSidecar();
  return answer;
}

/** A count of an answer. Without one, nobody may take what was asked for as done. */
export function countIn(answer: JsonObject, name: string): number {
  const count = answer[name];
  if (typeof count !== 'number') throw noSidecar();
  return count;
}

function noSidecar(): CommandFailure {
  return new CommandFailure(exitCodes.fault, 'what answers there is no sidecar: it may have done nothing');
}

/** One request, by socket or by HTTP. The token is read for each: a rotated one needs nothing else. */
async function send(place: OperatorPlace, method: string, path: string, body: object | undefined) {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const headers = body === undefined ? {} : { 'Content-Type': 'application/json' };
  if ('socket' in place) {
    const url = new URL(path, 'http://localhost');
    return exchangeHttp({ url, socketPath: place.socket, method, headers, ...content });
  }
  checkUrl(place.url);
  const authorization = `Bearer ${readToken(place.tokenFile)}`;
  return exchangeHttp({ url: new URL(path, place.url), method, headers: { ...headers, authorization }, ...content });
}

/** The token opens tasks for any user whose token is at hand: it never leaves the machine unencrypted. */
function checkUrl({ protocol, hostname }: URL): void {
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  const isLoopback = address === 'localhost' || (isIPv6(address) ? address === '::1' : isLoopbackAddress(address));
  if (protocol === 'https:' || (protocol === 'http:' && isLoopback)) return;
  throw new CommandFailure(exitCodes.usage, '--url must be https, or http to this machine (http://127.0.0.1:15000)');
}

/** A token with a line break in it would end the header. */
function readToken(file: string): string {
  const text = readTextFile(file, '--token-file').trim();
  if (!/^[\x21-\x7e]+$/.test(text)) throw new CommandFailure(exitCodes.usage, `${file} must hold one bearer token`);
  return text;
}

/** Text of a file that an option names. Fails with exit code 64 and the reason. */
export function readTextFile(file: string, option: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new CommandFailure(exitCodes.usage, `${option}: ${file} cannot be read (${code})`);
  }
}

/** Nobody there, or nobody who may be spoken to: exit code 69, with what to do about it. */
function absenceOf(place: OperatorPlace, method: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CommandFailure) return error;
  // Whole: whoever asks from another folder than that of the sidecar sees it.
  const where = 'socket' in place ? resolve(place.socket) : place.url.origin;
  if (error instanceof NoAnswerInTime || error instanceof AnswerTooLong) {
    // Whoever thinks that nobody is there would start another one, or ask again for what was done.
    const open = method === 'GET' ? '' : '; what was asked may still be done, or have been: see "waybill tasks list"';
    return new CommandFailure(exitCodes.unavailable, `what listens at ${where} ${error.message}${open}`);
  }
  const code = 'code' in error ? String(error.code) : error.name;
  if (code === 'EACCES' || code === 'EPERM') {
    return new CommandFailure(
      exitCodes.unavailable,
      `this user may not open ${where}; the sidecar runs as another one`,
    );
  }
  const hint = 'socket' in place ? 'start one with "waybill run", or name its --config or --socket' : 'is it running?';
  return new CommandFailure(exitCodes.unavailable, `no sidecar answers at ${where} (${code}): ${hint}`);
}

/** Title, detail and code of a problem+json; of another answer only its status, since its text may be anything. */
function sentenceOf(status: number, body: string): string {
  const problem = parseObject(body);
  const part = (name: string): string | undefined => {
    const value = problem?.[name];
    return typeof value === 'string' ? value : undefined;
  };
  const words = [part('title'), part('detail')].filter(
    (text, at, all) => text !== undefined && all.indexOf(text) === at,
  );
  return words.length === 0 ? `refused with status ${status}` : `${words.join(': ')} (${status} ${part('code') ?? ''})`;
}
