import { expect, test } from "vitest";
import type { DecisionReport } from "../../agent/decision-report.ts";
import type { RequestResult } from "../send-request.ts";
import { describeResult } from "./request.ts";

const RESULT: RequestResult = {
  status: 200,
  statusText: "OK",
  headers: {},
  body: JSON.stringify({ workload: "reviews-v1-x", version: "v1", bodyBytes: 0 }),
  servedBy: "reviews-v1-x",
  decision: { text: "allowed by default/view-only rule 0\n" } as DecisionReport,
  failure: "",
};

test("describeResult() tells status, who answered, and the decision", () => {
  expect(describeResult(RESULT)).toBe(
    "200 OK\nserved by reviews-v1-x (version v1)\n\nallowed by default/view-only rule 0",
  );
});

test("describeResult() prints the body of a real process", () => {
  const text = describeResult({
    ...RESULT,
    body: "<html>\n",
    servedBy: "web",
    decision: undefined,
  });
  expect(text).toBe(
    "200 OK\nserved by web\n\nno proxy recorded a decision: no waypoint took part\n\n<html>",
  );
});

test("describeResult() says why there was no answer", () => {
  const cut = { status: 0, statusText: "", body: "", servedBy: "", decision: undefined };
  const text = describeResult({ ...RESULT, ...cut, failure: "service x has no port 80" });
  expect(text).toBe("connection closed\nservice x has no port 80");
});
