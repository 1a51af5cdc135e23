/**
 * `waystone wait --for=enforced policy/NAME`: until every proxy that is to enforce the policy, as
 * it is now, has said that it does (D2).
 */
import type { EnforcementReport } from "../../control/serve/enforcement.ts";
import { isRefusal } from "../../control/source/kubernetes/kube-client.ts";
import { pause } from "../../kit/backoff.ts";
import { CommandError, EXIT_FAILED, EXIT_UNAVAILABLE, usageError } from "../command-error.ts";
import { ControlPlanes, type ControlPlanesOptions, isClusterAsked } from "../control-planes.ts";
import { enforcementOf, type PolicyEnforcement } from "../enforcement.ts";
import { json, type Output } from "../output.ts";
import { RunningMesh } from "../running-mesh.ts";

export interface WaitOptions extends ControlPlanesOptions {
  readonly for: "enforced";
  readonly namespace: string;
  readonly timeout: number;
  readonly state?: string;
  readonly output: "text" | "json";
}

/** What may be waited for: kinds by the names that kubectl takes, and their plural in the API. */
const KINDS: Readonly<Record<string, readonly [kind: string, resource: string]>> = {
  policy: ["AuthorizationPolicy", "authorizationpolicies"],
  authorizationpolicy: ["AuthorizationPolicy", "authorizationpolicies"],
  peerauthentication: ["PeerAuthentication", "peerauthentications"],
  requestauthentication: ["RequestAuthentication", "requestauthentications"],
};

const LOOK_MS = 200;
const SHOWN_PROXIES = 5;

interface Wanted {
  readonly kind: string;
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
}

export async function wait(target: string, options: WaitOptions, output: Output): Promise<number> {
  const wanted = wantedOf(target, options.namespace);
  const found = isClusterAsked(options)
    ? await enforcedInCluster(wanted, options)
    : await enforcedHere(wanted, options);
  if (options.output === "json") output.print(json(found));
  else {
    const { revision, enforcing } = found;
    const proxies = enforcing.length === 1 ? "1 proxy" : `${enforcing.length} proxies`;
    output.print(`${labelOf(wanted)} is enforced by ${proxies} (revision ${revision})`);
  }
  return 0;
}

function wantedOf(target: string, namespace: string): Wanted {
  const [type = "", name = "", ...more] = target.split("/");
  const known = KINDS[type.toLowerCase().replace(/\..*$/, "")];
  if (known === undefined || name === "" || more.length > 0) {
    const kinds = Object.keys(KINDS).join(", ");
    throw usageError(`${target} is not something to wait for`, `Write KIND/NAME: ${kinds}.`);
  }
  const [kind, resource] = known;
  return { kind, resource, namespace, name };
}

function labelOf({ kind, namespace, name }: Wanted): string {
  return `${kind} ${namespace}/${name}`;
}

/** Control plane and proxies are one process, which swaps the mesh whole. */
async function enforcedHere(wanted: Wanted, options: WaitOptions): Promise<PolicyEnforcement> {
  const until = performance.now() + options.timeout;
  for (;;) {
    const mesh = await RunningMesh.find(options.state);
    const { policies, revision } = await mesh.report();
    const key = `${wanted.namespace}/${wanted.name}`;
    const isThere = policies.some((one) => one.kind === wanted.kind && one.key === key);
    if (isThere) {
      const { kind, namespace, name } = wanted;
      const enforcing = ["this mesh"];
      return {
        ...{ kind, namespace, name, revision, generation: undefined },
        ...{ enforcing, waitingFor: [] },
      };
    }
    if (performance.now() >= until) throw timedOut(wanted, options, "it is attached to nothing");
    await pause(LOOK_MS, AbortSignal.timeout(options.timeout));
  }
}

async function enforcedInCluster(wanted: Wanted, options: WaitOptions): Promise<PolicyEnforcement> {
  const controlPlanes = new ControlPlanes(options);
  const { kind, namespace, name } = wanted;
  const path = `/debug/enforcedz?${new URLSearchParams({ kind, namespace, name })}`;
  const generation = await generationOf(wanted, controlPlanes, options.timeout);
  const until = performance.now() + options.timeout;
  /** The revision at which each replica has had the object as it is to be. */
  const since = new Map<string, number>();
  let missing = "no control plane has answered";
  do {
    try {
      const reports = await controlPlanes.ask<EnforcementReport>(path);
      for (const [replica, { revision, policies }] of reports) {
        const isRead = policies.some((one) => (one.generation ?? 0) >= (generation ?? 0));
        if (isRead && !since.has(replica)) since.set(replica, revision);
      }
      const [found] = enforcementOf(reports, (replica) => since.get(replica));
      missing = missingOf(
        found,
        [...reports.keys()].filter((replica) => !since.has(replica)),
      );
      if (missing === "" && found !== undefined) return found;
    } catch (caught) {
      // A replica that is just being replaced: the next look sees another.
      if (!(caught instanceof CommandError && caught.exitCode === EXIT_UNAVAILABLE)) throw caught;
      missing = caught.message;
    }
    await pause(LOOK_MS, AbortSignal.timeout(options.timeout));
  } while (performance.now() < until);
  throw timedOut(wanted, options, missing);
}

/** Empty: nothing. */
function missingOf(found: PolicyEnforcement | undefined, unread: readonly string[]): string {
  if (found === undefined) return "no proxy is to enforce it: it is attached to nothing";
  if (unread.length > 0) return `${unread.join(", ")} has not read it yet`;
  const { waitingFor, enforcing } = found;
  if (waitingFor.length === 0) {
    return enforcing.length > 0 ? "" : "there is no proxy that is to enforce it";
  }
  const shown = waitingFor.slice(0, SHOWN_PROXIES).join(", ");
  const left = waitingFor.length - SHOWN_PROXIES;
  return `waiting for ${shown}${left > 0 ? ` and ${left} more` : ""}`;
}

/** What the API server has now; undefined where no cluster is named: then what is read counts. */
async function generationOf(
  wanted: Wanted,
  { client }: ControlPlanes,
  timeoutMs: number,
): Promise<number | undefined> {
  const { resource, namespace, name } = wanted;
  const path = `/apis/security.istio.io/v1/namespaces/${namespace}/${resource}/${name}`;
  const answer = await client?.get(path, {}, AbortSignal.timeout(timeoutMs));
  if (answer === undefined) return undefined;
  if (isRefusal(answer)) {
    throw new CommandError(EXIT_FAILED, `${labelOf(wanted)}: ${answer.message}`);
  }
  return (answer.body as { metadata: { generation?: number } }).metadata.generation;
}

function timedOut(wanted: Wanted, { timeout }: WaitOptions, missing: string): CommandError {
  const after = `after ${timeout / 1000} s`;
  return new CommandError(
    EXIT_FAILED,
    `${labelOf(wanted)} is not enforced everywhere ${after}: ${missing}`,
  );
}
