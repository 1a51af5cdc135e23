/**
 * The mesh's CA in a cluster: the Secret `cacerts`, where an operator has put one, else
 * `istio-ca-secret`, which is made once; both as istiod has them, so that a mesh keeps its root
 * when its control plane is another.
 *
 * Only these two Secrets are asked for, by name. Several control planes may start at once: the one
 * whose `create` the server takes makes the root.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { Failure } from "../../kit/failure.ts";
import { type Logger, log } from "../../kit/log.ts";
import { makeRoot, type Root } from "../root-store.ts";
import { isRefusal, type KubeClient, type Refusal } from "../source/kubernetes/kube-client.ts";

export interface CaSecretOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  readonly namespace: string;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly logger?: Logger;
}

const PLUGGED_IN = "cacerts";
const OWN = "istio-ca-secret";
const REQUEST_MS = 10_000;

interface Secret {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly data?: Readonly<Record<string, string>> | null;
}

export class CaSecret {
  readonly #options: CaSecretOptions;
  readonly #now: () => number;
  readonly #log: Logger;

  constructor(options: CaSecretOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#log = options.logger ?? log("ca");
  }

  /**
   * Throws CONFIGURATION_INVALID when what is there cannot be used, KUBERNETES_UNAVAILABLE when it
   * cannot be asked for.
   */
  async open(trustDomain: string): Promise<Root> {
    const found = await this.#find();
    if (found !== undefined) return this.#rootOf(found);
    const root = await makeRoot(trustDomain, this.#now());
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    const secret = {
      apiVersion: "v1",
      kind: "Secret",
      type: "istio.io/ca-root",
      metadata: { name: OWN, namespace: this.#options.namespace },
      data: { "ca-cert.pem": base64(root.certificatePem), "ca-key.pem": base64(root.keyPem) },
    };
    const { client } = this.#options;
    const answer = await client.write("create", this.#collection, {}, secret, limit());
    if (!isRefusal(answer)) {
      this.#log.info({ secret: `${this.#options.namespace}/${OWN}` }, "the mesh has a new root");
      return root;
    }
    if (answer.status !== 409) throw unavailable(answer);
    // Another was first.
    const theirs = await this.#find();
    if (theirs === undefined) throw unavailable(answer);
    return this.#rootOf(theirs);
  }

  /** The CA of now; undefined: there is none any more. Throws as `open` does. */
  async find(): Promise<Root | undefined> {
    const found = await this.#find();
    return found && this.#rootOf(found);
  }

  async #find(): Promise<Secret | undefined> {
    for (const name of [PLUGGED_IN, OWN]) {
      const answer = await this.#options.client.get(`${this.#collection}/${name}`, {}, limit());
      if (!isRefusal(answer)) return answer.body as Secret;
      if (answer.status !== 404) throw unavailable(answer);
    }
    return undefined;
  }

  #rootOf(secret: Secret): Root {
    const { namespace } = this.#options;
    return readRoot(secret, `Secret ${namespace}/${secret.metadata.name}`, this.#now());
  }

  get #collection(): string {
    return `/api/v1/namespaces/${this.#options.namespace}/secrets`;
  }
}

function limit(): AbortSignal {
  return AbortSignal.timeout(REQUEST_MS);
}

function unavailable({ status, message }: Refusal): Failure {
  return new Failure("KUBERNETES_UNAVAILABLE", `the CA's Secret: ${status} ${message}`);
}

/** Names of the parts, as istiod's and as a TLS Secret's. */
const PARTS = [
  {
    certificate: "ca-cert.pem",
    key: "ca-key.pem",
    chain: "cert-chain.pem",
    roots: "root-cert.pem",
  },
  { certificate: "tls.crt", key: "tls.key", chain: "tls.crt", roots: "ca.crt" },
] as const;

/** Throws CONFIGURATION_INVALID, with what to do. */
function readRoot({ data }: Secret, what: string, nowMs: number): Root {
  const text = (name: string) => Buffer.from(data?.[name] ?? "", "base64").toString("utf8");
  const parts = PARTS.find(({ certificate, key }) => text(certificate) !== "" && text(key) !== "");
  const refused = (why: string) => {
    const wayOut = "correct it, or remove it and start again for a new root";
    return new Failure("CONFIGURATION_INVALID", `${what} ${why}; ${wayOut}`);
  };
  if (parts === undefined)
    throw refused("has neither ca-cert.pem and ca-key.pem nor tls.crt and tls.key");
  const [signing] = certificatesIn(text(parts.certificate));
  if (signing === undefined) throw refused(`has no PEM certificate in ${parts.certificate}`);
  const keyPem = text(parts.key);
  const roots = certificatesIn(text(parts.roots));
  const chain = certificatesIn(text(parts.chain));
  const problem = problemOf({ signing, keyPem, roots, chain, parts, nowMs });
  if (problem !== undefined) throw refused(problem);
  const { x509 } = signing;
  if (isSelfSigned(x509)) {
    const certificatePem = signing.pem;
    return roots.length === 0
      ? { certificatePem, keyPem }
      : { certificatePem, keyPem, rootsPem: joined([signing, ...roots]) };
  }
  const intermediates = joined([signing, ...chain.filter((one) => !isSelfSigned(one.x509))]);
  return {
    certificatePem: signing.pem,
    keyPem,
    intermediatesPem: intermediates,
    rootsPem: joined(roots),
  };
}

interface Pem {
  readonly pem: string;
  readonly x509: X509Certificate;
}

function certificatesIn(text: string): Pem[] {
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.flatMap((one) => {
    try {
      return [{ pem: `${one}\n`, x509: new X509Certificate(one) }];
    } catch {
      return [];
    }
  });
}

/** Each certificate once. */
function joined(certificates: readonly Pem[]): string {
  return [...new Set(certificates.map(({ pem }) => pem))].join("");
}

function isSelfSigned(x509: X509Certificate): boolean {
  return x509.checkIssued(x509) && x509.verify(x509.publicKey);
}

interface Examined {
  readonly signing: Pem;
  readonly keyPem: string;
  readonly roots: readonly Pem[];
  readonly chain: readonly Pem[];
  readonly parts: (typeof PARTS)[number];
  readonly nowMs: number;
}

function problemOf({ signing, keyPem, roots, chain, parts, nowMs }: Examined): string | undefined {
  const { x509 } = signing;
  try {
    if (!x509.checkPrivateKey(createPrivateKey(keyPem))) {
      return `has a ${parts.key} that does not belong to ${parts.certificate}`;
    }
  } catch {
    return `has no PEM private key in ${parts.key}`;
  }
  if (!x509.ca) return `has a ${parts.certificate} that is no CA's`;
  if (nowMs >= Date.parse(x509.validTo)) return `has expired (${x509.validTo})`;
  if (nowMs < Date.parse(x509.validFrom)) {
    return `is valid only from ${x509.validFrom}: is the clock right?`;
  }
  if (!hangsOn(x509, [...chain], roots) && !isSelfSigned(x509)) {
    return `does not lead from ${parts.certificate} to a certificate in ${parts.roots}`;
  }
  return undefined;
}

/** By way of intermediates, each used once. */
function hangsOn(x509: X509Certificate, chain: readonly Pem[], roots: readonly Pem[]): boolean {
  const isIssuer = (issuer: X509Certificate) =>
    x509.checkIssued(issuer) && x509.verify(issuer.publicKey);
  if (roots.some((root) => isIssuer(root.x509))) return true;
  const next = chain.find(
    (one) => one.x509.fingerprint256 !== x509.fingerprint256 && isIssuer(one.x509),
  );
  if (next === undefined) return false;
  return hangsOn(
    next.x509,
    chain.filter((one) => one !== next),
    roots,
  );
}
