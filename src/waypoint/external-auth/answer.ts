/**
 * What an authorizer's answer comes to. Whatever protocol it speaks, it may change only what is an
 * ordinary header: framing, the connection and the authority are not its business, and a name or
 * value that cannot be written is not passed on.
 */
import { FIELD, TOKEN } from "../../net/http1/characters.ts";
import { H, ownHeaderId } from "../../net/http1/header-names.ts";
import type { HeadEdits } from "../../net/http1/rewrite.ts";
import type { LocalReply } from "../local-replies.ts";

/** Changes of a head, by an authorizer that has allowed the request. */
export interface AllowedChanges {
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly append: readonly (readonly [name: string, value: string])[];
  readonly remove: readonly string[];
  /** Of the answer's head. */
  readonly response: readonly (readonly [name: string, value: string])[];
}

export const NO_CHANGES: readonly AllowedChanges[] = [];

export type AuthorizerAnswer =
  | { readonly kind: "allowed"; readonly changes: AllowedChanges }
  | { readonly kind: "denied"; readonly reply: LocalReply }
  /** It has not answered, or not as its protocol has it. */
  | { readonly kind: "failed" };

export const FAILED: AuthorizerAnswer = { kind: "failed" };

/** More than this of an answer is no answer. */
export const ANSWER_BYTES_MAX = 64 * 1024;

const NOT_ITS_BUSINESS = new Set([
  ...["host", "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer"],
  ...["transfer-encoding", "upgrade", "x-forwarded-client-cert", "x-request-id"],
]);

/** In lower case; undefined: it is not passed on. */
export function passedName(name: string): string | undefined {
  const lower = name.toLowerCase();
  for (let i = 0; i < lower.length; i++) {
    if (TOKEN[lower.charCodeAt(i)] !== 1) return undefined;
  }
  return lower === "" || NOT_ITS_BUSINESS.has(lower) ? undefined : lower;
}

export function isPassedValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    if (FIELD[value.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

/** Flags and details as Envoy's ext_authz has them. */
export function denial(status: number, body: string, headers: readonly string[]): LocalReply {
  return { status, body, flags: "UAEX", details: "ext_authz_denied", headers };
}

/** With any problem in asking; what fails open does not come here. */
export function cannotAsk(status: number): LocalReply {
  return { status, body: "", flags: "UAEX", details: "ext_authz_error" };
}

export function applyChanges({ set, append, remove }: AllowedChanges, edits: HeadEdits): void {
  for (const name of remove) edits.remove(ownHeaderId(name));
  for (const [name, value] of set) edits.set(ownHeaderId(name), value);
  for (const [name, value] of append) edits.add(ownHeaderId(name), value);
}

/** A header's value as the changes leave it. */
export function changedValue(
  value: string | undefined,
  name: string,
  all: readonly AllowedChanges[],
): string | undefined {
  let now = value;
  for (const { set, append, remove } of all) {
    if (remove.includes(name)) now = undefined;
    for (const [changed, to] of set) if (changed === name) now = to;
    for (const [changed, more] of append) {
      if (changed === name) now = now === undefined ? more : `${now},${more}`;
    }
  }
  return now;
}

/** Names and values as the changes leave them. */
export function changedFields(
  fields: readonly string[],
  all: readonly AllowedChanges[],
): readonly string[] {
  const values = new Map<string, string | undefined>();
  for (const { set, append } of all) {
    for (const [name] of [...set, ...append]) values.set(name, undefined);
  }
  for (let i = 0; i < fields.length; i += 2) {
    const before = values.get(fields[i]!);
    values.set(fields[i]!, before === undefined ? fields[i + 1]! : `${before},${fields[i + 1]!}`);
  }
  return [...values].flatMap(([name, value]) => {
    const changed = changedValue(value, name, all);
    return changed === undefined ? [] : [name, changed];
  });
}

export function applyToResponse({ response }: AllowedChanges, edits: HeadEdits): void {
  for (const [name, value] of response) {
    if (ownHeaderId(name) !== H.server) edits.set(ownHeaderId(name), value);
  }
}
