import { expect, test } from 'vitest';
import { checkX509Path, InvalidSvidPath } from '../../proxy/spiffe/x509-path.ts';
import { mintAuthority, mintLeaf, nameConstraints, type Minted } from '../fakes/certificate-mint.ts';
import { bundleOf } from '../fakes/trust-bundle.ts';

const root = await mintAuthority(undefined);

/** `ok`, or why a path to this authority of the bundle is refused. */
function reasonOf(chain: readonly Minted[], anchor: Minted): string {
  try {
    checkX509Path(
      chain.map((one) => one.der),
      () => bundleOf(anchor.der),
      Date.now(),
    );
    return 'ok';
  } catch (error) {
    if (error instanceof InvalidSvidPath) return error.reason;
    throw error;
  }
}

const [uri, dns, directory] = [6, 2, 4];
const constraints: readonly [string, Parameters<typeof nameConstraints>, string][] = [
  ['permits the trust domain', [[[uri, 'example.org']]], 'ok'],
  ['permits it in another case', [[[uri, 'Example.ORG']]], 'ok'],
  [
    'permits several',
    [
      [
        [uri, 'a.org'],
        [uri, 'example.org'],
      ],
    ],
    'ok',
  ],
  ['permits another', [[[uri, 'other.org']]], 'name_constraints'],
  ['permits what is below', [[[uri, '.example.org']]], 'name_constraints'],
  ['permits a suffix without a dot', [[[uri, 'ample.org']]], 'name_constraints'],
  ['permits nothing', [[[uri, '']]], 'name_constraints'],
  ['excludes the trust domain', [[], [[uri, 'example.org']]], 'name_constraints'],
  ['excludes all', [[], [[uri, '']]], 'name_constraints'],
  ['excludes another', [[], [[uri, 'other.org']]], 'ok'],
  ['permits and excludes', [[[uri, 'example.org']], [[uri, 'example.org']]], 'name_constraints'],
  ['speaks of DNS names', [[[dns, 'other.org']]], 'ok'],
  ['speaks of directories', [[[directory, '0\0']]], 'name_constraints'],
];

test.for(constraints)('an authority that %s: %s', async ([, names, wanted]) => {
  const anchor = await mintAuthority(undefined, { uris: [], extra: [nameConstraints(...names)] });
  expect(reasonOf([await mintLeaf(anchor)], anchor)).toBe(wanted);
  const signer = await mintAuthority(root, { extra: [nameConstraints(...names)] });
  expect(reasonOf([await mintLeaf(signer), signer], root)).toBe(wanted);
  // Not worked out, so not met by whoever has such a name.
  const named = await mintLeaf(anchor, { dns: ['agent.other.org'] });
  if (names[0][0]?.[0] === dns) expect(reasonOf([named], anchor)).toBe('name_constraints');
});
