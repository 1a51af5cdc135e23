import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Outcome } from "../../agent/replay/outcome.ts";
import type { RecordedRequest } from "../../agent/replay/recorded-request.ts";
import { run } from "../program.ts";
import { parseRecordedRequests } from "../recorded-requests.ts";
import { whatIfText } from "../what-if-text.ts";

const folder = mkdtempSync(join(tmpdir(), "waystone-what-if-"));
afterAll(() => rmSync(folder, { recursive: true }));

const REQUEST: RecordedRequest = {
  id: "id-1",
  at: "2026-01-02T03:04:05.678Z",
  revision: 1,
  hop: {
    proxy: "waypoint",
    waypoint: "shop/waypoint",
    service: "shop/cart.shop.svc.cluster.local",
    port: 80,
  },
  facts: {
    sourceIdentity: "spiffe://cluster.local/ns/shop/sa/client",
    sourceAddress: "10.0.0.1",
    destinationAddress: "10.96.0.1",
    destinationPort: 80,
    method: "GET",
    path: "/items",
    query: "page=1",
    authority: "cart",
  },
  status: 200,
};

const ALLOWED: Outcome = {
  isAllowed: true,
  because: "allowed",
  policy: "shop/view",
  rule: 0,
  policyAt: "view.yaml:9:5",
  waypoint: "shop/waypoint",
  route: "shop/cart",
  routeRule: 1,
  routeAt: "cart.yaml:12:5",
  backends: ["shop/cart-v1.shop.svc.cluster.local:80"],
  handling: "a",
};
const DENIED: Outcome = {
  isAllowed: false,
  because: "denied",
  status: 403,
  policy: "shop/closed",
  rule: 2,
  policyAt: "closed.yaml:3:1",
};
const NONE = { recorded: 1204, unchanged: 1204, leftOut: 0, changes: [], cannotSay: [] };

const change = (was: Outcome, wouldBe: Outcome, id = "id-1") => ({
  request: { ...REQUEST, id },
  was,
  wouldBe,
});

test("requests that change in the same way stand together, alike ones in one line", () => {
  const changes = [
    change(ALLOWED, DENIED),
    change(ALLOWED, DENIED, "id-2"),
    change(DENIED, ALLOWED, "id-3"),
  ];
  expect(whatIfText({ ...NONE, changes }).split("\n")).toEqual([
    "WAS       allowed by shop/view rule 0 (view.yaml:9:5)",
    "WOULD BE  403 by shop/closed rule 2 (closed.yaml:3:1)",
    "  COUNT   REQUEST             FROM          TO             LATEST ID",
    "  2       GET /items?page=1   shop/client   cart.shop:80   id-2",
    "",
    "WAS       403 by shop/closed rule 2 (closed.yaml:3:1)",
    "WOULD BE  allowed by shop/view rule 0 (view.yaml:9:5); to cart-v1.shop:80 " +
      "by route shop/cart rule 1 (cart.yaml:12:5)",
    "  COUNT   REQUEST             FROM          TO             LATEST ID",
    "  1       GET /items?page=1   shop/client   cart.shop:80   id-3",
    "",
    "3 of 1,204 recorded requests would change.",
  ]);
});

test("a way that differs is told, also where its words are the same", () => {
  const elsewhere = { ...ALLOWED, backends: ["bank/vault.bank.svc.cluster.local:80"] };
  expect(whatIfText({ ...NONE, changes: [change(ALLOWED, elsewhere)] })).toContain(
    "WAS       to cart-v1.shop:80 by route shop/cart rule 1 (cart.yaml:12:5)\n" +
      "WOULD BE  to vault.bank:80 by route shop/cart rule 1 (cart.yaml:12:5)\n",
  );
  const handled = { ...ALLOWED, handling: "b" };
  expect(whatIfText({ ...NONE, changes: [change(ALLOWED, handled)] })).toContain(
    "(cart.yaml:12:5), with other filters, time-outs or retries\n",
  );
  const { route: _, routeRule: __, routeAt: ___, handling: ____, ...plain } = ALLOWED;
  const nowhere = { ...plain, status: 404, backends: undefined };
  expect(whatIfText({ ...NONE, changes: [change(plain, nowhere)] })).toContain(
    "WOULD BE  404: no route matches\n",
  );
});

test("what cannot be said is said, and what was left out", () => {
  const because = "provider opa would be asked, and its answer is not recorded";
  const cannotSay = [{ request: REQUEST, was: ALLOWED, because }];
  const text = whatIfText({ ...NONE, cannotSay, leftOut: 2 });
  expect(text).toContain(`WOULD BE  unknown: ${because}\n`);
  expect(text).toContain("None of 1,204 recorded requests would change.\nOf 1 it cannot be said.");
  expect(text).toContain("2 were left out: the configuration that decided");
  expect(whatIfText({ ...NONE, recorded: 0 })).toBe("No request is recorded.");
});

test("a long group is cut, and says so", () => {
  const changes = Array.from({ length: 15 }, (_, i) => {
    const facts = { ...REQUEST.facts, path: `/${i}` };
    return { ...change(ALLOWED, DENIED), request: { ...REQUEST, facts } };
  });
  expect(whatIfText({ ...NONE, changes })).toContain("… and 3 more like these (-o json lists all)");
});

test("recorded requests are read as a list, or one a line", () => {
  const line = JSON.stringify(REQUEST);
  expect(parseRecordedRequests(`[${line}, ${line}]`, "log")).toHaveLength(2);
  expect(parseRecordedRequests(`${line}\n\n${line}\n`, "log")).toEqual([REQUEST, REQUEST]);
  expect(parseRecordedRequests("", "log")).toEqual([]);
  const wrong = (text: string) => () => parseRecordedRequests(text, "log.json");
  expect(wrong(`${line}\n{"id": 7}`)).toThrow("log.json:2 is no recorded request: ");
  expect(wrong(`[${line}, 1]`)).toThrow("log.json, entry 2 is no recorded request");
  expect(wrong('{"response_code":200}')).toThrow("log.json:1 is a line of an access log");
  expect(wrong("10.0.0.1 - GET")).toThrow("log.json:1 is not JSON");
});

async function whatIf(...args: string[]) {
  const said: string[] = [];
  const output = { print: () => {}, say: (text: string) => void said.push(text) };
  return {
    code: await run(["what-if", "--state", folder, ...args], output),
    said: said.join("\n"),
  };
}

test("1 is an answer: what is wrong ends otherwise, with a hint", async () => {
  const manifests = "examples/bookinfo";
  const noMesh = await whatIf("-f", manifests);
  expect(noMesh.code).toBe(69);
  expect(noMesh.said).toContain("name a file with --requests");
  const noFile = await whatIf("-f", manifests, "--requests", join(folder, "none"));
  expect(noFile.code).toBe(69);
  expect(noFile.said).toContain("There is no such file or folder.");
  const log = join(folder, "log");
  writeFileSync(log, "{}");
  const noLog = await whatIf("-f", manifests, "--requests", log);
  expect(noLog.code).toBe(65);
  expect(noLog.said).toContain("waystone decisions -o json > FILE");
  expect((await whatIf()).code).toBe(64);
});
