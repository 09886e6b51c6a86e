import 'reflect-metadata';
import { X509CrlGenerator, type Extension } from '@peculiar/x509';
import { webcrypto, X509Certificate } from 'node:crypto';
import { RevocationList } from '../../proxy/spiffe/revocation-list.ts';
import type { Minted } from './certificate-mint.ts';

/** What differs from a list that is in force for an hour. */
export interface ListRecipe {
  readonly thisUpdate?: number;
  /** `false` leaves it out. */
  readonly nextUpdate?: number | false;
  readonly issuer?: string;
  readonly extensions?: readonly Extension[];
  readonly hash?: string;
}

/** Makes the revocation list of an authority: DER. */
export async function mintListDer(
  authority: Minted,
  revoked: readonly Minted[],
  recipe: ListRecipe = {},
): Promise<Buffer> {
  const { nextUpdate = Date.now() + 3_600_000 } = recipe;
  const list = await X509CrlGenerator.create(
    {
      issuer: recipe.issuer ?? authority.subject,
      thisUpdate: new Date(recipe.thisUpdate ?? Date.now() - 1000),
      ...(nextUpdate === false ? {} : { nextUpdate: new Date(nextUpdate) }),
      entries: revoked.map(({ der }) => ({ serialNumber: new X509Certificate(der).serialNumber })),
      extensions: [...(recipe.extensions ?? [])],
      signingAlgorithm: { name: authority.keys.privateKey.algorithm.name, hash: recipe.hash ?? 'SHA-256' },
      signingKey: authority.keys.privateKey,
    },
    webcrypto,
  );
  return Buffer.from(list.rawData);
}

export async function mintList(...args: Parameters<typeof mintListDer>): Promise<RevocationList> {
  return RevocationList.parse(await mintListDer(...args));
}
