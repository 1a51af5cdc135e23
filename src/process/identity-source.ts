/**
 * Who may have which certificate in a cluster, and from whom: the API server judges tokens, Pods
 * say who lives where, and the CA is in a Secret.
 */
import { CaClient } from "../agent/ca-client.ts";
import { Certificates } from "../agent/certificates.ts";
import { GrpcChannel } from "../agent/grpc-channel.ts";
import { MeshCertificateAuthority } from "../control/certificate-authority.ts";
import { CaSecret } from "../control/cluster/ca-secret.ts";
import { ClusterAuthority } from "../control/cluster/cluster-authority.ts";
import type { Duty } from "../control/cluster/cluster-duties.ts";
import { rootsDuty } from "../control/cluster/roots-duty.ts";
import { RotationRecord } from "../control/cluster/rotation-record.ts";
import { webhookDuty } from "../control/cluster/webhook-duty.ts";
import type { ControlPlane } from "../control/control-plane.ts";
import type { Authenticator } from "../control/serve/authenticator.ts";
import type { NodeIdentitySource } from "../control/serve/node-identities.ts";
import { PodIdentities } from "../control/serve/pod-identities.ts";
import { ServerCertificate, type ServerIdentity } from "../control/serve/server-certificate.ts";
import { TokenReviews } from "../control/serve/token-reviews.ts";
import { LocalTokens } from "../control/serve/tokens.ts";
import type { KubernetesSource } from "../control/source/kubernetes/kubernetes-source.ts";
import { pause } from "../kit/backoff.ts";
import { Failure } from "../kit/failure.ts";
import { log } from "../kit/log.ts";
import { formatIdentity } from "../model/identity.ts";
import type { HostPort } from "../net/listeners.ts";
import type { TlsIdentity } from "../net/tls.ts";

const TTL_MS = 24 * 3_600_000;
const RETRY_MS = 500;

/** What the control plane knows callers by, gives identities by, and is known by itself. */
export interface IdentitySource {
  /** Undefined: certificates are somebody else's to give. */
  readonly authority: MeshCertificateAuthority | undefined;
  readonly authenticator: Authenticator;
  /** The control plane's own, for the names under which proxies dial it. */
  certificate(names: readonly string[]): Promise<OwnCertificate>;
  readonly nodeIdentities?: NodeIdentitySource;
  /** Of the leader. */
  readonly duties: readonly Duty[];
  close(): void;
}

export interface OwnCertificate {
  /** For the next handshake. */
  readonly current: ServerIdentity;
  close(): void;
}

/** From the CA that it has itself; another one when that changes. */
async function ownCertificate(
  authority: MeshCertificateAuthority,
  names: readonly string[],
): Promise<OwnCertificate> {
  const certificate = await ServerCertificate.issue({ authority, names });
  authority.onRoots(() => certificate.renew());
  return certificate;
}

/** Beside files: root and token key are in the state directory. */
export async function localIdentities(
  directory: string,
  trustDomain: string,
): Promise<IdentitySource> {
  const authority = await MeshCertificateAuthority.open({ directory, trustDomain });
  const authenticator = await LocalTokens.open(directory);
  const certificate = (names: readonly string[]) => ownCertificate(authority, names);
  return { authority, authenticator, certificate, duties: [], close: () => {} };
}

/** Throws CONFIGURATION_INVALID or KUBERNETES_UNAVAILABLE when the CA cannot be had. */
export async function clusterIdentities(
  { client }: KubernetesSource,
  control: ControlPlane,
): Promise<IdentitySource> {
  const { rootNamespace: namespace, trustDomain } = control.current.settings;
  const opened = await ClusterAuthority.open({
    secret: new CaSecret({ client, namespace }),
    record: new RotationRecord(client, namespace),
    trustDomain,
  });
  const { authority } = opened;
  return {
    authority,
    authenticator: new TokenReviews(client),
    certificate: (names) => ownCertificate(authority, names),
    nodeIdentities: new PodIdentities(control),
    duties: [
      rootsDuty({ client, control, roots: authority }),
      webhookDuty({ client, roots: authority }),
    ],
    close: () => opened.close(),
  };
}

export interface IstiodCa {
  readonly at: HostPort;
  /** PEM of the mesh's roots, and the token that says who we are; read again for each call. */
  readonly roots: () => Promise<string>;
  readonly token: () => Promise<string>;
  readonly clusterId: string;
  /** Of this process. */
  readonly namespace: string;
  readonly serviceAccount: string;
}

/**
 * Beside istiod: certificates are its to give, also our own, which is a workload's. Rejects with
 * CERTIFICATE_UNAVAILABLE when the signal aborts before there is one.
 */
export async function istiodIdentities(
  { client }: KubernetesSource,
  { trustDomain }: { readonly trustDomain: string },
  istiod: IstiodCa,
  signal: AbortSignal,
): Promise<IdentitySource> {
  const { at, roots, token, clusterId, namespace, serviceAccount } = istiod;
  const channel = new GrpcChannel({ ...at, roots, token, clusterId });
  const authority = new CaClient({ channel, impersonates: false });
  const certificates = new Certificates(authority, { ttlMs: TTL_MS, log: log("certificates") });
  const spiffeId = formatIdentity({ trustDomain, namespace, serviceAccount });
  const close = () => {
    certificates.close();
    channel.close();
  };
  // A call may take its time, and nobody waits for it any more.
  signal.addEventListener("abort", close, { once: true });
  let current = servedBy(await obtained(certificates, spiffeId, signal));
  signal.removeEventListener("abort", close);
  certificates.subscribe((identity) => {
    current = servedBy(identity);
  });
  return {
    authority: undefined,
    authenticator: new TokenReviews(client),
    certificate: async () => ({
      get current() {
        return current;
      },
      close: () => {},
    }),
    duties: [],
    close,
  };
}

/** As long as that takes, or the signal lets it: without one nobody can be served. */
async function obtained(
  certificates: Certificates,
  spiffeId: string,
  signal: AbortSignal,
): Promise<TlsIdentity> {
  const givenUp = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  while (!signal.aborted) {
    try {
      const identity = await Promise.race([certificates.get(spiffeId), givenUp]);
      if (identity !== undefined) return identity;
    } catch {
      // It is told and retried there.
      await pause(RETRY_MS, signal);
    }
  }
  throw new Failure("CERTIFICATE_UNAVAILABLE", `none for ${spiffeId} when the start was given up`);
}

function servedBy({ certificatePem, keyPem }: TlsIdentity): ServerIdentity {
  return { certPem: certificatePem, keyPem };
}
