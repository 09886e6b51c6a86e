import { exchangeRaw, requestBytes, type RawAnswer } from './raw-call.ts';

/** Asks the sidecar itself, in the form of a proxy's client unless `target` is another one. */
export function askOwnDoor(
  outbound: string,
  path: string,
  body: unknown = {},
  headers: Record<string, string> = {},
  target = `http://waybill.local${path}`,
): Promise<RawAnswer> {
  const text = JSON.stringify(body);
  const named = { Host: 'waybill.local', 'Content-Length': String(Buffer.byteLength(text)), ...headers };
  return exchangeRaw(outbound, requestBytes('POST', target, named, text));
}
