/** What a schema cannot say of a Gateway: its listeners together, addresses, labels. */
import { isIP } from "node:net";
import type { FieldPath } from "../object.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { unique } from "./uniqueness.ts";

interface ListenerTls {
  readonly mode?: string;
  readonly certificateRefs?: readonly unknown[];
  readonly options?: Readonly<Record<string, unknown>>;
}

interface Listener {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
  readonly hostname?: string;
  readonly tls?: ListenerTls;
}

interface Address {
  readonly type?: string;
  readonly value?: string;
}

const LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const HOST_NAME = new RegExp(`^(\\*\\.)?${LABEL}(\\.${LABEL})*$`);
const QUALIFIED_NAME = new RegExp(
  `^(${LABEL}(\\.${LABEL})*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$`,
);
const PREFIX_LENGTH_MAX = 252;
const WITHOUT_TLS: ReadonlySet<string> = new Set(["HTTP", "TCP", "UDP"]);
const WITHOUT_HOSTS: ReadonlySet<string> = new Set(["TCP", "UDP"]);

export function* gatewayProblems(gateway: unknown): Problems {
  for (const { path, value } of each<readonly Listener[]>(gateway, "spec.listeners")) {
    const named = (name: string) => `a listener of the name ${name}`;
    yield* unique(value, path, ({ name }) => name, named, ["name"]);
    yield* unique(value, path, placeOf, (place) => `a listener for ${place}`);
    for (const [i, listener] of value.entries()) yield* listenerProblems(listener, [...path, i]);
  }
  for (const { path, value } of each<readonly Address[]>(gateway, "spec.addresses")) {
    const written = ({ type = "IPAddress", value: text }: Address) => {
      const isUnique = (type === "IPAddress" || type === "Hostname") && text !== undefined;
      return isUnique ? `${type} ${text}` : undefined;
    };
    yield* unique(value, path, written, (address) => address, ["value"]);
    for (const [i, address] of value.entries()) yield* addressProblems(address, [...path, i]);
  }
  for (const field of ["labels", "annotations"]) {
    for (const { path } of each<unknown>(gateway, `spec.infrastructure.${field}{}`)) {
      yield* nameProblems(String(path.at(-1)), path);
    }
  }
  const perPort = "spec.tls.frontend.perPort";
  for (const { path, value } of each<readonly { port: number }[]>(gateway, perPort)) {
    yield* unique(
      value,
      path,
      ({ port }) => String(port),
      (port) => `the port ${port}`,
      ["port"],
    );
  }
}

function placeOf({ port, protocol, hostname }: Listener): string {
  return `${protocol} on port ${port}${hostname === undefined ? "" : ` and ${hostname}`}`;
}

function* listenerProblems(listener: Listener, path: FieldPath): Problems {
  const { protocol, hostname = "", tls } = listener;
  if (tls !== undefined && WITHOUT_TLS.has(protocol)) {
    yield problem([...path, "tls"], `is not for a listener of protocol ${protocol}`);
  }
  if (hostname !== "" && WITHOUT_HOSTS.has(protocol)) {
    yield problem([...path, "hostname"], `is not for a listener of protocol ${protocol}`);
  }
  // Where there is one without a mode, an API server fills in Terminate.
  if (protocol === "TLS" && tls === undefined) {
    yield problem([...path, "tls"], "is required for the protocol TLS");
  }
  const mode = tls?.mode ?? "Terminate";
  if (protocol === "HTTPS" && tls !== undefined && mode !== "Terminate" && mode !== "") {
    yield problem([...path, "tls", "mode"], "must be Terminate for the protocol HTTPS");
  }
  const { certificateRefs = [], options = {} } = tls ?? {};
  const hasCertificate = certificateRefs.length > 0 || Object.keys(options).length > 0;
  if (tls !== undefined && mode === "Terminate" && !hasCertificate) {
    yield problem([...path, "tls", "certificateRefs"], "is required to terminate TLS");
  }
}

function* addressProblems({ type, value }: Address, path: FieldPath): Problems {
  const isAddress = (type ?? "IPAddress") === "IPAddress";
  if (isAddress && value !== undefined && (isIP(value) === 0 || value.includes("%"))) {
    yield problem([...path, "value"], `${JSON.stringify(value)} is no IP address`);
  }
  if (type === "Hostname" && value !== undefined && !HOST_NAME.test(value)) {
    yield problem([...path, "value"], `${JSON.stringify(value)} is no host name`);
  }
}

/** Of a label or an annotation. */
function* nameProblems(name: string, path: FieldPath): Problems {
  const [prefix = ""] = name.split("/");
  if (!QUALIFIED_NAME.test(name) || prefix.length > PREFIX_LENGTH_MAX) {
    yield problem(
      path,
      "is no name of a label: at most 63 letters, digits, -, _ and . after domain/",
    );
  }
}
