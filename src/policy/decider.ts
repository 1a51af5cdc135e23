/**
 * What the proxies run: decisions compiled from a snapshot.
 *
 * Everything compiled hangs, weakly, on the value of the snapshot it was compiled from. Values that
 * did not change keep their identity over snapshots (model/snapshot.ts), so after a swap only what
 * changed is compiled again, and what is gone is forgotten with its snapshot.
 *
 * Order at a waypoint: CUSTOM (whose questions the caller answers first), DENY, ALLOW. No ALLOW
 * policy at all means allowed. AUDIT policies and dry runs decide nothing; they are counted, and
 * the trace reports them.
 */
import type { AttachedRoute, HttpBackend } from "../model/route.ts";
import type { AuthorizationPolicy, L4Policy, PolicyAction } from "../model/rule.ts";
import type { Service } from "../model/service.ts";
import type { MeshSettings } from "../model/settings.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { routeSets } from "./applied-routes.ts";
import { CompiledL4Policy } from "./compile-l4.ts";
import { DefaultChoice } from "./compile-routes.ts";
import { CompiledPolicy } from "./compile-rules.ts";
import { CustomPolicies, type ProviderQuestion } from "./custom-policies.ts";
import type { ConnectionFacts, HttpFacts } from "./facts.ts";
import { Authenticator } from "./jwt/authenticator.ts";
import { authenticationsFor, eachOnce, l4PoliciesFor, policiesFor } from "./policy-sets.ts";
import { type PortPlans, plansOf } from "./port-plans.ts";
import { RuleList } from "./rule-index.ts";
import { ShadowPolicies } from "./shadow-policies.ts";
import {
  type ConnectionChoice,
  NO_ALLOW_MATCHED,
  NO_ALLOW_POLICIES,
  type RouteChoice,
  UNKNOWN_TARGET,
  type Verdict,
} from "./verdict.ts";

export type { Hop } from "./facts.ts";
export type { ConnectionChoice, RouteChoice, Verdict } from "./verdict.ts";

export interface L4Decider {
  /** Policies that are tried out; undefined: there are none. */
  readonly shadow: ShadowPolicies<ConnectionFacts> | undefined;
  authorize(facts: ConnectionFacts): Verdict;
}

export interface HttpDecider {
  /** Of the requests' tokens; undefined: nobody asks for any. */
  readonly authenticator: Authenticator | undefined;
  /** What CUSTOM policies want to be asked before anything else. */
  questions(facts: HttpFacts): readonly ProviderQuestion[];
  tcpQuestions(facts: ConnectionFacts): readonly ProviderQuestion[];
  authorize(facts: HttpFacts): Verdict;
  /** AUDIT policies, and those that are tried out; undefined: there are none. */
  readonly shadow: ShadowPolicies<HttpFacts> | undefined;
  readonly tcpShadow: ShadowPolicies<ConnectionFacts> | undefined;
  /** For ports that do not speak HTTP. */
  authorizeTcp(facts: ConnectionFacts): Verdict;
  /** `undefined`: routes exist, none matches (404). */
  chooseRoute(facts: HttpFacts): RouteChoice | undefined;
  /** Whether `chooseConnection()` looks at the server name. */
  readonly needsServerName: boolean;
  /** For connections that are not looked into. `undefined`: routes exist, none is for this one. */
  chooseConnection(
    facts: ConnectionFacts,
    serverName: string | undefined,
  ): ConnectionChoice | undefined;
}

export type DeciderTarget = { readonly service: string } | { readonly workload: string };

/** Decides for one workload. The same object as before while what applies to it is unchanged. */
export function l4Decider(snapshot: Snapshot, workload: Workload): L4Decider {
  const policies = eachOnce(l4PoliciesFor(snapshot, workload)).map(({ policy }) => policy);
  const known = l4Deciders.get(workload);
  if (known && isSameList(known.policies, policies)) return known;
  const decider = new CompiledL4Decider(policies);
  l4Deciders.set(workload, decider);
  return decider;
}

/** Decides for a port of a service or workload, likewise. */
export function httpDecider(
  snapshot: Snapshot,
  waypoint: string,
  target: DeciderTarget,
  port: number,
): HttpDecider {
  const key = "service" in target ? target.service : undefined;
  const owner =
    "service" in target
      ? snapshot.services.get(target.service)
      : snapshot.workloads.get(target.workload);
  if (owner === undefined) return REFUSING;
  const inputs = inputsOf(snapshot, waypoint, key);
  const deciders = remember(httpDeciders, owner, () => new Map<string, CompiledHttpDecider>());
  const name = `${waypoint} ${port}`;
  const known = deciders.get(name);
  if (known && isSameList(known.inputs, inputs)) return known;
  const decider = new CompiledHttpDecider(snapshot, waypoint, key, port, inputs);
  deciders.set(name, decider);
  return decider;
}

const l4Deciders = new WeakMap<Workload, CompiledL4Decider>();
const l4Compiled = new WeakMap<L4Policy, CompiledL4Policy>();
const httpDeciders = new WeakMap<Service | Workload, Map<string, CompiledHttpDecider>>();
const compiled = new WeakMap<MeshSettings, WeakMap<AuthorizationPolicy, CompiledPolicy>>();
const portPlans = new WeakMap<
  readonly AttachedRoute[],
  WeakMap<readonly AttachedRoute[], Map<number, PortPlans>>
>();

/** All of the snapshot that a decider depends on. */
function inputsOf(snapshot: Snapshot, waypoint: string, service: string | undefined): unknown[] {
  const { own, shared } = routeSets(snapshot, waypoint, service ?? "");
  const sets = policiesFor(snapshot, waypoint, service);
  const authentications = authenticationsFor(snapshot, waypoint, service);
  return [snapshot.settings, own, shared, ...sets.map((set) => set.policies), ...authentications];
}

function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

function remember<K extends WeakKey, V>(cache: WeakMap<K, V>, key: K, make: () => V): V {
  const known = cache.get(key);
  if (known !== undefined) return known;
  const made = make();
  cache.set(key, made);
  return made;
}

class CompiledL4Decider implements L4Decider {
  readonly policies: readonly L4Policy[];
  readonly shadow: ShadowPolicies<ConnectionFacts> | undefined;
  readonly #deny: readonly CompiledL4Policy[];
  readonly #allow: readonly CompiledL4Policy[];

  constructor(policies: readonly L4Policy[]) {
    this.policies = policies;
    const all = policies.map((policy) =>
      remember(l4Compiled, policy, () => new CompiledL4Policy(policy)),
    );
    const enforced = all.filter((policy) => !policy.isDryRun);
    this.shadow = ShadowPolicies.of(all);
    this.#deny = enforced.filter((policy) => policy.action === "DENY");
    this.#allow = enforced.filter((policy) => policy.action === "ALLOW");
  }

  authorize(facts: ConnectionFacts): Verdict {
    for (let i = 0; i < this.#deny.length; i++) {
      const denied = this.#deny[i]!.match(facts);
      if (denied) return denied;
    }
    if (this.#allow.length === 0) return NO_ALLOW_POLICIES;
    for (let i = 0; i < this.#allow.length; i++) {
      const allowed = this.#allow[i]!.match(facts);
      if (allowed) return allowed;
    }
    return NO_ALLOW_MATCHED;
  }
}

class CompiledHttpDecider implements HttpDecider {
  readonly inputs: readonly unknown[];
  readonly authenticator: Authenticator | undefined;
  readonly shadow: ShadowPolicies<HttpFacts> | undefined;
  readonly tcpShadow: ShadowPolicies<ConnectionFacts> | undefined;
  readonly #custom: CustomPolicies;
  readonly #deny: ActionRules;
  readonly #allow: ActionRules;
  readonly #hasAllow: boolean;
  readonly #plans: PortPlans | undefined;
  readonly #default: DefaultChoice;

  constructor(
    snapshot: Snapshot,
    waypoint: string,
    service: string | undefined,
    port: number,
    inputs: readonly unknown[],
  ) {
    this.inputs = inputs;
    const cache = remember(compiled, snapshot.settings, () => new WeakMap());
    const policies = eachOnce(policiesFor(snapshot, waypoint, service)).map((each) => each.policy);
    const compile = (policy: AuthorizationPolicy) =>
      remember(cache, policy, () => new CompiledPolicy(policy, snapshot.settings));
    const of = (action: PolicyAction) =>
      policies.filter((policy) => policy.action === action && !policy.isDryRun).map(compile);
    const allow = of("ALLOW");
    const shadows = policies
      .filter(({ action, isDryRun }) => isDryRun || action === "AUDIT")
      .map(compile);
    this.shadow = ShadowPolicies.of(shadows);
    this.tcpShadow = ShadowPolicies.of(shadows.map(onTcp));
    const authentications = authenticationsFor(snapshot, waypoint, service).flat();
    this.authenticator =
      authentications.length === 0 ? undefined : new Authenticator([...new Set(authentications)]);
    this.#custom = new CustomPolicies(policies, snapshot.settings, compile);
    this.#deny = rulesOf(of("DENY"));
    this.#allow = rulesOf(allow);
    this.#hasAllow = allow.length > 0;
    this.#plans = service === undefined ? undefined : planOf(snapshot, waypoint, service, port);
    this.#default = new DefaultChoice(service === undefined ? undefined : itself(service, port));
  }

  questions(facts: HttpFacts): readonly ProviderQuestion[] {
    return this.#custom.questions(facts);
  }

  tcpQuestions(facts: ConnectionFacts): readonly ProviderQuestion[] {
    return this.#custom.tcpQuestions(facts);
  }

  authorize(facts: HttpFacts): Verdict {
    const denied = this.#deny.http.first(facts);
    if (denied !== undefined) return denied;
    if (!this.#hasAllow) return NO_ALLOW_POLICIES;
    return this.#allow.http.first(facts) ?? NO_ALLOW_MATCHED;
  }

  authorizeTcp(facts: ConnectionFacts): Verdict {
    const denied = this.#deny.tcp.first(facts);
    if (denied !== undefined) return denied;
    if (!this.#hasAllow) return NO_ALLOW_POLICIES;
    return this.#allow.tcp.first(facts) ?? NO_ALLOW_MATCHED;
  }

  chooseRoute(facts: HttpFacts): RouteChoice | undefined {
    if (this.#plans === undefined) return this.#default;
    return this.#plans.of(facts.sourceIdentity).http.choose(facts, this.#default);
  }

  get needsServerName(): boolean {
    return this.#plans?.needsServerName ?? false;
  }

  chooseConnection(
    facts: ConnectionFacts,
    serverName: string | undefined,
  ): ConnectionChoice | undefined {
    const plan = this.#plans?.of(facts.sourceIdentity).connections;
    return plan === undefined ? this.#default : plan.choose(serverName);
  }
}

function onTcp(policy: CompiledPolicy) {
  const { action, isDryRun } = policy;
  return { action, isDryRun, match: (facts: ConnectionFacts) => policy.matchTcp(facts) };
}

/** Of all policies with one action. */
interface ActionRules {
  readonly http: RuleList<HttpFacts>;
  readonly tcp: RuleList<ConnectionFacts>;
}

function rulesOf(policies: readonly CompiledPolicy[]): ActionRules {
  return {
    http: new RuleList(policies.flatMap(({ http }) => http)),
    tcp: new RuleList(policies.flatMap(({ tcp }) => tcp)),
  };
}

function itself(service: string, port: number): HttpBackend {
  return { weight: 1, service, port, problem: undefined, position: undefined, filters: [] };
}

function planOf(snapshot: Snapshot, waypoint: string, service: string, port: number): PortPlans {
  const sets = routeSets(snapshot, waypoint, service);
  const byShared = remember(portPlans, sets.own, () => new WeakMap());
  const plans = remember(byShared, sets.shared, () => new Map<number, PortPlans>());
  // Ports share a plan when no route is limited to one.
  const name = sets.own.some((attached) => attached.ports.length > 0) ? port : 0;
  const known = plans.get(name);
  if (known) return known;
  const made = plansOf(sets, port);
  plans.set(name, made);
  return made;
}

/** For what is not in the snapshot (any more): nothing is known of its policies. */
const REFUSING: HttpDecider = {
  authenticator: undefined,
  questions: () => [],
  tcpQuestions: () => [],
  shadow: undefined,
  tcpShadow: undefined,
  authorize: () => UNKNOWN_TARGET,
  authorizeTcp: () => UNKNOWN_TARGET,
  chooseRoute: () => undefined,
  needsServerName: false,
  chooseConnection: () => undefined,
};
