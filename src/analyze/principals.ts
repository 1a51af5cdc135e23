/**
 * Principals that nobody has: with the `spiffe://` of a certificate in front, in another form than
 * `<trust domain>/ns/<namespace>/sa/<service account>`, or of a trust domain that is not the mesh's.
 *
 * `cluster.local` and the aliases of the trust domain stand for it at waypoints, in principals of
 * all five segments; ztunnels compare what is written.
 */
import type { Diagnostic } from "../kit/diagnostic.ts";
import type { MeshSettings } from "../model/settings.ts";
import { hasTargets } from "../translate/policies.ts";
import type { MeshView } from "./mesh-view.ts";
import { valueLists } from "./policy-fields.ts";
import type { Policy } from "./policy-reach.ts";
import { finding, setField } from "./remedy-text.ts";

const SPIFFE = "spiffe://";
const LOCAL = "cluster.local";

export function aboutPrincipals(policy: Policy, mesh: MeshView): readonly Diagnostic[] {
  const found: Diagnostic[] = [];
  const isAtWaypoint = hasTargets(policy);
  for (const { name, isNegative, values, path } of valueLists(policy)) {
    const check = CHECKS[name];
    if (check === undefined) continue;
    values.forEach((text, index) => {
      const wrong = check(text, mesh.snapshot.settings, isAtWaypoint);
      if (wrong === undefined) return;
      const effect = isNegative ? "it keeps nobody out" : "no client has it";
      const at = [...path, index];
      const remedy = wrong.instead === undefined ? [] : [setField(policy, at, wrong.instead)];
      found.push(finding(policy, "WS0115", `${wrong.message}, so ${effect}`, at, remedy));
    });
  }
  return found;
}

type Check = (text: string, settings: MeshSettings, isAtWaypoint: boolean) => Wrong | undefined;

/** By the name of the list, or the key of the condition. */
const CHECKS: Readonly<Record<string, Check>> = {
  principals: examine,
  "source.principal": examine,
  trustDomains: aboutTrustDomain,
  "source.trustDomain": aboutTrustDomain,
};

interface Wrong {
  readonly message: string;
  /** undefined: there is no telling what was meant. */
  readonly instead: string | undefined;
}

function examine(text: string, settings: MeshSettings, isAtWaypoint: boolean): Wrong | undefined {
  if (text.toLowerCase().startsWith(SPIFFE)) {
    const rest = text.slice(SPIFFE.length);
    const message = `principal "${text}" has ${SPIFFE} in front, which policies leave out`;
    return { message, instead: examine(rest, settings, isAtWaypoint)?.instead ?? rest };
  }
  // A suffix asks nothing about the trust domain.
  if (text.startsWith("*") || text === "") return undefined;
  const instead = inForm(text, settings.trustDomain);
  if (instead !== undefined || (!isPrincipal(text) && !text.endsWith("*"))) {
    const message = `principal "${text}" is not of the form <trust domain>/ns/<namespace>/sa/<service account>`;
    return { message, instead };
  }
  return ofTrustDomain(text, settings, isAtWaypoint);
}

function aboutTrustDomain(text: string, settings: MeshSettings): Wrong | undefined {
  const { trustDomain, trustDomainAliases } = settings;
  if (text.includes("*") || [trustDomain, LOCAL, ...trustDomainAliases].includes(text)) {
    return undefined;
  }
  const message = `"${text}" is not the trust domain of the mesh, which is ${trustDomain}`;
  return { message, instead: trustDomain };
}

function isPrincipal(text: string): boolean {
  return /^[^/]+\/ns\/[^/]+\/sa\/[^/]+$/.test(text);
}

/** What other forms of the same name are written as here; `undefined` when it is in form. */
function inForm(text: string, trustDomain: string): string | undefined {
  const named =
    /^(?:ns\/)([^/]+)\/sa\/([^/]+)$/.exec(text) ??
    /^system:serviceaccount:([^:/]+):([^:/]+)$/.exec(text) ??
    (text.includes("*") ? null : /^([^/]+)\/([^/]+)$/.exec(text));
  return named ? `${trustDomain}/ns/${named[1]}/sa/${named[2]}` : undefined;
}

function ofTrustDomain(
  text: string,
  settings: MeshSettings,
  isAtWaypoint: boolean,
): Wrong | undefined {
  const slash = text.indexOf("/");
  const { trustDomain, trustDomainAliases } = settings;
  // A prefix that ends within the trust domain.
  if (slash < 0) {
    if (trustDomain.startsWith(text.slice(0, -1))) return undefined;
    return { message: `principal "${text}" is of no trust domain of the mesh`, instead: undefined };
  }
  const written = text.slice(0, slash);
  // Nobody proves an alias: it only stands for the mesh's own where it is looked at.
  const hasAliases = isAtWaypoint && text.split("/").length === 5;
  const known = [trustDomain, ...(hasAliases ? [LOCAL, ...trustDomainAliases] : [])];
  if (known.includes(written)) return undefined;
  const message = `principal "${text}" is of trust domain ${written}, and the mesh's is ${trustDomain}`;
  return { message, instead: `${trustDomain}${text.slice(slash)}` };
}
