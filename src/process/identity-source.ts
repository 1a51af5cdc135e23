/**
 * Who may have which certificate in a cluster, and from whom: the API server judges tokens, Pods
 * say who lives where, and the CA is in a Secret.
 */
import { MeshCertificateAuthority } from "../control/certificate-authority.ts";
import { CaSecret } from "../control/cluster/ca-secret.ts";
import type { Duty } from "../control/cluster/cluster-duties.ts";
import { RootRotation } from "../control/cluster/root-rotation.ts";
import { rootsDuty } from "../control/cluster/roots-duty.ts";
import type { ControlPlane } from "../control/control-plane.ts";
import type { Authenticator } from "../control/serve/authenticator.ts";
import type { NodeIdentitySource } from "../control/serve/node-identities.ts";
import { PodIdentities } from "../control/serve/pod-identities.ts";
import { TokenReviews } from "../control/serve/token-reviews.ts";
import { LocalTokens } from "../control/serve/tokens.ts";
import type { KubernetesSource } from "../control/source/kubernetes/kubernetes-source.ts";

/** What the control plane gives identities by. */
export interface IdentitySource {
  readonly authority: MeshCertificateAuthority;
  readonly authenticator: Authenticator;
  readonly nodeIdentities?: NodeIdentitySource;
  /** Of the leader. */
  readonly duties: readonly Duty[];
  close(): void;
}

/** Beside files: root and token key are in the state directory. */
export async function localIdentities(
  directory: string,
  trustDomain: string,
): Promise<IdentitySource> {
  const authority = await MeshCertificateAuthority.open({ directory, trustDomain });
  const authenticator = await LocalTokens.open(directory);
  return { authority, authenticator, duties: [], close: () => {} };
}

/** Throws CONFIGURATION_INVALID or KUBERNETES_UNAVAILABLE when the CA cannot be had. */
export async function clusterIdentities(
  { client }: KubernetesSource,
  control: ControlPlane,
): Promise<IdentitySource> {
  const { rootNamespace: namespace, trustDomain } = control.current.settings;
  const secret = new CaSecret({ client, namespace });
  const root = await secret.open(trustDomain);
  const authority = new MeshCertificateAuthority(root);
  const rotation = new RootRotation(authority, root);
  const closing = new AbortController();
  void secret.follow((next) => rotation.begin(next), closing.signal);
  return {
    authority,
    authenticator: new TokenReviews(client),
    nodeIdentities: new PodIdentities(control),
    duties: [rootsDuty({ client, control, roots: authority })],
    close: () => {
      closing.abort();
      rotation.close();
    },
  };
}
