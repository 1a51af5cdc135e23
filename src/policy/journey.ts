/**
 * The whole way of a request or connection through the mesh, decided hop by hop with the functions
 * that the proxies run: where the client's ztunnel takes it, what the waypoint says, which instance
 * gets it, what the instance's ztunnel says.
 *
 * Pure, like each of its steps: draws, clock and what authorizers say are arguments.
 */
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { type DeciderTarget, type Hop, httpDecider } from "./decider.ts";
import { explain, type TracedDecision } from "./explain.ts";
import type { ConnectionFacts, HttpFacts, JwtFacts, ProviderAnswers } from "./facts.ts";
import type { Authentication } from "./jwt/authenticator.ts";
import { type NextHop, nextHop } from "./next-hop.ts";
import { pickEndpoint } from "./pick-endpoint.ts";

export interface JourneyRequest {
  /** The client's workload; undefined when nobody knows the client. */
  readonly source: Workload | undefined;
  readonly sourceAddress: string;
  /** What the client connects to. */
  readonly address: string;
  readonly port: number;
  /** undefined: a connection that is not HTTP. */
  readonly http: HttpPart | undefined;
  readonly serverName?: string | undefined;
  /** From [0, 1): of every choice on the way. */
  readonly draw: number;
  readonly nowMs: number;
  readonly providerAnswers?: ProviderAnswers | undefined;
  /** Of a token that is taken for verified; then no token of the request is looked at. */
  readonly jwt?: JwtFacts | undefined;
}

export type HttpPart = Pick<HttpFacts, "method" | "path" | "query" | "authority" | "header">;

/** One proxy's word. */
export interface JourneyStep {
  readonly hop: Hop;
  /** undefined: a token was refused before any policy was asked. */
  readonly decision: TracedDecision | undefined;
  /** undefined: nobody asks for tokens there. */
  readonly authentication: Authentication | undefined;
}

export interface Journey {
  readonly first: NextHop;
  readonly steps: readonly JourneyStep[];
  readonly isAllowed: boolean;
  /** What a proxy answers in a backend's place; undefined: the answer is the backend's own. */
  readonly status: number | undefined;
  /** Why it does not arrive, where no decision says so. */
  readonly because: string | undefined;
  /** Whom it reaches; undefined also for an address that nobody knows. */
  readonly reached: Workload | undefined;
}

export function journey(snapshot: Snapshot, request: JourneyRequest): Journey {
  const { source, address, port, draw } = request;
  const first = nextHop(snapshot, { source, address, port, draw });
  const walk = new Walk(snapshot, request, first);
  switch (first.kind) {
    case "refused":
      return walk.end(false, { because: first.because });
    case "passthrough":
      return walk.end(true, {});
    case "direct":
      return walk.arrive(first.workload, first.port, undefined);
    case "tunnel":
      if (first.waypoint === undefined) {
        return walk.arrive(first.workload, first.authorityPort, identityOf(source));
      }
      return walk.throughWaypoint(first.waypoint, first.workload, first.service);
  }
}

function identityOf(workload: Workload | undefined): string | undefined {
  return workload && workloadIdentity(workload);
}

type Outcome = Partial<Pick<Journey, "status" | "because" | "reached">>;

class Walk {
  readonly #snapshot: Snapshot;
  readonly #request: JourneyRequest;
  readonly #first: NextHop;
  readonly #steps: JourneyStep[] = [];

  constructor(snapshot: Snapshot, request: JourneyRequest, first: NextHop) {
    this.#snapshot = snapshot;
    this.#request = request;
    this.#first = first;
  }

  end(isAllowed: boolean, { status, because, reached }: Outcome): Journey {
    return { first: this.#first, steps: this.#steps, isAllowed, status, because, reached };
  }

  /** At the instance: its ztunnel judges, if it has one. */
  arrive(workload: Workload, port: number, sourceIdentity: string | undefined): Journey {
    if (workload.tunnelProtocol !== "HBONE") return this.end(true, { reached: workload });
    const hop: Hop = { proxy: "ztunnel", workload: workload.uid };
    const facts: ConnectionFacts = {
      sourceIdentity,
      sourceAddress: this.#request.sourceAddress,
      destinationAddress: workload.addresses[0] ?? "",
      destinationPort: port,
    };
    const decision = explain(this.#snapshot, hop, facts, this.#request.draw);
    this.#steps.push({ hop, decision, authentication: undefined });
    const { isAllowed } = decision.verdict;
    return this.end(isAllowed, isAllowed ? { reached: workload } : {});
  }

  throughWaypoint(waypoint: string, instance: Workload, service: Service | undefined): Journey {
    const { address, port } = this.#request;
    const workload = service === undefined ? this.#workloadAt(address) : undefined;
    if (service === undefined && workload === undefined) {
      return this.end(false, { because: `nobody has the address ${address}` });
    }
    const of: DeciderTarget =
      service === undefined ? { workload: workload!.uid } : { service: service.key };
    const hop: Hop = { proxy: "waypoint", waypoint, ...of, port };
    const isHttp = this.#request.http !== undefined && speaksHttp(service, port);
    const { jwt } = this.#request;
    const isVerifying = isHttp && jwt === undefined;
    const authentication = isVerifying ? this.#authenticate(waypoint, of) : undefined;
    if (authentication?.isPassed === false) {
      this.#steps.push({ hop, decision: undefined, authentication });
      const { status, reason } = authentication;
      return this.end(false, { status, because: reason });
    }
    const facts = isHttp
      ? { ...this.#facts(), ...this.#request.http!, jwt: jwt ?? authentication?.jwt }
      : this.#facts();
    const decision = explain(this.#snapshot, hop, facts, this.#request.draw);
    this.#steps.push({ hop, decision, authentication });
    if (!decision.verdict.isAllowed) return this.end(false, { status: decision.status });
    if (decision.status !== undefined) return this.end(true, { status: decision.status });
    const because = isHttp ? undefined : closedBecause(decision);
    if (because !== undefined) return this.end(true, { because });
    const identity = workloadIdentity(instance);
    if (workload !== undefined) return this.arrive(workload, port, identity);
    return this.#toBackend(decision, service!, instance, identity);
  }

  #facts(): ConnectionFacts {
    const { source, sourceAddress, address, port, serverName, providerAnswers } = this.#request;
    return {
      sourceIdentity: identityOf(source),
      sourceAddress,
      destinationAddress: address,
      destinationPort: port,
      serverName,
      providerAnswers,
    };
  }

  #authenticate(waypoint: string, of: DeciderTarget): Authentication | undefined {
    const { http, port, nowMs } = this.#request;
    const { authenticator } = httpDecider(this.#snapshot, waypoint, of, port);
    return authenticator?.authenticate({ ...this.#facts(), ...http! }, nowMs);
  }

  #toBackend(
    decision: TracedDecision,
    service: Service,
    instance: Workload,
    identity: string,
  ): Journey {
    const { backend } = decision;
    const target = backend?.service ?? service.key;
    const port = backend?.service === undefined ? this.#request.port : backend.port;
    const chosen = this.#snapshot.services.get(target);
    const { draw, source = instance } = this.#request;
    const endpoint = chosen && pickEndpoint(this.#snapshot, chosen, { source, port, draw });
    if (endpoint === undefined) {
      const because = `service ${chosen?.hostname ?? target} has no healthy endpoint`;
      return this.end(true, { status: decision.isHttp ? 503 : undefined, because });
    }
    const workload = this.#snapshot.workloads.get(endpoint.workloadUid)!;
    return this.arrive(workload, endpoint.ports.get(port)!, identity);
  }

  #workloadAt(address: string): Workload | undefined {
    const [uid] = this.#snapshot.addresses.get(address)?.workloads ?? [];
    return uid === undefined ? undefined : this.#snapshot.workloads.get(uid);
  }
}

/** A connection that may be opened, and that its routes lead nowhere. */
function closedBecause({ trace }: TracedDecision): string | undefined {
  const chosen = trace.routes?.chosen;
  if (chosen === undefined) return "no route is for it";
  return chosen.problem && `${chosen.kind} ${chosen.route}: ${chosen.problem}`;
}

/** Whether the waypoint looks into it: a port that does not say is looked at. */
function speaksHttp(service: Service | undefined, port: number): boolean {
  const protocol = service?.ports.find((known) => known.port === port)?.protocol ?? "UNKNOWN";
  return protocol !== "TCP" && protocol !== "TLS";
}
