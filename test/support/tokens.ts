/** Issuers of JSON Web Tokens for tests: keys, and tokens signed with them. */
import {
  constants,
  createPrivateKey,
  createPublicKey,
  type ED25519KeyPairOptions,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";

export type Alg = "RS256" | "RS512" | "PS256" | "ES256" | "ES384" | "EdDSA";

const CURVES = { ES256: "prime256v1", ES384: "secp384r1" } as const;

/**
 * Read from PEM: Node 20 hangs when garbage is collected while a key that `generateKeyPairSync`
 * gave is exported as JWK, because the job that made it shares its lock.
 */
function keyPair(alg: Alg): { privateKey: KeyObject; publicKey: KeyObject } {
  const { privateKey, publicKey } = newKeyPair(alg);
  return { privateKey: createPrivateKey(privateKey), publicKey: createPublicKey(publicKey) };
}

const PEM: ED25519KeyPairOptions<"pem", "pem"> = {
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "pem" },
};

function newKeyPair(alg: Alg): { privateKey: string; publicKey: string } {
  if (alg === "EdDSA") return generateKeyPairSync("ed25519", PEM);
  if (alg === "ES256" || alg === "ES384") {
    return generateKeyPairSync("ec", { namedCurve: CURVES[alg], ...PEM });
  }
  return generateKeyPairSync("rsa", { modulusLength: 2048, ...PEM });
}

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

export class Issuer {
  readonly alg: Alg;
  readonly keyId: string;
  readonly #privateKey: KeyObject;
  readonly publicKey: KeyObject;

  constructor(alg: Alg = "RS256", keyId = "k1") {
    this.alg = alg;
    this.keyId = keyId;
    const { privateKey, publicKey } = keyPair(alg);
    this.#privateKey = privateKey;
    this.publicKey = publicKey;
  }

  /** The public key as JWKS has it. */
  jwk(parts: Record<string, unknown> = {}): Record<string, unknown> {
    return { ...this.publicKey.export({ format: "jwk" }), kid: this.keyId, ...parts };
  }

  jwks(parts: Record<string, unknown> = {}): string {
    return JSON.stringify({ keys: [this.jwk(parts)] });
  }

  token(claims: Record<string, unknown>, header: Record<string, unknown> = {}): string {
    const head = { alg: this.alg, kid: this.keyId, typ: "JWT", ...header };
    return this.signed(`${encode(head)}.${encode(claims)}`);
  }

  signed(text: string): string {
    const key = { key: this.#privateKey, dsaEncoding: "ieee-p1363" as const };
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const hash = this.alg === "EdDSA" ? null : `sha${this.alg.slice(2)}`;
    const options = this.alg.startsWith("PS") ? { ...key, ...pss } : key;
    return `${text}.${sign(hash, Buffer.from(text), options).toString("base64url")}`;
  }
}
