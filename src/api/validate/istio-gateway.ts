/** What a schema cannot say of a networking.istio.io Gateway. */
import { isIP } from "node:net";
import type { FieldPath, KubeObject } from "../object.ts";
import { isDnsLabel, isPartialWildcard, wildcardHostProblem } from "./dns-names.ts";
import { socketProblems } from "./endpoints.ts";
import { exclusiveProblems, portProblems } from "./istio-definitions.ts";
import { protocolOf } from "./port-protocols.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { type ServerTls, serverTlsProblems } from "./server-tls.ts";
import { unique } from "./uniqueness.ts";

interface Port {
  readonly number?: number;
  readonly targetPort?: number;
  readonly protocol?: string;
  readonly name?: string;
}

interface Server {
  readonly port?: Port;
  readonly bind?: string;
  readonly hosts?: readonly string[];
  readonly tls?: ServerTls;
}

const UNIX = "unix://";
/** istiod makes such objects of Gateway API's, and says so here. */
const SEMANTICS = "internal.istio.io/gateway-semantics";
const SOURCES = ["credentialName", "credentialNames", "tlsCertificates"];

export function* istioGatewayProblems(gateway: KubeObject): Problems {
  const { name, annotations } = gateway.metadata;
  const isConverted = annotations?.[SEMANTICS] === "gateway";
  if (!isConverted && !isDnsLabel(name)) {
    yield problem(["metadata", "name"], 'must be a name of letters, digits and "-"');
  }
  const { servers = [] } = (gateway.spec ?? {}) as { servers?: readonly (Server | null)[] };
  const path = ["spec", "servers"];
  if (servers.length === 0) yield problem(path, "must have one server at least");
  const named = (port: string) => `a port of the name ${port}`;
  yield* unique(servers, path, (server) => server?.port?.name, named, ["port", "name"]);
  yield* exclusiveProblems(gateway, "spec.servers[].tls", SOURCES);
  for (const [i, server] of servers.entries()) {
    if (server === null) yield problem([...path, i], "must not be null");
    else yield* serverProblems(server, [...path, i], isConverted);
  }
}

export function* serverProblems(server: Server, path: FieldPath, isConverted = false): Problems {
  const { port, bind = "", hosts = [], tls } = server;
  if (hosts.length === 0) yield problem([...path, "hosts"], "must have one host at least");
  for (const [i, host] of hosts.entries()) {
    yield* hostProblems(host, [...path, "hosts", i], isConverted);
  }
  if (port === undefined) yield problem([...path, "port"], "is required");
  else yield* serverPortProblems(port, bind, [...path, "port"]);
  if (bind.startsWith(UNIX)) yield* socketProblems(bind.slice(UNIX.length), [...path, "bind"]);
  else if (bind !== "" && isIP(bind) === 0) {
    yield problem([...path, "bind"], "must be an IP address or a socket (unix://…)");
  }
  if (tls !== undefined) yield* serverTlsProblems(tls, [...path, "tls"]);
  const protocol = protocolOf(port?.protocol);
  if (protocol === undefined) return;
  if (protocol.isTls && tls === undefined) {
    yield problem([...path, "tls"], "is required for a port of protocol HTTPS or TLS");
  }
  if (!protocol.isTls && tls !== undefined) {
    // At a port of HTTP it may say that HTTP is redirected.
    const { mode = "PASSTHROUGH", serverCertificate, privateKey, caCertificates } = tls;
    const isPlain = mode === "PASSTHROUGH" || mode === "AUTO_PASSTHROUGH";
    const hasFiles = [serverCertificate, privateKey, caCertificates].some(
      (one) => (one ?? "") !== "",
    );
    if (!protocol.isHttp || !isPlain || hasFiles) {
      yield problem([...path, "tls"], "is for a port of protocol HTTPS or TLS");
    }
  }
  if (tls?.httpsRedirect === true && !protocol.isHttp) {
    yield warning([...path, "tls", "httpsRedirect"], "is for a port of HTTP");
  }
}

function* serverPortProblems(port: Port, bind: string, path: FieldPath): Problems {
  const { number = 0, targetPort = 0, protocol = "", name = "" } = port;
  if (protocolOf(protocol) === undefined) {
    yield problem([...path, "protocol"], `${JSON.stringify(protocol)} is no protocol`);
  }
  if (bind.startsWith(UNIX)) {
    if (number !== 0) yield problem([...path, "number"], "must be 0 for a socket");
  } else yield* portProblems({ number }, ["number"], path);
  if (targetPort > 0) yield problem([...path, "targetPort"], "has no effect here: remove it");
  if (name === "") yield problem([...path, "name"], "is required");
}

/** `host`, or `namespace/host`. */
function* hostProblems(text: string, path: FieldPath, isConverted: boolean): Problems {
  const slash = text.indexOf("/");
  const host = text.slice(slash + 1);
  if (slash >= 0) {
    const namespace = text.slice(0, slash);
    const isAny = namespace === "*" || namespace === "." || (namespace === "~" && isConverted);
    if (!isAny && !isDnsLabel(namespace)) {
      yield problem(path, 'must begin with a namespace, "*" or "." before the /');
    }
  }
  const wrong = isIP(host) === 0 ? wildcardHostProblem(host) : undefined;
  if (wrong !== undefined) yield problem(path, wrong);
  else if (isPartialWildcard(host))
    yield problem(path, "may have a wildcard for whole labels only");
}
