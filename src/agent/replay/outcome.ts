/**
 * What a decision came to, as a plain value that can be written down and held against another: may
 * it pass, who says so, where does it go. Two outcomes are the same to the client and the backend
 * when `isSameOutcome()` says so; which policy let a request in is told, but makes no difference.
 */
import { createHash } from "node:crypto";
import { formatPosition } from "../../model/object-ref.ts";
import type {
  Backend,
  ConnectionRouteRule,
  HttpBackend,
  HttpRouteRule,
} from "../../model/route.ts";
import type { Decision } from "../../policy/decide.ts";
import type { Hop } from "../../policy/facts.ts";
import { list, oneOf, record, type Shape, text } from "../../wire/shapes.ts";

export interface Outcome {
  readonly isAllowed: boolean;
  /** `refused`: before any policy was asked; `reason` says why. */
  readonly because: "noAllowPolicies" | "allowed" | "denied" | "noAllowMatched" | "refused";
  readonly reason?: string | undefined;
  /** What a proxy answers in the backend's place; absent: the answer is the backend's own. */
  readonly status?: number | undefined;
  /** `<namespace>/<name>` of the policy that decided, its rule, and where that stands. */
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
  readonly policyAt?: string | undefined;
  /** `<namespace>/<name>` of the waypoint that the request goes through. */
  readonly waypoint?: string | undefined;
  /** `<namespace>/<name>`; absent: none, so it goes to whom it was meant for. */
  readonly route?: string | undefined;
  readonly routeRule?: number | undefined;
  readonly routeAt?: string | undefined;
  /** Where it goes, `<namespace>/<host>:<port>`; several with their shares when chance decides. */
  readonly backends?: readonly string[] | undefined;
  /** Stands for all else that the rule does: filters, time-outs, retries. */
  readonly handling?: string | undefined;
}

const count: Shape = { type: "uint32" };

export const OUTCOME: Shape = record(
  {
    isAllowed: { type: "boolean" },
    because: oneOf("noAllowPolicies", "allowed", "denied", "noAllowMatched", "refused"),
  },
  {
    reason: text,
    status: count,
    policy: text,
    rule: count,
    policyAt: text,
    waypoint: text,
    route: text,
    routeRule: count,
    routeAt: text,
    backends: list(text),
    handling: text,
  },
);

export function isSameOutcome(one: Outcome, other: Outcome): boolean {
  if (one.isAllowed !== other.isAllowed || one.status !== other.status) return false;
  if (!one.isAllowed) return true;
  return (
    one.waypoint === other.waypoint &&
    one.route === other.route &&
    one.handling === other.handling &&
    one.backends?.join() === other.backends?.join()
  );
}

export function refusedOutcome(reason: string, status?: number): Outcome {
  return { isAllowed: false, because: "refused", reason, ...(status !== undefined && { status }) };
}

/** `isDrawn`: the decision's draw was made; where it was not, chance is still to decide. */
export function outcomeOf(decision: Decision, hop: Hop, isDrawn: boolean): Outcome {
  const { verdict, route, backend, status } = decision;
  const { isAllowed, because, policy, rule } = verdict;
  const policyAt = formatPosition(verdict.position);
  const base: Outcome = { isAllowed, because, policy, rule, policyAt, status };
  if (!isAllowed || hop.proxy === "ztunnel") return plain(base);
  const routed = { ...base, waypoint: hop.waypoint };
  if (route === undefined) return plain(routed);
  if (route.rule === undefined || route.route === undefined) {
    return plain({ ...routed, backends: backend && [backendName(backend)] });
  }
  const named = {
    ...routed,
    route: route.route.key,
    routeRule: route.rule.index,
    routeAt: formatPosition(route.rule.position ?? route.route.position),
    handling: handlingOf(route.rule),
  };
  const answered = answeredByRule(route.rule, status);
  if (answered !== undefined) return plain({ ...named, status: answered });
  if (isDrawn) return plain({ ...named, backends: backend && [handledBackend(backend)] });
  return plain({ ...named, ...undrawn(route.rule) });
}

/** Without what is undefined: as it will be when it has been written and read. */
function plain(outcome: Outcome): Outcome {
  const entries = Object.entries(outcome).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as unknown as Outcome;
}

type AnyRule = HttpRouteRule | ConnectionRouteRule;

/** Before a backend would be chosen. */
function answeredByRule(rule: AnyRule, status: number | undefined): number | undefined {
  if (!("filters" in rule)) return undefined;
  if (rule.problem !== undefined) return 500;
  // What a proxy answers with that is a CORS preflight's, before any redirect.
  if (status === 200) return status;
  const redirect = rule.filters.find(({ type }) => type === "RequestRedirect");
  return redirect?.type === "RequestRedirect" ? redirect.statusCode : undefined;
}

/** All that may be chosen. */
function undrawn({ backends }: AnyRule): Pick<Outcome, "backends" | "status"> {
  const possible = backends.filter(({ weight }) => weight > 0);
  const [only] = possible;
  if (only === undefined) return { status: 500 };
  if (possible.length === 1) {
    if (only.service === undefined) return { status: 500 };
    return { backends: [handledBackend(only)], status: undefined };
  }
  const total = possible.reduce((sum, { weight }) => sum + weight, 0);
  const share = (weight: number) => `${Math.round((100 * weight) / total)}%`;
  const named = possible.map((one) => `${handledBackend(one)} (${share(one.weight)})`);
  return { backends: named, status: undefined };
}

function backendName({ service, port }: Backend): string {
  return service === undefined ? "nowhere" : `${service}:${port}`;
}

function handledBackend(backend: Backend): string {
  const name = backendName(backend);
  const { filters = [] } = backend as Partial<HttpBackend>;
  return filters.length === 0 ? name : `${name} [filters ${digest(filters).slice(0, 4)}]`;
}

function handlingOf(rule: AnyRule): string {
  if (!("filters" in rule)) return digest({});
  const { filters, problem, requestTimeoutMs, backendRequestTimeoutMs, retry } = rule;
  const { sessionPersistence } = rule;
  const times = { requestTimeoutMs, backendRequestTimeoutMs };
  return digest({ filters, problem, ...times, retry, sessionPersistence });
}

const DIGEST_CHARACTERS = 16;

/** Of values that say the same, wherever they stand in files. */
export function digest(value: unknown): string {
  const json = JSON.stringify(value, (key, part: unknown) => {
    return key === "position" || key === "createdMs" ? undefined : part;
  });
  return createHash("sha256").update(json).digest("base64url").slice(0, DIGEST_CHARACTERS);
}
