/**
 * Whether what came back is what a case asks for. Each function lists what is not.
 */
import type { BackendRequest, Expected, Redirect } from "./cases.ts";
import type { Seen, TcpSeen } from "./clients.ts";

const DENIED_STATUSES: readonly number[] = [403, 503];
const GRPC_PERMISSION_DENIED = 7;
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: "80", https: "443" };

export function judgeHttp(expected: Expected, seen: Seen): string[] {
  const wrong: string[] = [];
  if (expected.denied) {
    const isDenied = seen.failure !== "" || DENIED_STATUSES.includes(seen.status);
    const isDeniedCall = seen.grpcStatus === GRPC_PERMISSION_DENIED;
    return isDenied || isDeniedCall ? [] : [`it was let through (${seen.status})`];
  }
  if (seen.failure !== "") return [seen.failure];
  if (expected.allowed && DENIED_STATUSES.includes(seen.status)) wrong.push(`it was denied`);
  const { statusCodes, grpcStatus } = expected;
  if (statusCodes && !isOneOf(statusCodes, seen.status)) {
    wrong.push(`status ${seen.status}, not ${statusCodes.join(" or ")}`);
  }
  if (grpcStatus !== undefined && seen.grpcStatus !== grpcStatus) {
    wrong.push(`grpc-status ${seen.grpcStatus} (HTTP ${seen.status}), not ${grpcStatus}`);
  }
  judgeBackend(expected, seen.backend, wrong);
  if (expected.answeredByProxy && seen.backend !== undefined) {
    wrong.push(`it reached ${seen.backend.workload}`);
  }
  if (expected.backendRequest) judgeBackendRequest(expected.backendRequest, seen, wrong);
  judgeResponseHeaders(expected, seen, wrong);
  if (expected.redirect) judgeRedirect(expected.redirect, seen.headers.location, wrong);
  return wrong;
}

export function judgeTcp(expected: Expected, seen: TcpSeen): string[] {
  if (expected.denied || expected.connected === false) {
    return seen.failure === "" ? ["it was let through"] : [];
  }
  if (seen.failure !== "") return [seen.failure];
  const wrong: string[] = [];
  if (expected.serverFirst && !seen.isServerFirst) wrong.push("the server did not speak first");
  judgeBackend(expected, seen.backend, wrong);
  return wrong;
}

/** Where 504 or 408 is listed either one passes. */
function isOneOf(wanted: readonly number[], status: number): boolean {
  if (wanted.includes(status)) return true;
  return (status === 408 && wanted.includes(504)) || (status === 504 && wanted.includes(408));
}

function judgeBackend(
  { backend, namespace }: Expected,
  seen: { readonly workload: string; readonly namespace: string } | undefined,
  wrong: string[],
): void {
  if (backend === undefined && namespace === undefined) return;
  const wanted = `${namespace ?? "*"}/${backend ?? ""}*`;
  if (seen === undefined) {
    wrong.push(`no backend of ${wanted} answered`);
    return;
  }
  const isRight =
    seen.workload.startsWith(backend ?? "") && seen.namespace === (namespace ?? seen.namespace);
  if (!isRight) wrong.push(`${seen.namespace}/${seen.workload} answered, not ${wanted}`);
}

function judgeBackendRequest(expected: BackendRequest, { backend }: Seen, wrong: string[]): void {
  if (backend === undefined) {
    wrong.push("no backend says what reached it");
    return;
  }
  const same = (what: string, wanted: string | undefined, got: string) => {
    if (wanted !== undefined && wanted !== got) wrong.push(`${what} "${got}", not "${wanted}"`);
  };
  const [pathOnly = ""] = backend.path.split("?");
  const hasQuery = expected.path?.includes("?") === true;
  same("method", expected.method, backend.method);
  same("path", expected.path, hasQuery ? backend.path : pathOnly);
  same("path and query", expected.pathAndQuery, backend.path);
  same("host", expected.host, backend.host);
  same("protocol", expected.protocol, backend.protocol);
  for (const [name, value] of Object.entries(expected.headers ?? {})) {
    same(`header ${name}`, value, backend.headers[name.toLowerCase()] ?? "(absent)");
  }
  for (const name of expected.presentHeaders ?? []) {
    if (backend.headers[name.toLowerCase()] === undefined) wrong.push(`no header ${name}`);
  }
  for (const name of expected.absentHeaders ?? []) {
    const value = backend.headers[name.toLowerCase()];
    if (value !== undefined) wrong.push(`header ${name}: ${value}`);
  }
}

function judgeResponseHeaders(expected: Expected, { headers }: Seen, wrong: string[]): void {
  const plain = (value: string) =>
    expected.ignoreWhitespaceInHeaderValues ? value.replace(/\s/g, "") : value;
  for (const [name, value] of Object.entries(expected.responseHeaders ?? {})) {
    const got = headers[name.toLowerCase()];
    if (got === undefined || plain(got) !== plain(value)) {
      wrong.push(`response header ${name} "${got ?? "(absent)"}", not "${value}"`);
    }
  }
  for (const [name, values] of Object.entries(expected.responseHeadersOneOf ?? {})) {
    const got = headers[name.toLowerCase()];
    if (got !== undefined && values.some((value) => plain(value) === plain(got))) continue;
    wrong.push(`response header ${name} "${got ?? "(absent)"}", none of ${values.join(" | ")}`);
  }
  for (const name of expected.presentResponseHeaders ?? []) {
    if (headers[name.toLowerCase()] === undefined) wrong.push(`no response header ${name}`);
  }
  for (const name of expected.absentResponseHeaders ?? []) {
    const got = headers[name.toLowerCase()];
    if (got !== undefined) wrong.push(`response header ${name}: ${got}`);
  }
}

/** No host: not checked. No port: absent, or the scheme's own. */
function judgeRedirect(expected: Redirect, location: string | undefined, wrong: string[]): void {
  if (location === undefined || !URL.canParse(location)) {
    wrong.push(`location "${location ?? "(absent)"}" is no URL`);
    return;
  }
  const url = new URL(location);
  const scheme = url.protocol.slice(0, -1);
  // The parser drops a scheme's own port: what stands in the text counts.
  const port = /^[a-z]+:\/\/(?:\[[^\]]*\]|[^:/?]*):(\d+)/.exec(location)?.[1] ?? "";
  const isPortRight =
    expected.port === undefined
      ? port === "" || port === DEFAULT_PORTS[scheme]
      : port === expected.port || (port === "" && expected.port === DEFAULT_PORTS[scheme]);
  const isRight =
    (expected.scheme ?? scheme) === scheme &&
    (expected.host ?? url.hostname) === url.hostname &&
    (expected.path ?? url.pathname) === url.pathname &&
    isPortRight;
  if (!isRight) wrong.push(`location ${location}, not ${JSON.stringify(expected)}`);
}
