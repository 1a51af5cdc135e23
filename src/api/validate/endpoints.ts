/** Where a service's instances are: WorkloadEntries, and the endpoints of a ServiceEntry. */
import { isIP } from "node:net";
import type { FieldPath } from "../object.ts";
import { isAddressOrHostName, isDnsLabel } from "./dns-names.ts";
import { labelProblems, portProblems } from "./istio-definitions.ts";
import { type Problems, problem, warning } from "./problem.ts";

export interface Endpoint {
  readonly address?: string;
  readonly network?: string;
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface EndpointRules {
  /** Names of the ports that the service has; absent: they are not known. */
  readonly servicePorts?: ReadonlySet<string>;
  /** Host names are for those who resolve them. */
  readonly isAddressOnly?: boolean;
  /** Whoever makes a workload of a template fills the address in. */
  readonly isTemplate?: boolean;
}

const UNIX = "unix://";
const PORT_NAME_LENGTH_MAX = 62;

export function* endpointProblems(
  endpoint: Endpoint,
  path: FieldPath,
  { servicePorts, isAddressOnly = false, isTemplate = false }: EndpointRules = {},
): Problems {
  const { address = "", network = "", ports } = endpoint;
  const at = [...path, "address"];
  if (address === "") {
    if (!isTemplate) {
      if (network === "") yield problem(at, "or network is required");
      else yield warning(at, `is not given: instances are sought in the network ${network}`);
    }
  } else if (address.startsWith(UNIX)) {
    yield* socketProblems(address.slice(UNIX.length), at);
    if (ports !== undefined) yield problem([...path, "ports"], "are not for a socket");
    if (servicePorts !== undefined && servicePorts.size !== 1) {
      yield problem(at, "may be a socket only where the service has one port");
    }
  } else if (isAddressOnly ? isIP(address) === 0 : !isAddressOrHostName(address)) {
    const what = isAddressOnly ? "an IP address" : "an IP address or a host name";
    yield problem(at, `${JSON.stringify(address)} is not ${what}`);
  }
  yield* portProblems(endpoint, ["ports{}"], path);
  for (const name of Object.keys(ports ?? {})) {
    const place = [...path, "ports", name];
    if (name.length > PORT_NAME_LENGTH_MAX || !isDnsLabel(name)) {
      yield problem(place, 'is no name of a port: letters, digits and "-"');
    } else if (servicePorts !== undefined && !servicePorts.has(name)) {
      yield problem(place, "is no port of the ServiceEntry");
    }
  }
  yield* labelProblems(endpoint.labels, [...path, "labels"]);
}

/** Of a path behind `unix://`; `@` begins a name that is in no file system. */
export function* socketProblems(socket: string, path: FieldPath): Problems {
  if (!/^[/@]/.test(socket)) yield problem(path, "must be an absolute path, or begin with @");
  else if (socket.endsWith("/")) {
    yield problem(path, "must be a socket, not a folder");
  }
}
