/**
 * `CreateCertificate`: what proxies obtain their certificates by (protocols.md §2).
 *
 *     token ─> caller ─> identity: the caller's own, or the workload's it may speak for
 *                           └─> request and lifetime ─> the CA signs ─> leaf, …, roots
 *
 * A caller that is refused learns that and nothing more; why stands in the log and in a counter.
 * Only accounts that are trusted as nodes' proxies may ask in another's place, and only for
 * identities of workloads on their own node: a node that is taken over costs what runs on it.
 */
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { CertificateAuthority } from "../../agent/certificates.ts";
import { Failure } from "../../kit/failure.ts";
import { type Logger, log } from "../../kit/log.ts";
import { LogLimit } from "../../kit/log-limit.ts";
import { Turns } from "../../kit/turns.ts";
import { formatIdentity, parseIdentity } from "../../model/identity.ts";
import type { SnapshotSource } from "../../model/snapshot.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { IstioCertificateRequest } from "../../wire/gen/istio/ca_pb.ts";
import { IstioCertificateService } from "../../wire/gen/istio/ca_pb.ts";
import {
  type Authenticator,
  bearerToken,
  type Caller,
  isUnauthenticated,
} from "./authenticator.ts";
import { NodeIdentities, type NodeIdentitySource } from "./node-identities.ts";

export interface CertificateServiceOptions {
  readonly authority: CertificateAuthority;
  readonly authenticator: Authenticator;
  readonly snapshots: Pick<SnapshotSource, "current">;
  readonly registry: MetricRegistry;
  /** Of the snapshots' workloads by default. */
  readonly nodeIdentities?: NodeIdentitySource;
  /** `namespace/service account` of nodes' proxies; Istio's CA_TRUSTED_NODE_ACCOUNTS. */
  readonly trustedNodeAccounts?: readonly string[];
  readonly log?: Logger;
}

export const TRUSTED_NODE_ACCOUNTS: readonly string[] = ["istio-system/ztunnel"];

/** Istio's DEFAULT_WORKLOAD_CERT_TTL and MAX_WORKLOAD_CERT_TTL. */
const TTL_DEFAULT_MS = 24 * 3_600_000;
const TTL_MAX_MS = 90 * 24 * 3_600_000;
/** A certificate takes 3 ms, most of it on this thread: more at a time only wait elsewhere. */
const PARALLEL_SIGNATURES = 4;
/** A mesh of 10,000 identities that starts at once waits; a flood is turned away. */
const WAITING_MAX = 10_000;
/** A certificate request is a few KiB. */
const REQUEST_BYTES_MAX = 1024 * 1024;

type Result =
  | "issued"
  | "unauthenticated"
  | "unavailable"
  | "impersonation_refused"
  | "request_refused"
  | "ttl_refused"
  | "busy"
  | "failed";

/** Ends a call: what is counted and logged, and the little that the caller is told. */
class Refusal extends Error {
  readonly result: Result;
  readonly answer: ConnectError;

  constructor(result: Result, code: Code, answer: string, why: string) {
    super(why);
    this.result = result;
    this.answer = new ConnectError(answer, code);
  }
}

export class CertificateService {
  readonly #options: CertificateServiceOptions;
  readonly #log: Logger;
  readonly #trusted: ReadonlySet<string>;
  readonly #nodeIdentities: NodeIdentitySource;
  readonly #turns = new Turns(PARALLEL_SIGNATURES, WAITING_MAX);
  readonly #requests;
  /** Anybody who reaches the port can be refused as often as they like. */
  readonly #lines = new LogLimit({
    onLeftOut: (result, count) => this.#log.warn({ result, count }, "more refused"),
  });

  constructor(options: CertificateServiceOptions) {
    this.#options = options;
    this.#log = options.log ?? log("ca");
    this.#trusted = new Set(options.trustedNodeAccounts ?? TRUSTED_NODE_ACCOUNTS);
    this.#nodeIdentities = options.nodeIdentities ?? new NodeIdentities(options.snapshots);
    this.#requests = certificateRequests(options.registry);
  }

  /** Mounts the service. */
  readonly routes = (router: ConnectRouter): void => {
    // The message is read before its token is judged: it is to be small.
    router.service(
      IstioCertificateService,
      {
        createCertificate: async (request, context) => ({
          certChain: await this.create(request, context.requestHeader.get("authorization")),
        }),
      },
      { readMaxBytes: REQUEST_BYTES_MAX },
    );
  };

  /** The chain for a request; rejects with what the caller is told. */
  async create(request: IstioCertificateRequest, authorization: string | null): Promise<string[]> {
    let who: { caller?: Caller; spiffeId?: string } = {};
    try {
      const caller = await this.#authenticate(authorization);
      who = { caller };
      const spiffeId = this.#identityOf(caller, request.metadata?.ImpersonatedIdentity);
      who = { caller, spiffeId };
      const ttlMs = lifetime(request.validityDuration);
      const chain = await this.#sign(request.csr, spiffeId, ttlMs);
      this.#requests.child(["issued"]).add(1);
      this.#log.info({ ...who, ttlMs }, "certificate issued");
      return chain;
    } catch (caught) {
      const refusal = asRefusal(caught);
      this.#requests.child([refusal.result]).add(1);
      this.#logRefusal(refusal, who);
      throw refusal.answer;
    }
  }

  #logRefusal({ result, message }: Refusal, who: object): void {
    if (!this.#lines.allows(result)) return;
    const level = result === "failed" ? "error" : "warn";
    this.#log[level]({ ...who, reason: message }, "certificate refused");
  }

  async #authenticate(authorization: string | null): Promise<Caller> {
    try {
      return await this.#options.authenticator.authenticate(bearerToken(authorization));
    } catch (caught) {
      const why = (caught as Error).message;
      if (!isUnauthenticated(caught)) {
        throw new Refusal("unavailable", Code.Unavailable, "tokens cannot be judged now", why);
      }
      const answer = "request authenticate failure";
      throw new Refusal("unauthenticated", Code.Unauthenticated, answer, why);
    }
  }

  #identityOf(caller: Caller, asked: unknown): string {
    const { namespace, serviceAccount } = caller;
    if (asked === undefined || asked === "") {
      const { trustDomain } = this.#options.snapshots.current.settings;
      return formatIdentity({ trustDomain, namespace, serviceAccount });
    }
    const account = `${namespace}/${serviceAccount}`;
    if (!this.#trusted.has(account)) {
      throw impersonation(`${account} is not trusted to speak for others`);
    }
    const identity = typeof asked === "string" ? parseIdentity(asked) : undefined;
    if (identity === undefined) throw impersonation(`${JSON.stringify(asked)} is no identity`);
    if (identity.trustDomain !== this.#options.snapshots.current.settings.trustDomain) {
      throw impersonation(`${asked} is of another trust domain`);
    }
    const node = this.#nodeIdentities.nodeOf(caller);
    if (node === undefined) {
      throw impersonation("the token is not bound to a node, nor to a Pod that the mesh knows");
    }
    if (!this.#nodeIdentities.has(node, identity)) {
      throw impersonation(`no workload on node ${node} is ${asked}`);
    }
    return asked as string;
  }

  async #sign(csrPem: string, spiffeId: string, ttlMs: number): Promise<string[]> {
    if (!this.#turns.hasRoom) {
      const why = `${WAITING_MAX} requests wait already`;
      throw new Refusal("busy", Code.ResourceExhausted, "too many requests; try again", why);
    }
    const { authority } = this.#options;
    const signed = await this.#turns.run(() => authority.sign({ csrPem, spiffeId, ttlMs }));
    return [...certificatesIn(signed.chainPem), signed.rootsPem];
  }
}

export function certificateRequests(registry: MetricRegistry) {
  return registry.counter(
    "waystone_ca_requests_total",
    "Certificates that proxies asked for, by what became of it.",
    ["result"],
  );
}

function impersonation(why: string): Refusal {
  const answer = "request impersonation authentication failure";
  return new Refusal("impersonation_refused", Code.Unauthenticated, answer, why);
}

/** Seconds of the request as milliseconds; none means the default. */
function lifetime(seconds: bigint): number {
  if (seconds <= 0n) return TTL_DEFAULT_MS;
  if (seconds * 1000n <= BigInt(TTL_MAX_MS)) return Number(seconds) * 1000;
  const answer = `the lifetime is longer than ${TTL_MAX_MS / 1000} seconds`;
  throw new Refusal("ttl_refused", Code.InvalidArgument, answer, `a lifetime of ${seconds} s`);
}

/** Each certificate of a PEM text, as a text of its own. */
function certificatesIn(pem: string): string[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.map((text) => `${text}\n`);
}

function asRefusal(caught: unknown): Refusal {
  if (caught instanceof Refusal) return caught;
  const why = caught instanceof Error ? caught.message : String(caught);
  if (caught instanceof Failure && caught.code === "CERTIFICATE_REQUEST_INVALID") {
    const answer = "the certificate request is refused";
    return new Refusal("request_refused", Code.InvalidArgument, answer, why);
  }
  return new Refusal("failed", Code.Internal, "the certificate cannot be issued", why);
}
