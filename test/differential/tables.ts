/** Random route tables and requests, a set for each feature of a route. */
import type {
  HeaderModifier,
  HttpBackend,
  HttpMatch,
  HttpRoute,
  HttpRouteRule,
  PathModifier,
  RouteFilter,
  ValueMatch,
} from "../../src/model/route.ts";
import type { Random } from "../fuzz/random.ts";
import { routeOf } from "../policy/mesh.ts";
import { backendService } from "./waystone-side.ts";

export interface Asked {
  readonly method: string;
  /** With the query. */
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly bodyBytes: number;
}

export interface Table {
  readonly feature: string;
  readonly host: string;
  readonly routes: readonly HttpRoute[];
  readonly requests: readonly Asked[];
}

const TABLES = 40;
const HTTP_BACKENDS = ["b1", "b2", "b3"];
const GRPC_BACKENDS = ["g1", "g2"];
export const MIRROR = "b9";
export const BACKENDS = [...HTTP_BACKENDS, MIRROR, ...GRPC_BACKENDS];

const PREFIXES = ["/", "/a", "/a/", "/a/b", "/ab", "/d", "/a/b/"];
const EXACT = ["/", "/a", "/a/b", "/a/b/c", "/d/c", "/d/"];
const EXPRESSIONS = ["/a.*", "/[ad]/.+", ".*c", "/a/b", "/a|/ab", "/(a|d)/?[b-c]*"];
const PATHS = [
  "/",
  "/a",
  "/a/",
  "/a/b",
  "/a/b/",
  "/a/b/c",
  "/ab",
  "/d/c",
  "/d/",
  "/ab/c",
  "/a/bc",
  "/A/b",
];
const ODD_PATHS = ["/a//b", "/a/./b", "/a/../d/c", "/a%2Fb", "/%61/b", "/a/b%20c", "/a;x=1/b"];
const QUERIES = ["", "", "v=1", "v=2&v=1", "w=x%20y", "v=1&w=x+y", "V=1", "%76=2", "v=", "v"];

type Parts = Partial<HttpRouteRule>;

export class TableMaker {
  readonly #random: Random;
  readonly #requestsPerTable: number;

  constructor(random: Random, requestsPerFeature: number) {
    this.#random = random;
    this.#requestsPerTable = Math.ceil(requestsPerFeature / TABLES);
  }

  all(): readonly Table[] {
    const features: Record<string, () => Omit<Table, "feature" | "host">> = {
      "path matches": () => this.#matching({ path: true }),
      "header matches": () => this.#matching({ headers: true }),
      "query matches": () => this.#matching({ query: true }),
      "method matches": () => this.#matching({ method: true }),
      precedence: () => this.#matching({ path: true, headers: true, query: true, method: true }),
      "paths normalised": () => this.#matching({ path: true, odd: true }),
      weights: () => this.#weights(),
      RequestHeaderModifier: () => this.#headers("RequestHeaderModifier"),
      ResponseHeaderModifier: () => this.#headers("ResponseHeaderModifier"),
      RequestRedirect: () => this.#redirects(),
      URLRewrite: () => this.#rewrites(),
      CORS: () => this.#cors(),
      RequestMirror: () => this.#mirrors(),
      timeouts: () => this.#timeouts(),
      retry: () => this.#retries(),
      "GRPCRoute matches": () => this.#grpc(),
    };
    return Object.entries(features).flatMap(([feature, make], f) =>
      Array.from({ length: TABLES }, (_, i): Table => {
        return { feature, host: `f${f}-t${i}.example.com`, ...make() };
      }),
    );
  }

  // ---- pieces

  #chance(oneIn: number): boolean {
    return this.#random.below(oneIn) === 0;
  }

  #pick<T>(items: readonly T[]): T {
    return this.#random.pick(items);
  }

  #some<T>(items: readonly T[], max: number): T[] {
    const left = [...items];
    const count = this.#random.below(max + 1);
    return Array.from({ length: Math.min(count, left.length) }, () => {
      return left.splice(this.#random.below(left.length), 1)[0]!;
    });
  }

  #times<T>(min: number, max: number, make: (index: number) => T): T[] {
    return Array.from({ length: min + this.#random.below(max - min + 1) }, (_, i) => make(i));
  }

  #backend(name = this.#pick(HTTP_BACKENDS), parts: Partial<HttpBackend> = {}): HttpBackend {
    const service = backendService(name);
    const fixed = { port: 80, problem: undefined, position: undefined, filters: [] };
    return { weight: 1, service, ...fixed, ...parts };
  }

  /** Requests; those of one table share a client's connections. */
  #requests(make: () => Partial<Asked>): Asked[] {
    return Array.from({ length: this.#requestsPerTable }, () => ({
      method: this.#pick(["GET", "GET", "POST", "PUT", "HEAD", "DELETE"]),
      target: this.#target(PATHS),
      headers: [],
      bodyBytes: 0,
      ...make(),
    }));
  }

  #target(paths: readonly string[]): string {
    const query = this.#pick(QUERIES);
    return this.#pick(paths) + (query === "" ? "" : `?${query}`);
  }

  #path(): HttpMatch["path"] {
    if (this.#chance(4)) return { type: "PathPrefix", value: "/" };
    const type = this.#pick(["Exact", "PathPrefix", "PathPrefix", "RegularExpression"] as const);
    const texts = { Exact: EXACT, PathPrefix: PREFIXES, RegularExpression: EXPRESSIONS }[type];
    return { type, value: this.#pick(texts) };
  }

  #value(name: string, exact: readonly string[], expressions: readonly string[]): ValueMatch {
    return this.#chance(2)
      ? { type: "Exact", name, value: this.#pick(exact) }
      : { type: "RegularExpression", name, value: this.#pick(expressions) };
  }

  #routes(rules: () => Parts): HttpRoute[] {
    return this.#times(1, 2, (i) => {
      return routeOf(`r${i}`, this.#times(1, 4, rules), { createdMs: this.#random.below(2) });
    });
  }

  // ---- features

  #matching(on: { path?: true; headers?: true; query?: true; method?: true; odd?: true }) {
    // With many criteria each is asked for less often, or hardly a request would match.
    const most = Object.keys(on).length > 2 ? 1 : 2;
    const match = (): HttpMatch => ({
      path: on.path ? this.#path() : { type: "PathPrefix", value: "/" },
      headers: on.headers
        ? this.#some(
            [
              this.#value("x-version", ["v1", "v2", ""], ["v.*", "v[12]", ".+", "V1"]),
              this.#value("x-user", ["one", "two"], [".*o", "o.*e", "(one|two)", "on"]),
            ],
            most,
          )
        : [],
      queryParams: on.query
        ? this.#some(
            [
              this.#value("v", ["1", "2", ""], ["[12]", ".+", ".*"]),
              this.#value("w", ["x y", "x+y"], ["x.*"]),
            ],
            most,
          )
        : [],
      method: on.method && this.#chance(4 - most) ? this.#pick(["GET", "POST", "HEAD"]) : undefined,
    });
    const routes = this.#routes(() => ({
      matches: this.#times(1, 3, match),
      backends: [this.#backend()],
    }));
    const requests = this.#requests(() => ({
      target: this.#target(on.odd ? [...PATHS, ...ODD_PATHS, ...ODD_PATHS] : PATHS),
      headers: [
        ...this.#maybe("x-version", ["v1", "v2", "", "V1"]),
        ...this.#maybe("x-user", ["one", "two", "two"]),
      ],
    }));
    return { routes, requests };
  }

  #maybe(name: string, values: readonly string[]): [string, string][] {
    if (this.#chance(3)) return [];
    const first: [string, string] = [name, this.#pick(values)];
    return this.#chance(8) ? [first, [name, this.#pick(values)]] : [first];
  }

  /** A third each: one backend takes all, none takes any, several share. */
  #weights() {
    const chosen = this.#random.below(3);
    const weight = (i: number) => {
      const one = i === chosen ? 1 + this.#random.below(5) : 0;
      return [one, 0, 1 + this.#random.below(9)];
    };
    const kind = this.#pick([0, 0, 1, 2, 2]);
    const backends = HTTP_BACKENDS.map((name, i) =>
      this.#backend(name, { weight: weight(i)[kind]! }),
    );
    if (this.#chance(3))
      backends.push(this.#backend("b1", { service: undefined, weight: kind === 0 ? 0 : 2 }));
    return { routes: [routeOf("r", [{ backends }])], requests: this.#requests(() => ({})) };
  }

  #modifier(): HeaderModifier {
    const header = (name: string) => ({
      name,
      value: this.#pick(["1", "two words", "a,b", 'q="x"', "50%%"]),
    });
    const names = ["x-a", "x-b", "x-c", "user-agent", "accept"];
    return {
      set: this.#some(names, 2).map(header),
      add: this.#some(names, 2).map(header),
      remove: this.#some(names, 2),
    };
  }

  #headers(type: "RequestHeaderModifier" | "ResponseHeaderModifier") {
    const filter = (): RouteFilter => ({ type, headers: this.#modifier() });
    const backend = () => this.#backend(undefined, { filters: this.#chance(2) ? [filter()] : [] });
    const routes = [
      routeOf("r", [
        {
          matches: [matchOf("/a")],
          filters: this.#chance(4) ? [] : [filter()],
          backends: [backend()],
        },
        { filters: [filter()], backends: [this.#backend()] },
      ]),
    ];
    const requests = this.#requests(() => ({
      headers: [
        ...this.#maybe("x-a", ["old", "a,b"]),
        ...this.#maybe("X-B", ["old", ""]),
        ...this.#maybe("user-agent", ["me"]),
        ["x-reply-headers", this.#some(["x-a=r1", "x-b=r2", "x-b=r3", "accept=r4"], 3).join(",")],
      ],
    }));
    return { routes, requests };
  }

  #pathChange(): PathModifier | undefined {
    return this.#pick([
      undefined,
      { type: "ReplaceFullPath" as const, value: this.#pick(["/", "/x", "/x/y/"]) },
      { type: "ReplacePrefixMatch" as const, value: this.#pick(["/", "/x", "/x/", "/x/y", ""]) },
    ]);
  }

  #redirects() {
    const rule = (): Parts => {
      const prefix = this.#pick(PREFIXES);
      return {
        matches: [matchOf(prefix)],
        filters: [
          {
            type: "RequestRedirect",
            scheme: this.#pick([undefined, undefined, "http", "https"]),
            hostname: this.#pick([undefined, "other.example.org"]),
            path: this.#pathChange(),
            port: this.#pick([undefined, undefined, 80, 443, 8443]),
            statusCode: this.#pick([301, 302, 303, 307, 308]),
          },
        ],
      };
    };
    return {
      routes: [routeOf("r", this.#times(1, 3, rule))],
      requests: this.#requests(() => ({})),
    };
  }

  #rewrites() {
    const rule = (): Parts => ({
      matches: [matchOf(this.#pick(PREFIXES))],
      filters: [
        {
          type: "URLRewrite",
          hostname: this.#pick([undefined, "other.example.org"]),
          path: this.#pathChange(),
        },
      ],
      backends: [this.#backend()],
    });
    return {
      routes: [routeOf("r", this.#times(1, 3, rule))],
      requests: this.#requests(() => ({})),
    };
  }

  #cors() {
    const filter: RouteFilter = {
      type: "CORS",
      allowOrigins: this.#pick([
        ["*"],
        ["http://a.example"],
        ["https://*.a.example"],
        ["http://a.example", "https://b.example:8443"],
      ]),
      allowCredentials: this.#chance(3),
      allowMethods: this.#pick([[], ["GET"], ["GET", "PUT"]]),
      allowHeaders: this.#pick([[], ["x-a"], ["x-a", "x-b"]]),
      exposeHeaders: this.#pick([[], ["x-c"], ["x-c", "x-d"]]),
      maxAgeS: this.#pick([5, 600]),
    };
    const routes = [routeOf("r", [{ filters: [filter], backends: [this.#backend()] }])];
    const origins = [
      "http://a.example",
      "https://b.example:8443",
      "https://x.a.example",
      "https://a.example",
      "null",
      "http://evil.example",
    ];
    const requests = this.#requests(() => ({
      method: this.#pick(["OPTIONS", "OPTIONS", "GET", "PUT"]),
      headers: [
        ...this.#maybe("origin", origins).slice(0, 1),
        ...this.#maybe("access-control-request-method", ["GET", "PUT", "DELETE"]).slice(0, 1),
        ...this.#maybe("access-control-request-headers", ["x-a", "x-z"]).slice(0, 1),
      ],
    }));
    return { routes, requests };
  }

  #mirrors() {
    const mirror: RouteFilter = {
      type: "RequestMirror",
      backend: this.#backend(MIRROR),
      share: 1,
    };
    const header: RouteFilter = { type: "RequestHeaderModifier", headers: this.#modifier() };
    const rule = (): Parts => ({
      matches: [matchOf(this.#pick(PREFIXES))],
      filters: this.#pick([[], [mirror], [mirror, header]]),
      backends: [this.#backend()],
    });
    const requests = this.#requests(() => {
      const method = this.#pick(["GET", "POST"]);
      return { method, bodyBytes: method === "POST" ? this.#pick([0, 5, 3_000]) : 0 };
    });
    return { routes: [routeOf("r", this.#times(1, 3, rule))], requests };
  }

  #timeouts() {
    const requestTimeoutMs = this.#pick([0, 40, 1_000]);
    const backendRequestTimeoutMs = this.#pick([0, 40, 1_000]);
    const rule: Parts = { backends: [this.#backend()], requestTimeoutMs, backendRequestTimeoutMs };
    const requests = this.#requests(() => ({
      headers: [["x-reply-delay", this.#pick(["0", "1", "200"])]],
    }));
    return { routes: [routeOf("r", [rule])], requests };
  }

  #retries() {
    const codes = this.#pick([[500], [503], [500, 503], [404]]);
    const retry = { attempts: this.#random.below(4), codes, grpcCodes: [], backoffMs: 1 };
    const routes = [routeOf("r", [{ backends: [this.#backend()], retry }])];
    const requests = this.#requests(() => ({
      method: this.#pick(["GET", "PUT", "HEAD", "DELETE"]),
      headers: [
        ["x-reply-failures", this.#pick(["0", "1", "2", "5"])],
        ["x-reply-failure", this.#pick(["500", "503", "404", "400"])],
      ],
    }));
    return { routes, requests };
  }

  #grpc() {
    const match = (): HttpMatch => {
      const isExpression = this.#chance(3);
      const service = this.#chance(3)
        ? ""
        : this.#pick(isExpression ? ["a.*", "[ad]+"] : ["a.S", "ab", "d"]);
      const method = this.#chance(3)
        ? ""
        : this.#pick(isExpression ? ["[bc]", "b|c.*"] : ["b", "c", "bc"]);
      const grpc = { type: isExpression ? "RegularExpression" : "Exact", service, method } as const;
      const headers = this.#chance(3) ? [this.#value("x-version", ["v1", "v2"], ["v[12]"])] : [];
      return { path: grpcPath(grpc), grpc, headers, queryParams: [], method: undefined };
    };
    const routes = this.#routes(() => ({
      matches: this.#times(1, 2, match),
      backends: [this.#backend(this.#pick(GRPC_BACKENDS))],
    })).map((route) => ({ ...route, kind: "GRPCRoute" as const }));
    const requests = this.#requests(() => ({
      method: "POST",
      target: `/${this.#pick(["a.S", "ab", "d", "aSx", "z"])}/${this.#pick(["b", "c", "bc", "cb"])}`,
      headers: this.#maybe("x-version", ["v1", "v2"]).slice(0, 1),
      bodyBytes: 5,
    }));
    return { routes, requests };
  }
}

function matchOf(prefix: string): HttpMatch {
  const path = { type: "PathPrefix" as const, value: prefix };
  return { path, headers: [], queryParams: [], method: undefined };
}

/** As `translate/grpc-matches.ts` makes them. */
function grpcPath({ type, service, method }: NonNullable<HttpMatch["grpc"]>): HttpMatch["path"] {
  if (type === "Exact" && service !== "" && method !== "") {
    return { type: "Exact", value: `/${service}/${method}` };
  }
  if (service === "" && method === "") return { type: "PathPrefix", value: "/" };
  const escaped = (text: string) => (type === "Exact" ? text.replace(/\./g, "\\.") : text);
  const part = (text: string) => (text === "" ? "[^/]+" : `(?:${escaped(text)})`);
  return { type: "RegularExpression", value: `/${part(service)}/${part(method)}` };
}
