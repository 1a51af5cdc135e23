/**
 * Routes of all kinds and requests, drawn from a small world so that they meet often: most criteria
 * hold about as often as not. `WAYSTONE_SEED` repeats a run that failed.
 */
import type {
  AttachedRoute,
  ConnectionRoute,
  GrpcMethodMatch,
  HttpMatch,
  Route,
  ValueMatch,
} from "../../src/model/route.ts";
import type { HttpFacts } from "../../src/policy/facts.ts";
import { Random } from "../fuzz/random.ts";
import { type RequestParts, request, routeOf } from "./mesh.ts";

export const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);

export const random = new Random(SEED);
export const chance = (oneIn: number) => random.below(oneIn) === 0;
const times = <T>(max: number, make: (index: number) => T): T[] =>
  Array.from({ length: 1 + random.below(max) }, (_, index) => make(index));

const PREFIXES = ["/", "/a", "/a/", "/a/b", "/ab", "/d"];
const EXACT = ["/", "/a", "/a/b", "/a/b/c", "/d/c"];
const EXPRESSIONS = ["/a.*", "/[ad]/.+", ".*c", "/a/b", "/a|/ab"];
const PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/d/c", "/ab/c", "/a/bc"];

function value(name: string, exact: string[], expressions: string[]): ValueMatch {
  return chance(2)
    ? { type: "Exact", name, value: random.pick(exact) }
    : { type: "RegularExpression", name, value: random.pick(expressions) };
}

function values(name: string): ValueMatch[] {
  const found: ValueMatch[] = [];
  if (chance(3)) found.push(value(`${name}1`, ["v1", "v2"], ["v.*", "v[12]", ".+"]));
  if (chance(6)) found.push(value(`${name}2`, ["one", "two"], [".*o", "o.*e", "(one|two)"]));
  return found;
}

function httpMatch(): HttpMatch {
  const type = random.pick(["Exact", "PathPrefix", "PathPrefix", "RegularExpression"] as const);
  const texts = { Exact: EXACT, PathPrefix: PREFIXES, RegularExpression: EXPRESSIONS }[type];
  return {
    path: { type, value: random.pick(texts) },
    method: chance(4) ? random.pick(["GET", "POST"]) : undefined,
    headers: values("h"),
    queryParams: values("q"),
  };
}

/** As `translate/grpc-matches.ts` makes them. */
function grpcMatch(): HttpMatch {
  const isExpression = chance(3);
  const service = chance(3) ? "" : random.pick(isExpression ? ["a.*", "[ad]+"] : ["a", "ab", "d"]);
  const method = chance(3) ? "" : random.pick(isExpression ? ["[bc]", "b|c.*"] : ["b", "c", "bc"]);
  const grpc: GrpcMethodMatch = {
    type: isExpression ? "RegularExpression" : "Exact",
    service,
    method,
  };
  return { path: grpcPath(grpc), grpc, method: undefined, headers: values("h"), queryParams: [] };
}

function grpcPath({ service, method }: GrpcMethodMatch): HttpMatch["path"] {
  if (service === "" && method === "") return { type: "PathPrefix", value: "/" };
  const element = (text: string) => (text === "" ? "[^/]+" : `(?:${text})`);
  return { type: "RegularExpression", value: `/${element(service)}/${element(method)}` };
}

const NAMES = ["a.example.com", "*.example.com", "*.a.example.com", "b.test", "*"];

function route(kind: Route["kind"], key: string, isShared: boolean): Route {
  // A TCPRoute has no host names.
  const isNamed = kind === "TLSRoute" || (isShared && kind !== "TCPRoute");
  const hostnames = isNamed && chance(2) ? times(2, () => random.pick(NAMES)) : [];
  const parts = { key, createdMs: random.below(3), hostnames };
  const base = routeOf(key, [], parts);
  if (kind === "TCPRoute" || kind === "TLSRoute") {
    const rules = times(2, (index) => ({ ...{ name: `${index}`, index, backends: [] } }));
    const made: ConnectionRoute = {
      ...base,
      kind,
      rules: rules.map((rule) => ({ ...rule, position: undefined })),
    };
    return made;
  }
  const match = kind === "GRPCRoute" ? grpcMatch : httpMatch;
  const rules: { matches: HttpMatch[] }[] = [];
  for (let i = 1 + random.below(3); i >= 0; i--) {
    // Rules that ask for the same: their order is all that tells them apart.
    rules.push(rules.length > 0 && chance(2) ? rules[0]! : { matches: times(3, match) });
  }
  return { ...routeOf(key, rules, parts), kind, key };
}

/** `kinds`: of which to draw; else mostly one of those for requests. */
export function attached(isShared: boolean, kinds?: readonly Route["kind"][]): AttachedRoute[] {
  const most = random.pick(["HTTPRoute", "HTTPRoute", "GRPCRoute"] as const);
  const others = ["GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute"] as const;
  let last: Route | undefined;
  return times(4, (i) => {
    const key = `default/r${(i * 7) % 5}`;
    // Routes that say the same: age and name are all that tells them apart.
    if (last !== undefined && chance(2)) {
      last = { ...structuredClone(last), key, createdMs: random.below(3) };
    } else {
      const kind = kinds ? random.pick(kinds) : chance(5) ? random.pick(others) : most;
      last = route(kind, key, isShared);
    }
    return {
      route: last,
      ports: isShared ? [] : random.pick([[], [], [80], [8080]]),
      ...(!isShared && chance(4) ? { consumer: random.pick(["a", "b"]) } : {}),
    };
  });
}

/** `parts`: instead of what would be drawn. */
export function facts(parts: RequestParts = {}): HttpFacts {
  const headers: Record<string, string> = {};
  if (chance(2)) headers.h1 = random.pick(["v1", "v2", "w"]);
  if (chance(2)) headers.h2 = random.pick(["one", "two", ""]);
  const query = [
    ...(chance(2) ? [`q1=${random.pick(["v1", "v2&q1=v1", "%761"])}`] : []),
    ...(chance(2) ? [`q2=${random.pick(["one", "two"])}`] : []),
  ];
  return request({
    sourceIdentity: `spiffe://cluster.local/ns/${random.pick(["a", "b", "c"])}/sa/client`,
    method: random.pick(["GET", "POST", "PUT"]),
    path: random.pick(PATHS),
    query: query.join("&"),
    authority: random.pick(["a.example.com", "A.Example.com:80", "b.test", "x.a.example.com", "c"]),
    ...parts,
    headers: { ...headers, ...parts.headers },
  });
}
