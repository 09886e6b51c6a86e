import { exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose';

/** A trust domain with one JWT-SVID key, in the shape that the embedded token service takes. */
export interface MintingDomain {
  readonly trustDomain: string;
  readonly jwks: () => readonly JWK[];
  /** A JWT-SVID of a workload; `claims` and `header` overwrite what a good one has. */
  mint(spiffeId: string, audience: string | string[], claims?: object, header?: object): Promise<string>;
}

/** Makes a trust domain that signs with ES256. */
export async function openMintingDomain(trustDomain: string): Promise<MintingDomain> {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const key: JWK = { ...(await exportJWK(publicKey)), kid: `${trustDomain}-1`, use: 'jwt-svid' };
  return {
    trustDomain,
    jwks: () => [key],
    mint: async (spiffeId, audience, claims = {}, header = {}) => {
      const exp = Math.floor(Date.now() / 1000) + 60;
      return new SignJWT({ sub: spiffeId, aud: audience, exp, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: `${trustDomain}-1`, ...header })
        .sign(privateKey);
    },
  };
}
