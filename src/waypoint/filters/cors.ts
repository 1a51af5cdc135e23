/**
 * CORS (Gateway API, HTTPCORSFilter; Fetch standard, CORS protocol). A preflight is answered here
 * and never reaches a backend; answers to other requests say whether the page may read them. An
 * origin that is not allowed is told nothing, which is how a browser is refused.
 */
import type { CorsFilter } from "../../model/route.ts";

/** A list of names and values, one after the other. */
export type HeaderPairs = readonly string[];

const NO_HEADERS: HeaderPairs = [];
/** Characters of a host name: what a `*` in an origin stands for. */
const HOST = /^[A-Za-z0-9.-]+$/;

export class CorsRules {
  readonly #filter: CorsFilter;
  readonly #any: boolean;
  readonly #exact: ReadonlySet<string>;
  /** What stands before and behind the `*`. */
  readonly #patterns: readonly (readonly [string, string])[];

  constructor(filter: CorsFilter) {
    this.#filter = filter;
    const origins = filter.allowOrigins.map((origin) => origin.toLowerCase());
    this.#any = origins.includes("*");
    this.#exact = new Set(origins.filter((origin) => !origin.includes("*")));
    this.#patterns = origins.filter((o) => o !== "*" && o.includes("*")).map(splitAtStar);
  }

  allows(origin: string): boolean {
    if (this.#any) return true;
    const asked = origin.toLowerCase();
    if (this.#exact.has(asked)) return true;
    return this.#patterns.some(
      ([before, behind]) =>
        asked.length > before.length + behind.length &&
        asked.startsWith(before) &&
        asked.endsWith(behind) &&
        HOST.test(asked.slice(before.length, asked.length - behind.length)),
    );
  }

  /** For the answer to a preflight of `origin`. */
  preflightHeaders(origin: string, method: string, headers: string | undefined): HeaderPairs {
    if (!this.allows(origin)) return NO_HEADERS;
    const { allowMethods, allowHeaders, maxAgeS } = this.#filter;
    const list = this.#common(origin);
    this.#addList(list, "access-control-allow-methods", allowMethods, method);
    this.#addList(list, "access-control-allow-headers", allowHeaders, headers);
    list.push("access-control-max-age", String(maxAgeS));
    return list;
  }

  /** For the answer to any other request of `origin`. */
  answerHeaders(origin: string): HeaderPairs {
    if (!this.allows(origin)) return NO_HEADERS;
    const list = this.#common(origin);
    this.#addList(list, "access-control-expose-headers", this.#filter.exposeHeaders, undefined);
    return list;
  }

  #common(origin: string): string[] {
    const { allowCredentials } = this.#filter;
    // With credentials a browser takes no `*`.
    const list = ["access-control-allow-origin", this.#any && !allowCredentials ? "*" : origin];
    if (allowCredentials) list.push("access-control-allow-credentials", "true");
    return list;
  }

  /** `*` with credentials would be taken for a name: then it is what was asked for. */
  #addList(
    list: string[],
    name: string,
    values: readonly string[],
    asked: string | undefined,
  ): void {
    if (values.length === 0) return;
    const isAny = values.includes("*");
    const value = isAny && this.#filter.allowCredentials ? asked : isAny ? "*" : values.join(", ");
    if (value !== undefined) list.push(name, value);
  }
}

function splitAtStar(origin: string): readonly [string, string] {
  const at = origin.indexOf("*");
  return [origin.slice(0, at), origin.slice(at + 1)];
}
