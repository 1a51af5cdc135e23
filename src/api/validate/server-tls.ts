/** TLS of the servers of a networking.istio.io Gateway. */
import type { FieldPath } from "../object.ts";
import { type Problems, problem, warning } from "./problem.ts";

export interface ServerTls {
  readonly mode?: string;
  readonly httpsRedirect?: boolean;
  readonly serverCertificate?: string;
  readonly privateKey?: string;
  readonly caCertificates?: string;
  readonly caCrl?: string;
  readonly credentialName?: string;
  readonly credentialNames?: readonly string[];
  readonly tlsCertificates?: readonly {
    readonly serverCertificate?: string;
    readonly privateKey?: string;
  }[];
  readonly cipherSuites?: readonly string[];
  readonly minProtocolVersion?: string;
}

type Field = keyof ServerTls;

const CERTIFICATES: readonly Field[] = [
  ...(["serverCertificate", "privateKey", "caCertificates"] as const),
  ...(["tlsCertificates", "credentialName", "credentialNames"] as const),
];
const OLD_VERSIONS: ReadonlySet<string> = new Set(["TLSV1_0", "TLSV1_1"]);
const TERMINATING: ReadonlySet<string> = new Set(["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"]);
const PASSING: ReadonlySet<string> = new Set(["PASSTHROUGH", "AUTO_PASSTHROUGH"]);
/** By OpenSSL's names: key exchange and authentication, cipher, hash. */
const CIPHER_SUITE = new RegExp(
  "^(ECDHE-(ECDSA|RSA)-(AES(128|256)-(GCM-)?SHA(256|384)?|CHACHA20-POLY1305)" +
    "|(AES(128|256)-(GCM-)?SHA(256|384)?)|DES-CBC3-SHA)$",
);

export function* serverTlsProblems(tls: ServerTls, path: FieldPath): Problems {
  const { mode = "PASSTHROUGH" } = tls;
  const given = (...fields: readonly Field[]) => fields.filter((field) => isGiven(tls, field));
  yield* cipherProblems(tls, path);
  if (mode === "ISTIO_MUTUAL") {
    for (const field of given(...CERTIFICATES)) {
      yield problem(
        [...path, field],
        "is not for mode ISTIO_MUTUAL: the mesh gives the certificate",
      );
    }
    return;
  }
  if (PASSING.has(mode)) {
    const [unused] = given(...CERTIFICATES, "caCrl");
    if (unused !== undefined) yield warning([...path, unused], `has no effect with mode ${mode}`);
  }
  const sources = [
    ...(given("serverCertificate", "privateKey").length === 2 ? ["serverCertificate"] : []),
    ...given("credentialName", "credentialNames", "tlsCertificates"),
  ];
  const [first, ...others] = sources;
  for (const other of others) yield problem([...path, other], `and ${first} exclude each other`);
  if (!TERMINATING.has(mode) || given("credentialName", "credentialNames").length > 0) return;
  yield* certificateProblems(tls, path, mode);
  if (isGiven(tls, "caCrl") && mode === "SIMPLE") {
    yield problem([...path, "caCrl"], "is not for mode SIMPLE: clients show no certificate");
  }
}

function* certificateProblems(tls: ServerTls, path: FieldPath, mode: string): Problems {
  if (mode !== "SIMPLE" && !isGiven(tls, "caCertificates")) {
    yield problem([...path, "caCertificates"], `or credentialName is required with mode ${mode}`);
  }
  const { tlsCertificates = [] } = tls;
  if (tlsCertificates.length > 2) {
    yield warning([...path, "tlsCertificates"], "has more than the two that are used");
  }
  const pairs: readonly [FieldPath, (typeof tlsCertificates)[number]][] =
    tlsCertificates.length === 0
      ? [[path, tls]]
      : tlsCertificates.map((one, i) => [[...path, "tlsCertificates", i], one]);
  for (const [at, pair] of pairs) {
    for (const field of ["serverCertificate", "privateKey"] as const) {
      if ((pair[field] ?? "") !== "") continue;
      yield problem([...at, field], `or credentialName is required with mode ${mode}`);
    }
  }
}

function* cipherProblems(tls: ServerTls, path: FieldPath): Problems {
  const { cipherSuites = [], minProtocolVersion = "" } = tls;
  if (OLD_VERSIONS.has(minProtocolVersion) && cipherSuites.length === 0) {
    const needed = "needs cipherSuites: those by default are for newer versions";
    yield warning([...path, "minProtocolVersion"], needed);
  }
  for (const [i, suite] of cipherSuites.entries()) {
    const at = [...path, "cipherSuites", i];
    if (!CIPHER_SUITE.test(suite)) yield warning(at, `${JSON.stringify(suite)} is not known`);
    else if (cipherSuites.indexOf(suite) < i) yield warning(at, "is named already");
  }
}

function isGiven(tls: ServerTls, field: Field): boolean {
  const value = tls[field];
  return value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0);
}
