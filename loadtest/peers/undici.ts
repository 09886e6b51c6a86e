/**
 * Baseline: a bare forwarder with undici. node:http with its defaults in, `Client.dispatch` out over a last-in-first-out list of
 * clients, flat header arrays through. It checks, decides and records nothing. Argument: the upstream's port.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Client, type Dispatcher } from 'undici';
import { bearer, listen } from './baseline.ts';

const origin = `http://127.0.0.1:${process.argv[2]}`;
const idle: Client[] = [];

/** Carries one answer to the client that asked. */
class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;
  readonly #client: Client;

  constructor(response: ServerResponse, client: Client) {
    this.#response = response;
    this.#client = client;
  }

  // Undici calls it without asking whether it is there.
  onRequestStart(): void {}

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const raw = controller.rawHeaders;
    const headers: string[] = [];
    if (Array.isArray(raw)) for (const field of raw) headers.push(field.toString('latin1'));
    this.#response.writeHead(status, headers);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#response.write(chunk);
  }

  onResponseEnd(): void {
    this.#response.end();
    idle.push(this.#client);
  }

  onResponseError(): void {
    idle.push(this.#client);
    if (this.#response.headersSent) this.#response.destroy();
    else this.#response.writeHead(502).end();
  }
}

function forward(request: IncomingMessage, response: ServerResponse): void {
  const url = request.url ?? '/';
  const raw = request.rawHeaders;
  const headers: string[] = [];
  for (let n = 0; n < raw.length; n += 2) {
    const name = raw[n] ?? '';
    headers.push(name, name.length === 13 && name.toLowerCase() === 'authorization' ? bearer : (raw[n + 1] ?? ''));
  }
  const client = idle.pop() ?? new Client(origin);
  const path = url.startsWith('http://') ? url.slice(url.indexOf('/', 7)) : url;
  client.dispatch({ method: request.method ?? 'GET', path, headers }, new Relay(response, client));
}

// The load test sends requests without a body only; a body would be streamed here.
listen(createServer(forward));
