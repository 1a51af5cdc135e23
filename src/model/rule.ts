/**
 * Authorization, in two forms: what a waypoint evaluates (L7, close to what people write) and
 * what a ztunnel evaluates (L4, close to the wire: `istio.security.Authorization`).
 */
import type { PolicyProvider } from "./authorization-provider.ts";
import type { ObjectRef, SourcePosition } from "./object-ref.ts";

/** Compared as Istio does: `*` present, `abc*` prefix, `*abc` suffix, else exact. */
export type StringMatch =
  | { readonly type: "exact" | "prefix" | "suffix"; readonly value: string }
  | { readonly type: "presence" }
  /** A path template with `{*}` and `{**}`. */
  | { readonly type: "template"; readonly value: string };

export interface Cidr {
  /** 4 or 16 bytes, as hexadecimal text. */
  readonly bytes: string;
  readonly prefixLength: number;
  readonly text: string;
}

/**
 * One field of a source, operation or condition. Any of `values` must match (if there are any)
 * and none of `notValues`.
 */
export interface FieldMatch {
  readonly field: RuleField;
  readonly values: readonly FieldValue[];
  readonly notValues: readonly FieldValue[];
  /** Whether the author wrote `values` / `notValues` at all: unusable values leave an empty list behind. */
  readonly hasValues: boolean;
  readonly hasNotValues: boolean;
  /** The field as written, with its place: `from[0].source.principals`. */
  readonly path: string;
  readonly position: SourcePosition | undefined;
}

/**
 * What a field looks at. `header:<lower-case name>` is `request.headers[name]`, and `claim:a][b` is
 * `request.auth.claims[a][b]`.
 */
export type RuleField =
  | "principal"
  | "trustDomain"
  | "namespace"
  | "serviceAccount"
  | "sourceIp"
  | "remoteIp"
  | "requestPrincipal"
  | "host"
  | "port"
  | "method"
  | "path"
  | "destinationIp"
  | "sni"
  | `header:${string}`
  | `claim:${string}`
  /** A key that this version cannot evaluate: never true in an ALLOW, never narrows a DENY. */
  | `unsupported:${string}`;

export type FieldValue =
  | { readonly type: "string"; readonly match: StringMatch; readonly text: string }
  | { readonly type: "cidr"; readonly cidr: Cidr; readonly text: string }
  | { readonly type: "port"; readonly port: number; readonly text: string };

/** All fields must match. No fields: matches everything. */
export type FieldSet = readonly FieldMatch[];

/** Any of `from` (if any), any of `to` (if any), and all of `when`. */
export interface Rule {
  readonly index: number;
  readonly from: readonly FieldSet[];
  readonly to: readonly FieldSet[];
  readonly when: FieldSet;
  readonly position: SourcePosition | undefined;
}

export type PolicyAction = "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";

/** No rules: never matches (so an ALLOW without rules denies everything). */
export interface AuthorizationPolicy {
  /** `<namespace>/<name>`. */
  readonly key: string;
  readonly action: PolicyAction;
  /** Who decides; undefined unless the action is CUSTOM. */
  readonly provider: PolicyProvider | undefined;
  readonly rules: readonly Rule[];
  readonly isDryRun: boolean;
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
}

/** Each field set must hold; in a field any value; of a `not` field none. No field set: never matches. */
export interface L4Match {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly serviceAccounts: readonly {
    readonly namespace: string;
    readonly serviceAccount: string;
  }[];
  readonly notServiceAccounts: readonly {
    readonly namespace: string;
    readonly serviceAccount: string;
  }[];
  readonly sourceIps: readonly Cidr[];
  readonly notSourceIps: readonly Cidr[];
  readonly destinationIps: readonly Cidr[];
  readonly notDestinationIps: readonly Cidr[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
}

/** Any match holds; none at all: true. */
export type L4Clause = readonly L4Match[];

/** All clauses hold; none at all: matches everything. */
export interface L4Rule {
  readonly clauses: readonly L4Clause[];
  readonly position: SourcePosition | undefined;
}

/** `istio.security.Authorization`. */
export interface L4Policy {
  /** `<namespace>/<name>`. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly scope: "GLOBAL" | "NAMESPACE" | "WORKLOAD_SELECTOR";
  readonly action: "ALLOW" | "DENY";
  readonly rules: readonly L4Rule[];
  readonly isDryRun: boolean;
  /** The object it was made from; for synthesised ones the object that caused it. */
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
  /** Why it exists, when no AuthorizationPolicy is behind it: "only waypoint ns/name may reach …". */
  readonly because: string | undefined;
}
