/**
 * The agent of the demo: it calls a tool and reads the answer. There is no authentication in it, no proxy and no certificate; what
 * leads its call through the sidecar is its environment alone. Usage: `demo-agent URL`. Prints what it got as one line of JSON.
 */
const url = process.argv[2] ?? '';

try {
  const answer = await fetch(url);
  print({ status: answer.status, body: await answer.json() });
} catch (error) {
  // A proxy that refuses to connect gives fetch no answer that it would show.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : 'unknown cause';
  print({ failed: cause });
}

function print(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
