import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Authority } from '../../proxy/embedded/authority.ts';
import { readRecord } from '../stage/event-record.ts';
import type { RawAnswer } from '../stage/raw-call.ts';
import { type Attack, expectEachRefused, expectPasses } from '../stage/refused-way-in.ts';
import { certificateOf, tlsCaller, type ClientCertificate } from '../stage/tls-caller.ts';
import { openDomain, openWayIn, type WayInStage } from '../stage/way-in-stage.ts';

const id = (name: string): string => `spiffe://example.org/${name}`;
let authority: Authority;
let stage: WayInStage;
let planner: ClientCertificate;
let below: ClientCertificate;
let worker: ClientCertificate;

beforeAll(async () => {
  authority = await openDomain();
  stage = await openWayIn({
    authority,
    origin: 'https://agent.example.org',
    inbound: (issuer) => ({
      accept: [
        { issuer, proof: 'mtls', presenters: { planner: id('planner'), workers: `${id('worker')}/**` } },
        { trust_domain: 'example.org', proof: 'mtls' },
      ],
    }),
  });
  const svidOf = async (name: string) => certificateOf(await authority.issueX509(id(name), 3600));
  [planner, below, worker] = [await svidOf('planner'), await svidOf('worker/a'), await svidOf('worker2')];
});
afterAll(() => stage?.close());

async function send(client: ClientCertificate, claims: Record<string, unknown>, scheme = 'Bearer'): Promise<RawAnswer> {
  const token = await stage.to.mint(claims);
  return (await tlsCaller(stage, client)).send({ path: '/x', token, scheme, proof: null });
}

test('a token that is bound to nothing passes from the workload that is named for its client', async () => {
  await expectPasses(stage, 'azp', () => send(planner, { azp: 'planner' }));
  await expectPasses(stage, 'client_id', () => send(planner, { client_id: 'planner', azp: 'planner' }));
  await expectPasses(stage, 'below', () => send(below, { client_id: 'workers' }));
  const admitted = readRecord(stage.sidecar.eventsFile).filter(({ event }) => event === 'call.admitted');
  expect(admitted[0]).toMatchObject({ caller: id('planner'), binding: 'key', subject: { sub: 'alice' } });
});

test('and from nobody else, whatever it says', async () => {
  const attack = (code: string, what: string, run: () => Promise<RawAnswer>): Attack => ({ what, code, send: run });
  const bound = { 'x5t#S256': worker.x5t };
  await expectEachRefused(stage, [
    attack('token_foreign_presenter', 'another workload', () => send(worker, { azp: 'planner' })),
    attack('token_foreign_presenter', 'a name that begins alike', () => send(worker, { azp: 'workers' })),
    attack('token_invalid', 'a client that is not listed', () => send(planner, { azp: 'frontend' })),
    attack('token_invalid', 'no client', () => send(planner, { client_id: undefined })),
    attack('token_invalid', 'two clients', () => send(planner, { client_id: 'planner', azp: 'frontend' })),
    attack('token_invalid', 'a list', () => send(planner, { azp: ['planner'] })),
    attack('token_invalid', 'as DPoP', () => send(planner, { azp: 'planner' }, 'DPoP')),
    attack('token_invalid', 'bound to a key', () => send(planner, { azp: 'planner', cnf: { jkt: 'A'.repeat(43) } })),
    attack('token_invalid', 'bound to something new', () => send(planner, { azp: 'planner', cnf: { other: 'x' } })),
    attack('token_foreign_presenter', 'bound to the certificate of another', () =>
      send(planner, { azp: 'planner', cnf: bound }),
    ),
  ]);
});
