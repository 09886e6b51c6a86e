import type { ConnectRequest } from '../intercept/tunnel.ts';
import { Refusal } from '../refusal.ts';
import { checkProxyCredential, isStandingFor, type Ladder } from './ladder.ts';

/** Clients that send proxy credentials only after a 407; all others that have any send them at once. */
const waitsForChallenge = /^(?:git|jgit|java|apache-httpclient|mozilla|libsoup|microsoft)\b/i;

/**
 * Judges a CONNECT by its proxy credential, which holds for the whole tunnel. A wrong one refuses here. None at all is challenged only
 * where the client is known to wait for it (git): the calls inside may bring their own handle (rung 1), and a client whose CONNECT
 * is refused cannot even read why. Inside the tunnel, a call without a task gets its 401.
 */
export function checkTunnelCredential(connect: ConnectRequest, ladder: Ladder): void {
  const names = connect.tools.map((tool) => tool.name);
  const { proxyAuthorization, socket } = connect;
  if (proxyAuthorization !== undefined && checkProxyCredential(proxyAuthorization, ladder, names, socket) === 'handle')
    return;
  // A tunnel to the sidecar itself leads to no tool, and what comes in it is judged there.
  if (names.length === 0) return;
  const needsTask = connect.tools.every((tool) => tool.credentialed && !isStandingFor(tool, ladder));
  if (needsTask && (proxyAuthorization !== undefined || waitsForChallenge.test(connect.userAgent))) {
    throw new Refusal(
      'task_unknown',
      'The tools at this destination are used within a task, and the CONNECT names none.',
    );
  }
}
