import { request, type IncomingMessage } from 'node:http';

/** Somebody who follows the record over the operator's socket. */
export interface Follower {
  readonly response: IncomingMessage;
  text(): string;
  readonly ended: Promise<void>;
  leave(): void;
}

/** Asks for the events. @param query as `?after=5`. */
export function followRecord(socketPath: string, query = ''): Promise<Follower> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: `/v1/events${query}`, agent: false });
    asked.on('error', reject);
    asked.on('response', (response: IncomingMessage) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      const ended = new Promise<void>((done) => response.on('close', done).on('error', () => done()));
      resolve({ response, text: () => text, ended, leave: () => void asked.destroy() });
    });
    asked.end();
  });
}
