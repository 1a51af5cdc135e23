/**
 * What strangers did wrong on a proxy's connections: counted, and told in the log without letting
 * them fill it. A counter says how often; of the lines of one kind a few a second are written.
 *
 * Labels are our own words only: RFC 9113's error codes, our failure codes, and roles.
 */
import type { Failure } from "../kit/failure.ts";
import type { Logger } from "../kit/log.ts";
import { LogLimit } from "../kit/log-limit.ts";
import type { Counter, CounterFamily, MetricRegistry } from "./metrics.ts";

/**
 * On which kind of connection: `tunnel_listener` and `tunnel_upstream` carry CONNECT streams,
 * `listener` and `upstream` are HTTP/2 connections inside them.
 */
export type PeerRole = "tunnel_listener" | "tunnel_upstream" | "listener" | "upstream";

/** RFC 9113's name of the error, what is wrong with its section, and on which stream (0: all). */
interface ProtocolError {
  readonly code: string;
  readonly detail: string;
  readonly stream: number;
}

export class PeerErrors {
  readonly #log: Logger;
  readonly #limit: LogLimit;
  readonly #protocolErrors: CounterFamily;
  readonly #tlsRefused: CounterFamily;
  readonly #malformedConnects: Counter;

  constructor(registry: MetricRegistry, logger: Logger) {
    this.#log = logger;
    this.#limit = new LogLimit({
      onLeftOut: (kind, count) => logger.warn({ kind, count }, "lines left out"),
    });
    this.#protocolErrors = registry.counter(
      "waystone_http2_protocol_errors_total",
      "Breaches of HTTP/2 and of its limits by a peer, by the error that the peer was told.",
      ["role", "code"],
    );
    this.#tlsRefused = registry.counter(
      "waystone_tls_refused_total",
      "Connections to a tunnel port that ended before a tunnel could be asked for, by failure.",
      ["code"],
    );
    this.#malformedConnects = registry
      .counter(
        "waystone_tunnel_malformed_requests_total",
        "Requests to a tunnel port that are no CONNECT with an authority; answered 400.",
      )
      .child([]);
  }

  http2(role: PeerRole, error: ProtocolError, peer: string): void {
    const { code, detail, stream } = error;
    this.#protocolErrors.child([role, code]).add(1);
    if (!this.#limit.allows(`http2 ${role} ${code}`)) return;
    this.#log.warn({ peer, role, code, detail, stream }, "the peer broke HTTP/2");
  }

  tls(failure: Failure, remoteAddress: string): void {
    this.#tlsRefused.child([failure.code]).add(1);
    if (!this.#limit.allows(`tls ${failure.code}`)) return;
    this.#log.warn({ remoteAddress, reason: failure.message }, "tunnel refused");
  }

  malformedConnect(peer: string): void {
    this.#malformedConnects.add(1);
    if (!this.#limit.allows("connect 400")) return;
    this.#log.warn({ peer, status: 400 }, "tunnel refused");
  }
}
