import { Agent, request } from 'node:http';

/** What a call under load came to; `status` 0 where the connection broke. */
export interface LoadAnswer {
  readonly path: string;
  readonly status: number;
  readonly body: string;
}

/** One call of a load, through the forward proxy. */
export interface LoadCall {
  /** `http://` and the host of the tool. */
  readonly origin: string;
  readonly path: string;
  readonly headers: Record<string, string>;
}

/** A running load. */
export interface Load {
  readonly answers: LoadAnswer[];
  /** Resolves when `next` has no more and the calls under way have ended. */
  readonly finished: Promise<void>;
  /** Resolves when the calls under way have ended. */
  stop(): Promise<void>;
}

/** Keeps `workers` calls under way, over connections that are kept, until it is stopped or `next` has no more. */
export function startLoad(outbound: string, workers: number, next: () => LoadCall | undefined): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: workers });
  const answers: LoadAnswer[] = [];
  const stop = new AbortController();
  const work = async (): Promise<void> => {
    for (let call = next(); call !== undefined && !stop.signal.aborted; call = next()) {
      const answer = await send(outbound, agent, call);
      answers.push(answer);
      // A sidecar that is gone: others find out as well, and nobody should spin.
      if (answer.status === 0) return;
    }
  };
  const finished = Promise.all(Array.from({ length: workers }, work)).then(() => agent.destroy());
  return {
    answers,
    finished,
    async stop() {
      stop.abort();
      await finished;
    },
  };
}

/** Sends one call with an absolute-form target; never rejects. */
export function send(outbound: string, agent: Agent, call: LoadCall): Promise<LoadAnswer> {
  const [host, port] = outbound.split(':');
  return new Promise((resolve) => {
    const fail = (): void => resolve({ path: call.path, status: 0, body: '' });
    const sent = request(
      {
        host,
        port: Number(port),
        agent,
        path: `${call.origin}${call.path}`,
        headers: { ...call.headers, host: new URL(call.origin).host },
      },
      (response) => {
        let body = '';
        response
          .setEncoding('utf8')
          .on('data', (chunk: string) => (body += chunk))
          .on('end', () => resolve({ path: call.path, status: response.statusCode ?? 0, body }))
          .on('error', fail);
      },
    );
    sent.on('error', fail).end();
  });
}
