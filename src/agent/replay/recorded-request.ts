/**
 * A recorded decision as it is written to a file and read from one (`waystone decisions -o json`,
 * `waystone what-if --requests`): the facts, what came of them, and how to tell whether another
 * configuration could make a difference. A stable interface; it holds no secrets, but it does hold
 * what requests say of people (paths, headers, claims).
 */
import type { MeshSettings } from "../../model/settings.ts";
import { decide } from "../../policy/decide.ts";
import type { Hop } from "../../policy/facts.ts";
import type { RecordedDecision, RecordedFacts } from "../../telemetry/decision-log.ts";
import {
  flag,
  JsonReader,
  list,
  number,
  port,
  record,
  type Shape,
  text,
} from "../../wire/shapes.ts";
import type { DecisionPayload } from "../decision-record.ts";
import { type ConfigurationDigest, configurationDigest } from "./configuration-digest.ts";
import { OUTCOME, type Outcome, outcomeOf, refusedOutcome } from "./outcome.ts";
import { replayedFacts } from "./replayed-facts.ts";

export interface RecordedRequest {
  readonly id: string;
  /** ISO 8601. */
  readonly at: string;
  readonly revision: number;
  readonly hop: Hop;
  readonly facts: RecordedFacts;
  /** Absent: no choice was left to chance. */
  readonly draw?: number | undefined;
  /** What the client got: an HTTP status, or 0 for a connection. */
  readonly status: number;
  /** Why there was no way to go, or what was wrong with a token; then no policy was asked. */
  readonly refusal?: string | undefined;
  /** Absent: the configuration of that moment is no longer kept. */
  readonly outcome?: Outcome | undefined;
  /** Likewise. */
  readonly configuration?: ConfigurationDigest | undefined;
  /** By which the facts were read. */
  readonly settings?: FactSettings | undefined;
}

export type FactSettings = Pick<MeshSettings, "pathNormalization" | "numTrustedProxies">;

export function recordedRequest(recorded: RecordedDecision<DecisionPayload>): RecordedRequest {
  const { id, atMs, revision, facts, payload, snapshot } = recorded;
  const { hop, status, refusal, isDrawn = false, draw } = payload;
  const base = {
    id,
    at: new Date(atMs).toISOString(),
    revision,
    hop,
    facts,
    ...(isDrawn && { draw }),
    status,
    ...(refusal !== undefined && { refusal }),
  };
  if (snapshot === undefined) return base;
  const { pathNormalization, numTrustedProxies } = snapshot.settings;
  const outcome =
    refusal === undefined
      ? outcomeOf(decide(snapshot, hop, replayedFacts(facts), draw), hop, isDrawn)
      : refusalOutcome(hop, refusal);
  const configuration = configurationDigest(snapshot, hop);
  return { ...base, outcome, configuration, settings: { pathNormalization, numTrustedProxies } };
}

/** `401 Jwt is expired` of a waypoint; of a ztunnel why there was no way. */
export function refusalOutcome(hop: Hop, refusal: string): Outcome {
  const [, status, reason] = /^(40[13]) (.*)$/s.exec(refusal) ?? [];
  if (hop.proxy === "ztunnel" || reason === undefined) return refusedOutcome(refusal);
  return refusedOutcome(reason, Number(status));
}

const HOP: Shape = {
  discriminator: "proxy",
  mapping: {
    ztunnel: record({ workload: text }),
    waypoint: record({ waypoint: text, port }, { service: text, workload: text }),
  },
};

const FACTS = record(
  { sourceAddress: text, destinationAddress: text, destinationPort: port },
  {
    sourceIdentity: text,
    providerAnswers: { values: flag },
    method: text,
    path: text,
    query: text,
    authority: text,
    remoteAddress: text,
    jwt: record({ claims: { values: {} } }, { principal: text }),
    headers: list(text),
  },
);

const READER = new JsonReader<RecordedRequest>(
  record(
    { id: text, at: text, revision: number, hop: HOP, facts: FACTS, status: number },
    {
      draw: number,
      refusal: text,
      outcome: OUTCOME,
      configuration: record({ whole: text, tokens: text }),
      settings: record({ pathNormalization: text, numTrustedProxies: number }),
    },
  ),
);

/** Throws with what is wrong and where. */
export function readRecordedRequest(value: unknown): RecordedRequest {
  const read = READER.read(JSON.stringify(value));
  const { hop } = read;
  if (hop.proxy === "waypoint" && !("service" in hop) && !("workload" in hop)) {
    throw new Error("/hop: neither service nor workload");
  }
  return read;
}
