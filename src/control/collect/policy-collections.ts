/** The collections of policies: for waypoints by target, for ztunnels by namespace and selector. */
import type { AuthorizationPolicy as ApiPolicy } from "../../api/authorization-policy.ts";
import type { PeerAuthentication } from "../../api/peer-authentication.ts";
import type { RequestAuthentication as ApiAuthentication } from "../../api/request-authentication.ts";
import type { RequestAuthentication } from "../../model/request-authentication.ts";
import type { AuthorizationPolicy, L4Policy } from "../../model/rule.ts";
import { translateL4Policy } from "../../translate/l4-policies.ts";
import { selectorKey } from "../../translate/labels.ts";
import {
  strictPolicy,
  translatePeerAuthentication,
  translatePeerPorts,
} from "../../translate/peer-authentications.ts";
import { hasTargets, translatePolicy } from "../../translate/policies.ts";
import {
  type JwksRequest,
  jwksKey,
  jwksRequests,
  translateRequestAuthentication,
} from "../../translate/request-authentications.ts";
import type { Collection } from "./collection.ts";
import type { Graph } from "./graph.ts";
import type { Sources } from "./mesh-foundations.ts";
import { type MeshReads, ONLY } from "./mesh-reads.ts";
import type { Translations } from "./translations.ts";

export class PolicyBuilder {
  readonly #graph: Graph;
  readonly #sources: Sources;
  readonly #reads: MeshReads;
  readonly #translations: Translations;

  constructor(graph: Graph, sources: Sources, reads: MeshReads, translations: Translations) {
    this.#graph = graph;
    this.#sources = sources;
    this.#reads = reads;
    this.#translations = translations;
  }

  /** The policies without targets. */
  addL4Policies(): Collection<L4Policy> {
    const policies = this.#graph.select(
      "policiesWithoutTargets",
      this.#sources.of<ApiPolicy>("AuthorizationPolicy"),
      (policy) => (hasTargets(policy) ? undefined : policy),
    );
    const translated = this.#translations.translate(
      "AuthorizationPolicy",
      policies,
      (policy, near) => translateL4Policy(policy, near.settings),
    );
    const facts = this.#graph.select("l4Facts", translated, (t) => t.facts);
    this.#reads.l4PoliciesBySelector = this.#graph.index("l4PoliciesBySelector", facts, (f) =>
      f.selector === undefined
        ? []
        : [selectorKey(f.isMeshWide ? "*" : f.policy.namespace, f.selector)],
    );
    return this.#graph.select("l4PolicyModels", facts, ({ policy }) => policy);
  }

  addNamespacePolicies(policies: Collection<L4Policy>): Collection<readonly L4Policy[]> {
    return this.#translations.group("l4PoliciesByNamespace", policies, ({ scope, namespace }) => {
      if (scope === "WORKLOAD_SELECTOR") return [];
      return [scope === "GLOBAL" ? "" : namespace];
    });
  }

  /** The policies with targets, by target. */
  addPolicies(): Collection<readonly AuthorizationPolicy[]> {
    const targeted = this.#graph.select(
      "policiesWithTargets",
      this.#sources.of<ApiPolicy>("AuthorizationPolicy"),
      (policy) => (hasTargets(policy) ? policy : undefined),
    );
    const translated = this.#translations.translate(
      "AuthorizationPolicy",
      targeted,
      translatePolicy,
    );
    const facts = this.#graph.select("policyFacts", translated, (t) => t.facts);
    const byTarget = this.#graph.index("policiesByTarget", facts, (f) => f.targets);
    const keys = this.#graph.keys("policyTargets", [byTarget]);
    return this.#graph.derive("policies", keys, (context, key) => [
      [key, context.lookup(byTarget, key).map(({ policy }) => policy)],
    ]);
  }

  /** RequestAuthentications, by target. */
  addAuthentications(): Collection<readonly RequestAuthentication[]> {
    const translated = this.#translations.translate(
      "RequestAuthentication",
      this.#sources.of<ApiAuthentication>("RequestAuthentication"),
      translateRequestAuthentication,
    );
    const facts = this.#graph.select("authenticationFacts", translated, (t) => t.facts);
    const byTarget = this.#graph.index("authenticationsByTarget", facts, (f) => f.targets);
    const keys = this.#graph.keys("authenticationTargets", [byTarget]);
    return this.#graph.derive("authentications", keys, (context, key) => [
      [key, context.lookup(byTarget, key).map(({ authentication }) => authentication)],
    ]);
  }

  addJwksRequests(): Collection<JwksRequest> {
    const wanted = this.#graph.derive(
      "wantedJwks",
      this.#sources.of<ApiAuthentication>("RequestAuthentication"),
      (_context, object, key) =>
        jwksRequests(object).map((request, i) => [`${key} ${i}`, request] as const),
    );
    const byKey = this.#graph.index("jwksByKey", wanted, (request) => [jwksKey(request)]);
    const keys = this.#graph.keys("jwksKeys", [byKey]);
    return this.#graph.derive("jwksRequests", keys, (context, key) => [
      [key, context.lookup(byKey, key)[0]!],
    ]);
  }

  /** What ztunnels have to deny because of PeerAuthentications; workloads name it. */
  addPeerAuthentications(): Collection<L4Policy> {
    const graph = this.#graph;
    const translated = this.#translations.translate(
      "PeerAuthentication",
      this.#sources.of<PeerAuthentication>("PeerAuthentication"),
      translatePeerAuthentication,
    );
    const facts = graph.select("peerFacts", translated, (t) => t.facts);
    this.#reads.peersByNamespace = graph.index("peersByNamespace", facts, (f) => [f.namespace]);
    const byPort = this.#translations.derive("peerPorts", facts, (near, each) => {
      const policy = translatePeerPorts(each, near);
      return policy === undefined ? [] : [[policy.key, policy] as const];
    });
    const any = graph.index("anyPeers", facts, () => [ONLY]);
    const strict = graph.derive("strictPeers", graph.keys("hasPeers", [any]), (context) => {
      const { rootNamespace } = this.#translations.near(context).settings;
      const policy = strictPolicy(rootNamespace);
      return [[policy.key, policy]];
    });
    return graph.union("peerPolicies", [byPort, strict]);
  }
}
