/**
 * SPIFFE identities of workloads: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
 *
 * The parse is strict, as ztunnel's is: exactly these segments, none empty, nothing behind them.
 */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const SPIFFE = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/;

/** The parts of a SPIFFE URI, or `undefined` when it is not one of a workload. */
export function parseIdentity(uri: string): Identity | undefined {
  const found = SPIFFE.exec(uri);
  if (!found) return undefined;
  return { trustDomain: found[1]!, namespace: found[2]!, serviceAccount: found[3]! };
}

/** The SPIFFE URI of an identity. */
export function formatIdentity(identity: Identity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`;
}

/** The principal as policies write it: the SPIFFE URI without `spiffe://`. */
export function principalOf(spiffeId: string): string {
  return spiffeId.startsWith("spiffe://") ? spiffeId.slice("spiffe://".length) : spiffeId;
}
