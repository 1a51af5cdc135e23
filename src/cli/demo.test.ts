import { expect, test } from "vitest";
import { loadRequests, parseRequests } from "./demo.ts";

test("parseRequests() reads one request a line and skips comments", () => {
  const text =
    "# a comment\n\nui  GET  http://mlflow:5000/  200  may read\njob POST http://x/ 403\n";
  expect(parseRequests(text, "requests.txt")).toEqual([
    { from: "ui", method: "GET", url: "http://mlflow:5000/", status: 200, why: "may read" },
    { from: "job", method: "POST", url: "http://x/", status: 403, why: "" },
  ]);
});

test("parseRequests() names the line that is none", () => {
  expect(() => parseRequests("# x\nui GET http://x/\n", "a/requests.txt")).toThrow(
    "a/requests.txt:2:1",
  );
});

test("loadRequests() finds the examples' requests beside their manifests", async () => {
  const folder = await loadRequests(["examples/mlflow"]);
  expect(folder.map((r) => r.status)).toEqual([200, 200, 403, 403]);
  expect(await loadRequests(["examples/mlflow/policy.yaml"])).toEqual(folder);
  await expect(loadRequests(["src/cli"])).rejects.toThrow("requests.txt");
});
