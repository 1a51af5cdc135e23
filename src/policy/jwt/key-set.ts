/**
 * The public keys of an issuer (RFC 7517), and signatures checked with them (RFC 7518, RFC 8037).
 * Only asymmetric algorithms are known, so that no public key can be taken for a shared secret, and
 * `none` is none of them.
 */
import { constants, createPublicKey, type JsonWebKey, type KeyObject, verify } from "node:crypto";
import type { Token } from "./token.ts";

interface Algorithm {
  /** `asymmetricKeyType` of the keys it takes. */
  readonly keyType: "rsa" | "ec" | "ed25519";
  readonly hash: string | null;
  readonly isPss?: boolean;
  readonly curve?: string;
}

const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  RS256: { keyType: "rsa", hash: "sha256" },
  RS384: { keyType: "rsa", hash: "sha384" },
  RS512: { keyType: "rsa", hash: "sha512" },
  PS256: { keyType: "rsa", hash: "sha256", isPss: true },
  PS384: { keyType: "rsa", hash: "sha384", isPss: true },
  PS512: { keyType: "rsa", hash: "sha512", isPss: true },
  ES256: { keyType: "ec", hash: "sha256", curve: "prime256v1" },
  ES384: { keyType: "ec", hash: "sha384", curve: "secp384r1" },
  ES512: { keyType: "ec", hash: "sha512", curve: "secp521r1" },
  EdDSA: { keyType: "ed25519", hash: null },
};

interface PublicKey {
  readonly id: string;
  /** "" when the key does not say. */
  readonly algorithm: string;
  readonly key: KeyObject;
}

/** Of one issuer; more could be tried for each token without a `kid`. */
const KEYS_MAX = 100;

export type SignatureVerdict = "valid" | "invalid" | "noKey" | "unknownAlgorithm";

export class KeySet {
  readonly #keys: readonly PublicKey[];

  /** Keys that cannot be read, or are for something else, are left out. */
  constructor(jwks: string) {
    const { keys } = JSON.parse(jwks) as { keys: readonly unknown[] };
    this.#keys = keys.slice(0, KEYS_MAX).flatMap((key) => readKey(key) ?? []);
  }

  verify({ algorithm: name, keyId, signed, signature }: Token): SignatureVerdict {
    const algorithm = Object.hasOwn(ALGORITHMS, name) ? ALGORITHMS[name] : undefined;
    if (algorithm === undefined) return "unknownAlgorithm";
    let hasKey = false;
    for (const { id, algorithm: keyAlgorithm, key } of this.#keys) {
      if (keyId !== "" && id !== "" && id !== keyId) continue;
      if ((keyAlgorithm !== "" && keyAlgorithm !== name) || !fits(key, algorithm)) continue;
      hasKey = true;
      if (isSigned(algorithm, signed, key, signature)) return "valid";
    }
    return hasKey ? "invalid" : "noKey";
  }
}

function readKey(value: unknown): PublicKey | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kid, alg, use } = value as Record<string, unknown>;
  if (use !== undefined && use !== "sig") return undefined;
  try {
    const key = createPublicKey({ key: value as JsonWebKey, format: "jwk" });
    return {
      id: typeof kid === "string" ? kid : "",
      algorithm: typeof alg === "string" ? alg : "",
      key,
    };
  } catch {
    return undefined;
  }
}

function fits(key: KeyObject, { keyType, curve }: Algorithm): boolean {
  if (key.asymmetricKeyType !== keyType) return false;
  return curve === undefined || key.asymmetricKeyDetails?.namedCurve === curve;
}

function isSigned(
  { hash, isPss }: Algorithm,
  signed: Buffer,
  key: KeyObject,
  signature: Buffer,
): boolean {
  const padding = isPss
    ? {
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      }
    : {};
  try {
    return verify(hash, signed, { key, dsaEncoding: "ieee-p1363", ...padding }, signature);
  } catch {
    return false;
  }
}
