/**
 * Cases of routes in the format of the peers' suites (FORMAT.md of the folder that
 * WAYSTONE_CONFORMANCE names): what is applied, what is sent, and what has to come of it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";

export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly creationTimestamp?: string;
  };
  // biome-ignore lint/suspicious/noExplicitAny: whatever a kind has; the product reads it
  readonly [field: string]: any;
}

/** Changes labels of something that is there already. */
export interface Patch {
  readonly patch: ObjectName;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ObjectName {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export type Protocol = "http" | "h2c" | "grpc" | "tcp" | "tls" | "websocket";

export interface CaseRequest {
  readonly protocol: Protocol;
  readonly connect: { readonly host: string; readonly port: number };
  readonly authority?: string;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly grpcMethod?: string;
  /** Of a `tls` connection. */
  readonly serverName?: string;
  readonly followRedirects?: boolean;
  readonly count?: number;
  readonly sameConnection?: boolean;
  /** The cookies of the first answer go with every later request. */
  readonly keepsCookies?: boolean;
  /** Headers of the first answer that go with every later request. */
  readonly keepsHeaders?: readonly string[];
}

export interface BackendRequest {
  readonly method?: string;
  readonly path?: string;
  readonly pathAndQuery?: string;
  readonly host?: string;
  readonly protocol?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly presentHeaders?: readonly string[];
  readonly absentHeaders?: readonly string[];
}

export interface Redirect {
  readonly scheme?: string;
  readonly host?: string;
  readonly port?: string;
  readonly path?: string;
}

export interface Mirrored {
  readonly name: string;
  readonly namespace?: string;
  readonly percent?: number;
}

export interface SpreadOf {
  readonly atLeastOne: readonly { readonly backend: string; readonly port?: number }[];
  readonly most?: string;
}

export interface Expected {
  readonly statusCodes?: readonly number[];
  readonly grpcStatus?: number;
  readonly allowed?: true;
  readonly denied?: true;
  readonly connected?: boolean;
  readonly serverFirst?: boolean;
  readonly backend?: string;
  readonly namespace?: string;
  readonly backendRequest?: BackendRequest;
  readonly responseHeaders?: Readonly<Record<string, string>>;
  readonly responseHeadersOneOf?: Readonly<Record<string, readonly string[]>>;
  readonly absentResponseHeaders?: readonly string[];
  readonly presentResponseHeaders?: readonly string[];
  readonly ignoreWhitespaceInHeaderValues?: boolean;
  readonly redirect?: Redirect;
  readonly mirroredTo?: readonly Mirrored[];
  readonly answeredByProxy?: true;
  readonly distinctBackends?: readonly string[];
  readonly allResponsesFromSamePod?: boolean;
  /** At least so many pods answered. */
  readonly spreadOver?: number;
  readonly distribution?: SpreadOf;
}

export interface Distribution {
  readonly requests: number;
  readonly weights?: Readonly<Record<string, number>>;
  readonly tolerance?: number;
  readonly toleranceStdDevs?: number;
  readonly retries?: number;
}

export interface Step {
  readonly delete: ObjectName;
}

export interface RouteCase {
  readonly name?: string;
  readonly from: {
    readonly namespace: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly app?: string;
  };
  readonly before?: readonly Step[];
  readonly request: CaseRequest;
  readonly expect: Expected;
  readonly distribution?: Distribution;
  readonly repeat?: number;
}

export interface StatusCase extends ObjectName {
  readonly parent: ObjectName & { readonly group: string };
  readonly condition: { readonly type: string; readonly status: string; readonly reason?: string };
  readonly before?: readonly Step[];
}

export interface RouteTest {
  readonly name: string;
  readonly features: readonly string[];
  readonly resources: readonly (Resource | Patch)[];
  readonly cases: readonly RouteCase[];
  readonly status: readonly StatusCase[];
}

export interface RouteSet {
  readonly name: string;
  readonly base: readonly Resource[];
  readonly tests: readonly RouteTest[];
}

export function isPatch(resource: Resource | Patch): resource is Patch {
  return "patch" in resource;
}

export function readResources(file: string): Resource[] {
  const documents = parseAllDocuments(readFileSync(file, "utf8"));
  return documents.map((document) => document.toJS() as Resource | null).filter((r) => r !== null);
}

interface TestFile {
  readonly test: string;
  readonly features?: readonly string[];
  readonly manifests: readonly string[];
  readonly cases?: readonly RouteCase[];
  readonly status?: readonly StatusCase[];
}

/** A set with a folder for each test. */
export function readFolders(root: string, name: string): RouteSet {
  const folders = readdirSync(root, { withFileTypes: true }).filter((e) => e.isDirectory());
  const tests = folders.map(({ name: folder }): RouteTest => {
    const file = JSON.parse(readFileSync(join(root, folder, "cases.json"), "utf8")) as TestFile;
    return {
      name: file.test,
      features: (file.features ?? []).filter((f) => f !== "Mesh" && f !== "Gateway"),
      resources: file.manifests.flatMap((m) => readResources(join(root, folder, m))),
      cases: file.cases ?? [],
      status: file.status ?? [],
    };
  });
  tests.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { name, base: readResources(join(root, "base.yaml")), tests };
}

interface ListFile {
  readonly tests: readonly {
    readonly name: string;
    readonly features?: readonly string[];
    readonly config?: readonly (Resource | Patch)[];
    readonly manifest?: readonly (Resource | Patch)[];
    readonly cases: readonly RouteCase[];
    readonly status?: readonly StatusCase[];
  }[];
}

/** A set with all its tests in one file; a test's feature is its name up to the first "/". */
export function readList(root: string, name: string): RouteSet {
  const file = JSON.parse(readFileSync(join(root, "cases.json"), "utf8")) as ListFile;
  const tests = file.tests.map(
    (test): RouteTest => ({
      name: test.name,
      features: test.features ?? [test.name.split("/")[0] ?? test.name],
      resources: test.config ?? test.manifest ?? [],
      cases: test.cases,
      status: test.status ?? [],
    }),
  );
  return { name, base: readResources(join(root, "base.yaml")), tests };
}

/** The namespace that a resource stands in. */
export function namespaceOf(resource: Resource): string {
  return resource.metadata.namespace ?? "default";
}
