import { resolve } from 'node:path';
import { checkClientAuth, checkIssuerAuthorities } from './client-auth-checks.ts';
import { checkDelegations } from './delegation-checks.ts';
import { checkFleet } from './fleet-checks.ts';
import { checkGrants } from './grant-checks.ts';
import { checkInbound } from './inbound-checks.ts';
import { checkOwnPlaces } from './own-places.ts';
import { checkListeners, checkProgram } from './place-checks.ts';
import { checkServices, checkTrust } from './service-checks.ts';
import { checkSecrets } from './secret-checks.ts';
import type { Finding } from './shape-errors.ts';
import { checkSignals } from './signal-checks.ts';
import { checkPeerBinding, checkPurposes, checkRules, checkStanding } from './task-checks.ts';
import { checkTools } from './tool-checks.ts';
import { checkToolTls } from './tool-tls-checks.ts';
import { checkBundleEndpoints } from './trust-checks.ts';
import { checkTxnTokens } from './txn-token-checks.ts';
import { Written } from './written.ts';

const checks: readonly ((written: Written) => readonly Finding[])[] = [
  checkServices,
  checkClientAuth,
  checkIssuerAuthorities,
  checkTrust,
  checkBundleEndpoints,
  checkTools,
  checkToolTls,
  checkGrants,
  checkSecrets,
  checkTxnTokens,
  checkDelegations,
  checkRules,
  (written) => checkPeerBinding(written),
  checkPurposes,
  checkStanding,
  checkInbound,
  checkSignals,
  checkListeners,
  checkProgram,
  (written) => checkOwnPlaces(written, undefined, (path) => resolve(path)),
  checkFleet,
];

/** What is wrong between settings that are each good alone. Takes the plain value of the file, so that it never waits for good form. */
export function checkMeaning(value: unknown): readonly Finding[] {
  const written = new Written(value);
  return checks.flatMap((check) => check(written));
}
