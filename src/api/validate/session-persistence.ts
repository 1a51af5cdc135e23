/** `sessionPersistence`, of routes and of XBackendTrafficPolicies. */
import type { FieldPath } from "../object.ts";
import { type Problems, problem } from "./problem.ts";

interface Cookie {
  readonly lifetimeType?: string;
}

export interface SessionPersistence {
  readonly type?: "Cookie" | "Header";
  readonly absoluteTimeout?: string;
  /** Gateway API before 1.7. */
  readonly cookieConfig?: Cookie;
  readonly cookie?: Cookie;
  readonly header?: object;
}

/** Of what has such a field. */
export function* sessionProblems(
  owner: { readonly sessionPersistence?: SessionPersistence },
  path: FieldPath,
): Problems {
  const { sessionPersistence: session } = owner;
  if (session === undefined) return;
  const { type = "Cookie", cookieConfig, cookie, header, absoluteTimeout } = session;
  const at = [...path, "sessionPersistence"];
  for (const [field, value] of Object.entries({ cookieConfig, cookie })) {
    if (value === undefined) continue;
    if (type !== "Cookie") yield problem([...at, field], "is for the type Cookie only");
    if (value.lifetimeType === "Permanent" && absoluteTimeout === undefined) {
      yield problem([...at, "absoluteTimeout"], "is required for a permanent cookie");
    }
  }
  if (header !== undefined && type !== "Header") {
    yield problem([...at, "header"], "is for the type Header only");
  }
}

/** Where the type has its field, and says so: since Gateway API 1.7. */
export function* sessionFieldProblems(
  owner: { readonly sessionPersistence?: SessionPersistence },
  path: FieldPath,
): Problems {
  const { sessionPersistence: session } = owner;
  if (session === undefined) return;
  const { type = "Cookie", cookie, cookieConfig, header } = session;
  const at = [...path, "sessionPersistence"];
  if (type === "Header" && header === undefined) {
    yield problem([...at, "header"], "is required for the type Header");
  }
  if (type === "Cookie" && cookie === undefined && cookieConfig === undefined) {
    yield problem([...at, "cookie"], "is required for the type Cookie");
  }
}
