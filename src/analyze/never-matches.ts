/**
 * Values and rules that no request can satisfy: a path without its slash or with a query, a method
 * in lower case, a port that the target does not have; and what contradicts itself.
 *
 * Said only of what is certain. What could be meant otherwise has no remedy but the author's.
 */
import type { Diagnostic } from "../kit/diagnostic.ts";
import { hasTargets } from "../translate/policies.ts";
import { contradictions } from "./contradictions.ts";
import type { MeshView } from "./mesh-view.ts";
import { valueLists } from "./policy-fields.ts";
import { targetedServices } from "./policy-places.ts";
import { type Policy, selectedWorkloads, servicesBehind } from "./policy-reach.ts";
import { finding, setField } from "./remedy-text.ts";

export function neverMatching(policy: Policy, mesh: MeshView): readonly Diagnostic[] {
  const found: Diagnostic[] = [];
  let ports: Ports | undefined;
  for (const { name, isNegative, values, path } of valueLists(policy)) {
    if (name === "ports" || name === "destination.port") ports ??= portsAt(policy, mesh);
    values.forEach((text, index) => {
      // To except a port that nobody has is no mistake: it may be there one day.
      const wrong = examine(name, text, isNegative ? undefined : ports);
      if (wrong === undefined) return;
      const effect = wrong.effect ?? (isNegative ? "it excepts nothing" : "no request matches it");
      const at = [...path, index];
      const remedy = wrong.instead === undefined ? [] : [setField(policy, at, wrong.instead)];
      found.push(finding(policy, "WS0114", `${wrong.message}, so ${effect}`, at, remedy));
    });
  }
  const rules = policy.value.spec?.rules ?? [];
  return [...found, ...rules.flatMap((rule, index) => contradictions(policy, rule, index))];
}

interface Wrong {
  readonly message: string;
  /** Where that is not nothing. */
  readonly effect?: string;
  /** undefined: there is no telling what was meant. */
  readonly instead: string | undefined;
}

function examine(name: string, text: string, ports: Ports | undefined): Wrong | undefined {
  switch (name) {
    case "paths":
      return aboutPath(text);
    case "methods":
      return aboutMethod(text);
    case "hosts":
      return aboutHost(text);
    case "ports":
    case "destination.port":
      return ports && aboutPort(text, ports);
    default:
      return undefined;
  }
}

/** RFC 9112 §3.2: a request's path begins with a slash, but for `OPTIONS *`; its query is apart. */
function aboutPath(text: string): Wrong | undefined {
  const end = text.search(/[?#]/);
  if (end >= 0) {
    const message = `path "${text}" has a query, which is no part of the path that policies see`;
    const rest = aboutPath(text.slice(0, end))?.instead ?? text.slice(0, end);
    return { message, instead: rest === "" ? undefined : rest };
  }
  if (text !== "" && !text.startsWith("/") && !text.startsWith("*")) {
    return { message: `path "${text}" does not begin with a slash`, instead: `/${text}` };
  }
  return aboutStars(text);
}

/** A star is a wildcard at the beginning or the end alone; within, whole segments are `{*}`. */
function aboutStars(text: string): Wrong | undefined {
  if (/\{\*\*?\}/.test(text)) return undefined;
  const inner = text.startsWith("*")
    ? text.slice(1)
    : text.endsWith("*")
      ? text.slice(0, -1)
      : text;
  if (!inner.includes("*")) return undefined;
  const segments = text.split("/");
  const isWhole = text.startsWith("/") && segments.every((s) => s === "*" || !s.includes("*"));
  const last = segments.length - 1;
  const template = segments.map((s, i) => (s !== "*" ? s : i === last ? "{**}" : "{*}")).join("/");
  const message = `path "${text}" has a star that is no wildcard where it stands`;
  const effect = "only a star matches it";
  return { message, effect, instead: isWhole ? template : undefined };
}

const METHODS = new Set("GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE".split(" "));

/** RFC 9110 §9.1: methods are case-sensitive. */
function aboutMethod(text: string): Wrong | undefined {
  const upper = text.toUpperCase();
  if (upper === text || !METHODS.has(upper)) return undefined;
  return {
    message: `method "${text}" is not ${upper}: methods are case-sensitive`,
    instead: upper,
  };
}

function aboutHost(text: string): Wrong | undefined {
  const found = /^(?:[a-z][a-z0-9+.-]*:\/\/)?([^/]*)(?:\/.*)?$/i.exec(text);
  if (found === null || found[1] === text || found[1] === "") return undefined;
  return { message: `host "${text}" is a URL and no host name`, instead: found[1] };
}

/** The ports that requests come to where the policy is enforced. */
interface Ports {
  readonly known: ReadonlySet<number>;
  /** From the numbers of the other side of the Services. */
  readonly others: ReadonlyMap<number, ReadonlySet<number>>;
  readonly whose: string;
}

function aboutPort(text: string, ports: Ports): Wrong | undefined {
  const port = Number(text);
  if (!Number.isInteger(port) || ports.known.has(port)) return undefined;
  const others = ports.others.get(port);
  const instead = others?.size === 1 ? String([...others][0]) : undefined;
  // Workloads may listen on more ports than their Services tell.
  if (others === undefined && ports.whose === WORKLOADS) return undefined;
  const list = [...ports.known].sort((a, b) => a - b).join(", ");
  return { message: `port ${text} is none of ${ports.whose} (${list})`, instead };
}

const WORKLOADS = "the workloads behind the Service";

/** `undefined`: it is enforced where any port may come. */
function portsAt(policy: Policy, mesh: MeshView): Ports | undefined {
  const isAtWaypoint = hasTargets(policy);
  const selected = isAtWaypoint ? [] : selectedWorkloads(policy, mesh);
  const services = isAtWaypoint ? targetedServices(policy, mesh) : servicesBehind(selected, mesh);
  if (services === undefined || services.length === 0) return undefined;
  const known = new Set<number>();
  const others = new Map<number, Set<number>>();
  for (const service of services) {
    for (const { workloadUid } of mesh.snapshot.endpoints.get(service.key) ?? []) {
      const workload = mesh.snapshot.workloads.get(workloadUid);
      for (const [port, target] of workload?.services.get(service.key) ?? []) {
        known.add(isAtWaypoint ? port : target);
        const [from, to] = isAtWaypoint ? [target, port] : [port, target];
        others.set(from, (others.get(from) ?? new Set()).add(to));
      }
    }
    if (isAtWaypoint) for (const { port } of service.ports) known.add(port);
  }
  return { known, others, whose: isAtWaypoint ? "the Service's" : WORKLOADS };
}
