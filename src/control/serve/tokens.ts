/**
 * Tokens for proxies where no Kubernetes hands them out: JSON Web Tokens in the form of a projected
 * service-account token, signed with a key in the state directory.
 *
 * Whoever can read `token-key.pem` can speak as every proxy of the mesh, so it is its owner's
 * alone, like the key of the root beside it. There is no revocation: a token ends with its time,
 * and all of them end when the file is removed and the control plane started again.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { jwtVerify, SignJWT } from "jose";
import { Failure } from "../../kit/failure.ts";
import { claimFile } from "../../kit/new-file.ts";
import { type Authenticator, type Caller, unauthenticated } from "./authenticator.ts";

export interface TokenSubject extends Omit<Caller, "podName" | "node"> {
  readonly podName?: string | undefined;
  readonly node?: string | undefined;
}

const ISSUER = "https://waystone.local";
/** The audience that Istio's proxies ask for (its TOKEN_AUDIENCES). */
const AUDIENCE = "istio-ca";
const ALGORITHM = "ES256";
const TOKEN_BYTES_MAX = 16 * 1024;
/** Clocks of two machines differ a little. */
const CLOCK_TOLERANCE_S = 60;
/** Kubernetes' form of names (RFC 1123 subdomain). */
const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Signs tokens, and judges them. */
export class LocalTokens implements Authenticator {
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #now: () => number;

  private constructor(privateKey: KeyObject, now: () => number) {
    this.#privateKey = privateKey;
    this.#publicKey = createPublicKey(privateKey);
    this.#now = now;
  }

  /** Loads the key from the state directory, or makes one there. */
  static async open(directory: string, now: () => number = Date.now): Promise<LocalTokens> {
    const path = join(directory, "token-key.pem");
    const keyPem = (await read(path)) ?? (await make(directory, path));
    let key: KeyObject;
    try {
      key = createPrivateKey(keyPem);
    } catch (caught) {
      throw unusable(path, `is not a PEM private key (${(caught as Error).message})`);
    }
    if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
      throw unusable(path, "is not a key on the curve P-256");
    }
    return new LocalTokens(key, now);
  }

  /** Throws CONFIGURATION_INVALID when a name cannot be one. */
  async issue(subject: TokenSubject, ttlMs: number): Promise<string> {
    const { namespace, serviceAccount, podName, node } = subject;
    for (const name of [namespace, serviceAccount, podName, node]) {
      if (name !== undefined && !NAME.test(name)) {
        throw new Failure("CONFIGURATION_INVALID", `${JSON.stringify(name)} is not a name`);
      }
    }
    const nowS = Math.floor(this.#now() / 1000);
    const claims = {
      "kubernetes.io": {
        namespace,
        serviceaccount: { name: serviceAccount },
        ...(podName === undefined ? {} : { pod: { name: podName } }),
        ...(node === undefined ? {} : { node: { name: node } }),
      },
    };
    return await new SignJWT(claims)
      .setProtectedHeader({ alg: ALGORITHM, typ: "JWT" })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject(`system:serviceaccount:${namespace}:${serviceAccount}`)
      .setIssuedAt(nowS)
      .setNotBefore(nowS)
      .setExpirationTime(nowS + Math.floor(ttlMs / 1000))
      .sign(this.#privateKey);
  }

  async authenticate(token: string | undefined): Promise<Caller> {
    if (token === undefined || token === "") throw unauthenticated("no bearer token");
    if (token.length > TOKEN_BYTES_MAX) throw unauthenticated("the token is too long");
    let payload: Record<string, unknown>;
    try {
      const verified = await jwtVerify(token, this.#publicKey, {
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ["sub", "exp"],
        clockTolerance: CLOCK_TOLERANCE_S,
        currentDate: new Date(this.#now()),
      });
      payload = verified.payload;
    } catch (caught) {
      throw unauthenticated(`the token is refused: ${(caught as Error).message}`, caught);
    }
    return callerOf(payload);
  }
}

function callerOf(payload: Record<string, unknown>): Caller {
  const bound = record(payload["kubernetes.io"]);
  const namespace = nameIn(bound, "namespace");
  const serviceAccount = nameIn(record(bound.serviceaccount), "name");
  if (namespace === undefined || serviceAccount === undefined) {
    throw unauthenticated("the token names no service account");
  }
  if (payload.sub !== `system:serviceaccount:${namespace}:${serviceAccount}`) {
    throw unauthenticated("the token's subject is not its service account");
  }
  const podName = nameIn(record(bound.pod), "name");
  return { namespace, serviceAccount, podName, node: nameIn(record(bound.node), "name") };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function nameIn(fields: Record<string, unknown>, key: string): string | undefined {
  const value = fields[key];
  return typeof value === "string" && NAME.test(value) ? value : undefined;
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (caught) {
    const { code, message } = caught as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw unusable(path, `cannot be read (${message})`);
  }
}

async function make(directory: string, path: string): Promise<string> {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keyPem = privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    if (await claimFile(path, keyPem, 0o600)) return keyPem;
  } catch (caught) {
    throw unusable(path, `cannot be written (${(caught as Error).message})`);
  }
  return (await read(path)) ?? keyPem;
}

function unusable(path: string, what: string): Failure {
  const wayOut = "restore it, or remove it: then a new one is made, and old tokens end";
  return new Failure("CONFIGURATION_INVALID", `${path} ${what}; ${wayOut}`);
}
