import { expect, test } from "vitest";
import type { CorsFilter } from "../../model/route.ts";
import { CorsRules } from "./cors.ts";

function rules(parts: Partial<CorsFilter>): CorsRules {
  return new CorsRules({
    type: "CORS",
    allowOrigins: [],
    allowCredentials: false,
    allowMethods: [],
    allowHeaders: [],
    exposeHeaders: [],
    maxAgeS: 5,
    ...parts,
  });
}

test.each([
  ["https://a.example", "https://a.example", true],
  ["https://a.example", "HTTPS://A.EXAMPLE", true],
  ["https://a.example", "http://a.example", false],
  ["https://a.example", "https://a.example:444", false],
  ["https://*.example", "https://a.example", true],
  ["https://*.example", "https://b.a.example", true],
  ["https://*.example", "https://.example", false],
  ["https://*.example", "https://example", false],
  ["https://*.example", "https://evil/x.example", false],
  ["https://*.example", "https://evil:1.example", false],
  ["https://*.example:8443", "https://a.example:8443", true],
  ["https://*", "https://anything.at.all", true],
  ["https://*", "http://anything.at.all", false],
  ["*", "null", true],
])("%s allows %s: %s", (allowed, origin, expected) => {
  expect(rules({ allowOrigins: ["https://other", allowed] }).allows(origin)).toBe(expected);
});

test("a preflight is told what is allowed, and for how long", () => {
  const cors = rules({
    allowOrigins: ["https://a.example"],
    allowMethods: ["GET", "PUT"],
    allowHeaders: ["x-one", "x-two"],
    exposeHeaders: ["x-three"],
    allowCredentials: true,
  });
  expect(cors.preflightHeaders("https://a.example", "PUT", "x-one")).toEqual([
    ...["access-control-allow-origin", "https://a.example"],
    ...["access-control-allow-credentials", "true"],
    ...["access-control-allow-methods", "GET, PUT"],
    ...["access-control-allow-headers", "x-one, x-two"],
    ...["access-control-max-age", "5"],
  ]);
  expect(cors.answerHeaders("https://a.example")).toEqual([
    ...["access-control-allow-origin", "https://a.example"],
    ...["access-control-allow-credentials", "true"],
    ...["access-control-expose-headers", "x-three"],
  ]);
  expect(cors.preflightHeaders("https://b.example", "PUT", undefined)).toEqual([]);
  expect(cors.answerHeaders("https://b.example")).toEqual([]);
});

test("a star is itself without credentials, and what was asked for with them", () => {
  const any = { allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"] };
  expect(rules(any).preflightHeaders("https://a", "PUT", "x-one, x-two")).toEqual([
    ...["access-control-allow-origin", "*"],
    ...["access-control-allow-methods", "*"],
    ...["access-control-allow-headers", "*"],
    ...["access-control-max-age", "5"],
  ]);
  const withCredentials = rules({ ...any, allowCredentials: true });
  expect(withCredentials.preflightHeaders("https://a", "PUT", undefined)).toEqual([
    ...["access-control-allow-origin", "https://a"],
    ...["access-control-allow-credentials", "true"],
    ...["access-control-allow-methods", "PUT"],
    ...["access-control-max-age", "5"],
  ]);
});
