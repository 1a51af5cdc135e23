/**
 * Envoy's command operators, as far as an AccessRecord can answer them.
 *
 * An operator is looked up once, while a format is compiled, and becomes a function of the record.
 * What is unknown is a problem to report (a string), never an exception.
 */
import type { AccessRecord } from "./access-record.ts";
import { compileTime } from "./start-time.ts";

/** Where a value comes from. An empty string means that there is none. */
export type ValueSource =
  | {
      /** `trusted`: no peer has a say in it, only who wrote the format. */
      readonly type: "string" | "trusted";
      readonly read: (record: AccessRecord) => string;
    }
  | { readonly type: "number"; readonly read: (record: AccessRecord) => number };

type Read = (record: AccessRecord) => string;

const text = (read: Read): ValueSource => ({ type: "string", read });
const number = (read: (record: AccessRecord) => number): ValueSource => ({ type: "number", read });

/** Everything up to the port: `10.0.0.1`, `[::1]`. */
function hostOf(address: string): string {
  const colon = address.lastIndexOf(":");
  return colon < 0 || address.endsWith("]") ? address : address.slice(0, colon);
}

function portOf(address: string): string {
  const colon = address.lastIndexOf(":");
  return colon < 0 || address.endsWith("]") ? "" : address.slice(colon + 1);
}

function withoutQuery(target: string): string {
  const question = target.indexOf("?");
  return question < 0 ? target : target.slice(0, question);
}

function addressOperators(name: string, read: Read): [string, ValueSource][] {
  return [
    [`${name}_ADDRESS`, text(read)],
    [`${name}_ADDRESS_WITHOUT_PORT`, text((r) => hostOf(read(r)))],
    [`${name}_PORT`, text((r) => portOf(read(r)))],
  ];
}

const PLAIN_OPERATORS: ReadonlyMap<string, ValueSource> = new Map([
  ["PROTOCOL", text((r) => r.protocol)],
  ["RESPONSE_CODE", number((r) => r.responseCode)],
  // Envoy says "-" itself here, so that JSON has a string and not null.
  ["RESPONSE_FLAGS", text((r) => r.responseFlags || "-")],
  ["RESPONSE_CODE_DETAILS", text((r) => r.responseCodeDetails)],
  ["CONNECTION_TERMINATION_DETAILS", text((r) => r.connectionTerminationDetails)],
  ["BYTES_RECEIVED", number((r) => r.bytesReceived)],
  ["BYTES_SENT", number((r) => r.bytesSent)],
  ["DURATION", number((r) => Math.trunc(r.durationMs))],
  ["UPSTREAM_HOST", text((r) => r.upstreamHost)],
  ["UPSTREAM_CLUSTER", text((r) => r.upstreamCluster)],
  ["UPSTREAM_CLUSTER_RAW", text((r) => r.upstreamCluster)],
  ...addressOperators("UPSTREAM_REMOTE", (r) => r.upstreamHost),
  ...addressOperators("UPSTREAM_LOCAL", (r) => r.upstreamLocalAddress),
  ...addressOperators("DOWNSTREAM_LOCAL", (r) => r.downstreamLocalAddress),
  ...addressOperators("DOWNSTREAM_REMOTE", (r) => r.downstreamRemoteAddress),
  // The same: no header can replace the address of the peer here.
  ...addressOperators("DOWNSTREAM_DIRECT_REMOTE", (r) => r.downstreamRemoteAddress),
  ["DOWNSTREAM_PEER_URI_SAN", text((r) => r.downstreamPeerUriSan ?? "")],
  ["REQUESTED_SERVER_NAME", text((r) => r.requestedServerName)],
  ["ROUTE_NAME", text((r) => r.routeName)],
  ["UPSTREAM_TRANSPORT_FAILURE_REASON", text((r) => r.upstreamTransportFailureReason)],
]);

const REQUEST_FIELDS: ReadonlyMap<string, Read> = new Map([
  [":method", (r) => r.method],
  [":path", (r) => r.path],
  // The record has the client's own path, which is what this header keeps across a rewrite.
  ["x-envoy-original-path", (r) => r.path],
  [":authority", (r) => r.authority],
  ["host", (r) => r.authority],
  ["x-forwarded-for", (r) => r.forwardedFor],
  ["user-agent", (r) => r.userAgent],
  ["x-request-id", (r) => r.requestId],
]);

const RESPONSE_FIELDS: ReadonlyMap<string, Read> = new Map([
  ["x-waystone-decision", (r) => r.decisionId ?? ""],
  [":status", (r) => (r.responseCode > 0 ? String(r.responseCode) : "")],
  [
    "x-envoy-upstream-service-time",
    (r) => (r.upstreamServiceTimeMs < 0 ? "" : String(Math.trunc(r.upstreamServiceTimeMs))),
  ],
]);

function requestHeader(name: string): Read {
  return REQUEST_FIELDS.get(name) ?? ((r) => r.header?.(name) ?? "");
}

function responseHeader(name: string): Read {
  return RESPONSE_FIELDS.get(name) ?? ((r) => r.responseHeader?.(name) ?? "");
}

/** `X?Y`: the first header, and the second where the first is absent. */
function headerOperator(argument: string, find: (name: string) => Read): ValueSource | string {
  const names = argument.toLowerCase().split("?");
  if (names.length > 2 || names.some((name) => !/^:?[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))) {
    return `"${argument}" is not a header name, nor two with "?" between them`;
  }
  const first = find(names[0]!);
  if (names.length === 1) return text(first);
  const second = find(names[1]!);
  return text((r) => first(r) || second(r));
}

/** Operators with an argument in parentheses. */
const ARGUMENT_OPERATORS: ReadonlyMap<string, (argument: string) => ValueSource | string> = new Map(
  [
    ["REQ", (argument: string) => headerOperator(argument, requestHeader)],
    ["RESP", (argument: string) => headerOperator(argument, responseHeader)],
    [
      "REQ_WITHOUT_QUERY",
      (argument: string) =>
        headerOperator(argument, (name) => {
          const read = requestHeader(name);
          return (r) => withoutQuery(read(r));
        }),
    ],
  ],
);

/** The source of an operator, or what is wrong with it. */
export function operatorSource(
  name: string,
  argument: string | undefined,
  lengthMax: number | undefined,
): ValueSource | string {
  const source = find(name, argument);
  if (typeof source === "string" || lengthMax === undefined) return source;
  if (source.type === "number") return `%${name}% is a number and cannot be cut to a length`;
  const { read } = source;
  return text((r) => read(r).slice(0, lengthMax));
}

function find(name: string, argument: string | undefined): ValueSource | string {
  if (name === "START_TIME") {
    const time = compileTime(argument ?? "");
    if (typeof time === "string") return time;
    return { type: "trusted", read: (r) => time(r.startMs) };
  }
  const withArgument = ARGUMENT_OPERATORS.get(name);
  if (withArgument !== undefined) {
    return argument === undefined ? `%${name}(…)% needs a header name` : withArgument(argument);
  }
  const plain = PLAIN_OPERATORS.get(name);
  if (plain === undefined) return `%${name}% is not an operator that is known here`;
  return argument === undefined ? plain : `%${name}% takes no argument`;
}
