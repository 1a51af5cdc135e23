/**
 * The project's own cases of routes, written from the Gateway API's text: files of `own/`, in the
 * suites' format but for what is the same in all of them and left out (who asks, where, and the
 * parent of a route).
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import {
  type CaseRequest,
  type Expected,
  type Resource,
  type RouteCase,
  type RouteSet,
  type RouteTest,
  readResources,
  type StatusCase,
} from "./cases.ts";

const NAMESPACE = "shop";
const WEB = { group: "", kind: "Service", name: "web" };
const TO_WEB: CaseRequest = { protocol: "http", connect: { host: "web", port: 80 } };
const FROM = { namespace: NAMESPACE, labels: { app: "client" } };
const CREATED_MS = Date.parse("2024-01-01T00:00:00Z");
const VERSIONS: Readonly<Record<string, string>> = { TCPRoute: "v1alpha2", TLSRoute: "v1alpha2" };

interface OwnRoute {
  readonly name: string;
  readonly kind?: string;
  readonly namespace?: string;
  /** Seconds after all others. */
  readonly created?: number;
  readonly [field: string]: unknown;
}

interface OwnStatus {
  readonly route: string;
  readonly kind?: string;
  readonly namespace?: string;
  /** The Service's name. */
  readonly parent?: string;
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
}

interface OwnTest {
  readonly name: string;
  readonly features: readonly string[];
  readonly routes: readonly OwnRoute[];
  readonly resources?: readonly Resource[];
  readonly cases: readonly (Partial<RouteCase> & { readonly request: Partial<CaseRequest> })[];
  readonly status?: readonly OwnStatus[];
}

interface OwnFile {
  readonly defaults?: Partial<CaseRequest>;
  readonly tests: readonly OwnTest[];
}

export function readOwnSet(folder: string): RouteSet {
  const files = readdirSync(folder).filter((file) => file !== "base.yaml");
  const tests = files.sort().flatMap((file) => {
    const topic = parse(readFileSync(join(folder, file), "utf8")) as OwnFile;
    return topic.tests.map((test) => testOf(test, topic.defaults ?? {}));
  });
  return { name: "own cases", base: readResources(join(folder, "base.yaml")), tests };
}

function testOf(test: OwnTest, defaults: Partial<CaseRequest>): RouteTest {
  return {
    name: test.name,
    features: test.features,
    resources: [...test.routes.map(routeOf), ...(test.resources ?? [])],
    cases: test.cases.map((one): RouteCase => {
      const request: CaseRequest = { ...TO_WEB, ...defaults, ...one.request };
      const name = one.name ?? JSON.stringify(one.request);
      return { from: FROM, ...one, name, request, expect: expectedOf(request, one.expect ?? {}) };
    }),
    status: (test.status ?? []).map(statusOf),
  };
}

/** A backend that answers answers well, where nothing else is said. */
function expectedOf({ protocol }: CaseRequest, expected: Expected): Expected {
  const { backend, statusCodes, grpcStatus, connected } = expected;
  if (backend === undefined || statusCodes || grpcStatus !== undefined) return expected;
  if (protocol === "grpc") return { ...expected, grpcStatus: 0 };
  if (protocol === "tcp" || protocol === "tls")
    return { connected: connected ?? true, ...expected };
  return { ...expected, statusCodes: [200] };
}

function routeOf({
  name,
  kind = "HTTPRoute",
  namespace,
  created = 0,
  ...spec
}: OwnRoute): Resource {
  return {
    apiVersion: `gateway.networking.k8s.io/${VERSIONS[kind] ?? "v1"}`,
    kind,
    metadata: {
      name,
      namespace: namespace ?? NAMESPACE,
      creationTimestamp: new Date(CREATED_MS + created * 1_000).toISOString().replace(".000", ""),
    },
    spec: { parentRefs: [WEB], ...spec },
  };
}

function statusOf(one: OwnStatus): StatusCase {
  const { route, kind = "HTTPRoute", namespace = NAMESPACE, parent = WEB.name } = one;
  const condition = { type: one.type, status: one.status };
  return {
    ...{ kind, namespace, name: route },
    parent: { ...WEB, namespace: NAMESPACE, name: parent },
    condition: one.reason === undefined ? condition : { ...condition, reason: one.reason },
  };
}
