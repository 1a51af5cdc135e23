/**
 * PeerAuthentications: whether plain text is accepted, as DENY policies of ztunnels, which see the
 * lack of an identity. The policy with a selector goes before the namespace's, that before the
 * mesh's (the root namespace's); of several the oldest counts; UNSET asks the next. DISABLE is
 * PERMISSIVE: a ztunnel cannot forbid mutual TLS.
 *
 * STRICT alone is one policy for the whole mesh that workloads name. Exceptions by port stand in a
 * policy of their own, which takes its place. Names and forms are Istio's.
 */
import type { ParsedObject } from "../api/object.ts";
import type { MutualTLSMode, PeerAuthentication } from "../api/peer-authentication.ts";
import type { L4Clause, L4Policy, L4Rule } from "../model/rule.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { EMPTY_MATCH } from "./l4-match.ts";
import { selects } from "./labels.ts";
import {
  compareText,
  createdMsOf,
  type Labels,
  nameOf,
  namespaceOf,
  refOf,
} from "./object-names.ts";
import type { Surroundings } from "./surroundings.ts";

type Mode = "STRICT" | "PERMISSIVE";

export interface PeerFacts {
  readonly namespace: string;
  readonly name: string;
  readonly createdMs: number;
  /** undefined: for all workloads of the namespace, or of the mesh. */
  readonly selector: Labels | undefined;
  /** undefined: UNSET. */
  readonly mode: Mode | undefined;
  /** In order of the ports; without those that are UNSET. */
  readonly ports: readonly (readonly [port: number, mode: Mode])[];
  readonly source: L4Policy["source"];
  readonly position: L4Policy["position"];
}

export type PeerSurroundings = Pick<Surroundings, "settings" | "peerAuthentications">;

export interface TranslatedPeerAuthentication {
  readonly facts: PeerFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

export function translatePeerAuthentication(
  object: ParsedObject<PeerAuthentication>,
  near: Pick<Surroundings, "settings">,
): TranslatedPeerAuthentication {
  const findings = new Findings(object);
  const { selector, mtls, portLevelMtls = {} } = object.value.spec ?? {};
  const labels = selector?.matchLabels ?? {};
  const isSelecting = Object.keys(labels).length > 0;
  const namespace = namespaceOf(object);
  if (isSelecting && namespace === near.settings.rootNamespace) {
    const message = "a selector in the root namespace selects nothing: put it into a namespace";
    findings.report("WS0106", message, ["spec", "selector"]);
    return { facts: undefined, status: findings.status() };
  }
  const given = Object.entries(portLevelMtls);
  if (!isSelecting && given.length > 0) {
    const message = "portLevelMtls has an effect beside a selector alone";
    findings.report("WS0107", message, ["spec", "portLevelMtls"]);
  }
  const ports = given.flatMap(([port, { mode }]) => {
    const known = modeOf(mode);
    return known === undefined ? [] : [[Number(port), known] as const];
  });
  const facts: PeerFacts = {
    namespace,
    name: nameOf(object),
    createdMs: createdMsOf(object),
    selector: isSelecting ? labels : undefined,
    mode: modeOf(mtls?.mode),
    ports: isSelecting ? ports.sort(([a], [b]) => a - b) : [],
    source: refOf(object),
    position: object.position,
  };
  return { facts, status: findings.status() };
}

function modeOf(mode: MutualTLSMode | undefined): Mode | undefined {
  switch (mode) {
    case "STRICT":
      return "STRICT";
    case "PERMISSIVE":
    case "DISABLE":
      return "PERMISSIVE";
    default:
      return undefined;
  }
}

function oldest(all: readonly PeerFacts[]): PeerFacts | undefined {
  return [...all].sort((a, b) => a.createdMs - b.createdMs || compareText(a.name, b.name))[0];
}

/** What holds for workloads of a namespace that no selector takes. */
function namespaceMode(namespace: string, near: PeerSurroundings): Mode {
  const general = (of: string) =>
    oldest(near.peerAuthentications(of).filter(({ selector }) => selector === undefined))?.mode;
  const { rootNamespace } = near.settings;
  const own = namespace === rootNamespace ? undefined : general(namespace);
  return own ?? general(rootNamespace) ?? "PERMISSIVE";
}

const STATIC_STRICT = "istio_converted_static_strict";
/** No name of Kubernetes has an underscore. */
const CONVERTED = "converted_peer_authentication_";

/** Keys of the policies that a workload has to name. */
export function peerPolicyNames(
  namespace: string,
  labels: Labels,
  near: PeerSurroundings,
): readonly string[] {
  const own = oldest(
    near
      .peerAuthentications(namespace)
      .filter(({ selector }) => selector !== undefined && selects(selector, labels)),
  );
  if (own !== undefined && rulesOf(own, near) !== undefined) {
    return [`${namespace}/${CONVERTED}${own.name}`];
  }
  const mode = own?.mode ?? namespaceMode(namespace, near);
  return mode === "STRICT" ? [`${near.settings.rootNamespace}/${STATIC_STRICT}`] : [];
}

const NO_IDENTITY: L4Clause = [{ ...EMPTY_MATCH, notPrincipals: [{ type: "presence" }] }];

/** Of exceptions by port; `undefined`: there are none. */
function rulesOf(facts: PeerFacts, near: PeerSurroundings): readonly L4Rule[] | undefined {
  const { position } = facts;
  const mode = facts.mode ?? namespaceMode(facts.namespace, near);
  const others = facts.ports.filter(([, other]) => other !== mode).map(([port]) => port);
  if (others.length === 0) return undefined;
  if (mode === "PERMISSIVE") {
    return others.map((port) => ({
      clauses: [[{ ...NO_IDENTITY[0]!, destinationPorts: [port] }]],
      position,
    }));
  }
  const exempt = others.map((port): L4Clause => [{ ...EMPTY_MATCH, notDestinationPorts: [port] }]);
  const clauses = facts.mode === undefined ? [...exempt, NO_IDENTITY] : [NO_IDENTITY, ...exempt];
  return [{ clauses, position }];
}

/** The exceptions by port as a policy of their own. */
export function translatePeerPorts(facts: PeerFacts, near: PeerSurroundings): L4Policy | undefined {
  const rules = rulesOf(facts, near);
  if (rules === undefined) return undefined;
  const { namespace, source, position } = facts;
  const name = `${CONVERTED}${facts.name}`;
  const because = `PeerAuthentication ${namespace}/${facts.name}: plain text is not accepted there`;
  return { ...policyOf(namespace, name), rules, source, position, because };
}

/** The one policy of all that are STRICT. */
export function strictPolicy(rootNamespace: string): L4Policy {
  return {
    ...policyOf(rootNamespace, STATIC_STRICT),
    rules: [{ clauses: [NO_IDENTITY], position: undefined }],
    source: { kind: "PeerAuthentication", namespace: rootNamespace, name: STATIC_STRICT },
    position: undefined,
    because: "PeerAuthentication STRICT: plain text is not accepted",
  };
}

function policyOf(namespace: string, name: string) {
  return {
    key: `${namespace}/${name}`,
    namespace,
    name,
    scope: "WORKLOAD_SELECTOR",
    action: "DENY",
    isDryRun: false,
  } as const;
}
