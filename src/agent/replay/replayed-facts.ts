/**
 * Recorded facts, as the policy code reads them: a decision made again sees what the first one saw.
 *
 * What was not recorded (secrets), or would be read another way now, is not guessed: reading it is
 * noted in `missing`, and who asked knows that the decision is not to be relied on.
 */
import type { ConnectionFacts, HttpFacts, JwtFacts, ProviderAnswers } from "../../policy/facts.ts";
import type { RecordedFacts } from "../../telemetry/decision-log.ts";
import { REDACTED } from "../../telemetry/redact.ts";

export function replayedFacts(recorded: RecordedFacts): ConnectionFacts | ReplayedRequest {
  if (recorded.method !== undefined) return new ReplayedRequest(recorded);
  const { sourceIdentity, sourceAddress, destinationAddress, destinationPort } = recorded;
  const { providerAnswers } = recorded;
  return { sourceIdentity, sourceAddress, destinationAddress, destinationPort, providerAnswers };
}

export class ReplayedRequest implements HttpFacts {
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  readonly providerAnswers: ProviderAnswers | undefined;
  readonly method: string;
  readonly authority: string;
  path: string;
  jwt: JwtFacts | undefined;
  /** The first fact that was looked at and is not known. */
  missing: string | undefined = undefined;
  /** The mesh counts proxies in X-Forwarded-For in another way than when it was recorded. */
  isRemoteUncertain = false;
  readonly #query: string;
  readonly #headers: readonly string[];
  readonly #remoteAddress: string | undefined;

  constructor(recorded: RecordedFacts) {
    this.sourceIdentity = recorded.sourceIdentity;
    this.sourceAddress = recorded.sourceAddress;
    this.destinationAddress = recorded.destinationAddress;
    this.destinationPort = recorded.destinationPort;
    this.providerAnswers = recorded.providerAnswers;
    this.method = recorded.method ?? "";
    this.authority = recorded.authority ?? "";
    this.path = recorded.path ?? "/";
    this.jwt = recorded.jwt;
    this.#query = recorded.query ?? "";
    this.#headers = recorded.headers ?? [];
    this.#remoteAddress = recorded.remoteAddress;
  }

  get query(): string {
    if (this.#query.includes(REDACTED)) {
      this.missing ??= "the query holds a secret, which is not recorded";
    }
    return this.#query;
  }

  get remoteAddress(): string | undefined {
    if (this.isRemoteUncertain) {
      this.missing ??= "numTrustedProxies changes, and with it who the client is said to be";
    }
    return this.#remoteAddress;
  }

  header(name: string): string | undefined {
    let joined: string | undefined;
    const headers = this.#headers;
    for (let i = 0; i + 1 < headers.length; i += 2) {
      if (headers[i] !== name) continue;
      const value = headers[i + 1]!;
      if (value === REDACTED) {
        this.missing ??= `header ${name} holds a secret, which is not recorded`;
      }
      joined = joined === undefined ? value : `${joined},${value}`;
    }
    return joined;
  }
}
