/** The client as policies speak of it: principal, namespace and service account of its identity. */
import { parseIdentity, principalOf } from "../../model/identity.ts";
import { Memo } from "./memo.ts";

export interface Peer {
  /** The SPIFFE id without `spiffe://`. */
  readonly principal: string | undefined;
  readonly trustDomain: string | undefined;
  /** undefined: the id is not one of a workload. */
  readonly namespace: string | undefined;
  /** `<namespace>/<service account>`, as policies write it. */
  readonly serviceAccount: string | undefined;
}

/** Nobody proven: positive matches fail, negative ones hold (ztunnel; Istio at the waypoint). */
const PLAINTEXT: Peer = {
  principal: undefined,
  trustDomain: undefined,
  namespace: undefined,
  serviceAccount: undefined,
};

const peers = new Memo<Peer>((spiffeId) => {
  const identity = parseIdentity(spiffeId);
  return {
    principal: principalOf(spiffeId),
    trustDomain: identity?.trustDomain,
    namespace: identity?.namespace,
    serviceAccount: identity && `${identity.namespace}/${identity.serviceAccount}`,
  };
});

export function peerOf(sourceIdentity: string | undefined): Peer {
  return sourceIdentity === undefined ? PLAINTEXT : peers.get(sourceIdentity);
}
