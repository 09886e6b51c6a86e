import type { Dispatcher } from 'undici';
import type { AskTool, ToolReply } from '../exchange/resource-metadata.ts';
import type { Lease, Upstreams } from './upstream.ts';

type Question = Parameters<AskTool>[1];

/** Questions of our own to tools, over the connections that their calls use: checked address, name and TLS are those of the call. */
export function openAskTool(upstreams: Upstreams, pseudonym: string): AskTool {
  return async (routed, question) => {
    const { tool, target } = routed.permit.attributed.call;
    const lease = upstreams.take(tool, target.origin, routed.way);
    try {
      return await ask(lease, question, ['Host', target.origin.authority, 'Via', `1.1 ${pseudonym}`]);
    } finally {
      lease.giveBack();
    }
  };
}

function ask(lease: Lease, question: Question, headers: string[]): Promise<ToolReply | undefined> {
  const { method, path, timeoutMs, maxBytes } = question;
  const { promise, resolve } = Promise.withResolvers<ToolReply | undefined>();
  const chunks: Buffer[] = [];
  let size = 0;
  let head = { status: 0, type: '', challenge: '' };
  const finish = (body: string | undefined, isWhole: boolean): void => {
    clearTimeout(timer);
    // What may still come on this connection is not for the next call: it is closed when the lease is given back.
    if (!isWhole) lease.spoil();
    resolve(head.status === 0 ? undefined : { ...head, body });
  };
  const timer = setTimeout(() => {
    head = { ...head, status: 0 };
    finish(undefined, false);
  }, timeoutMs);
  const handler: Dispatcher.DispatchHandler = {
    // Without it undici takes the handler for one of an older kind.
    onRequestStart() {},
    onResponseStart(controller, status) {
      if (status >= 200) head = { status, ...readHeaders(controller.rawHeaders) };
    },
    onResponseData(_controller, chunk) {
      size += chunk.length;
      if (size > maxBytes) finish(undefined, false);
      else chunks.push(chunk);
    },
    // Some servers send a body after a HEAD; it would be read as the answer to the next call.
    onResponseEnd: () => finish(Buffer.concat(chunks).toString('utf8'), method === 'GET'),
    onResponseError() {
      head = { ...head, status: 0 };
      finish(undefined, false);
    },
  };
  const accept = ['Accept', 'application/json'];
  lease.client().dispatch({ method, path, headers: [...headers, ...accept], reset: false }, handler);
  return promise;
}

function readHeaders(raw: unknown): { readonly type: string; readonly challenge: string } {
  const parts: readonly unknown[] = Array.isArray(raw) ? raw : [];
  const all = (wanted: string): readonly string[] =>
    parts.flatMap((name, at) => {
      const isWanted = at % 2 === 0 && String(name).toLowerCase() === wanted;
      return isWanted ? [Buffer.from(String(parts[at + 1]), 'latin1').toString('latin1')] : [];
    });
  return { type: all('content-type')[0] ?? '', challenge: all('www-authenticate').join(', ') };
}
