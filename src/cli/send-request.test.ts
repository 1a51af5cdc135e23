import http from "node:http";
import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { EchoServer } from "../local/echo.ts";
import { type MeshReport, meshReport } from "../local/mesh-report.ts";
import type { RunFile } from "../local/run-file.ts";
import { RunningMesh, workloadNamed } from "./running-mesh.ts";
import { sendRequest } from "./send-request.ts";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
});

function listen(server: net.Server): Promise<number> {
  open.push(() => server.close());
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port));
  });
}

/** An admin port that knows one name and remembers what it was asked. */
async function fakeMesh(decision: unknown): Promise<{ mesh: RunningMesh; asked: string[] }> {
  const asked: string[] = [];
  const admin = http.createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://admin");
    asked.push(url.pathname);
    const answer =
      url.pathname === "/resolve"
        ? url.searchParams.get("host") === "reviews" && { address: "127.0.0.1" }
        : url.pathname === "/decisions"
          ? []
          : decision;
    response.statusCode = answer ? 200 : 404;
    response.end(JSON.stringify(answer || null));
  });
  const adminUrl = `http://127.0.0.1:${await listen(admin)}`;
  open.push(() => admin.closeAllConnections());
  return { mesh: new RunningMesh({ adminUrl, addressMode: "addresses" } as RunFile), asked };
}

const REPORT: MeshReport = meshReport({
  snapshot: smallMesh(),
  addressMode: "addresses",
  where: (host, port) => ({ host, port }),
  playedBy: () => "echo",
  statuses: [],
  diagnostics: [],
});
/** 127.0.0.1 is the one source address that every system has. */
const WORKLOAD = { ...workloadNamed("client", REPORT.workloads), address: "127.0.0.1" };

function plan(url: string, body?: string) {
  return { workload: WORKLOAD, method: body ? "POST" : "GET", url, headers: [], body };
}

test("sendRequest() goes as the workload and asks for the decision under its id", async () => {
  const echo = new EchoServer(
    { workload: "reviews-v1", namespace: "default", version: "v1" },
    80,
    false,
  );
  open.push(() => echo.destroy());
  const port = await echo.listen();
  const { mesh, asked } = await fakeMesh({ servedBy: "reviews-v1", text: "allowed" });
  const result = await sendRequest(mesh, REPORT, plan(`http://reviews:${port}/a?b`, "body"));
  expect(result).toMatchObject({ status: 200, servedBy: "reviews-v1", failure: "" });
  const seen = JSON.parse(result.body);
  expect(seen).toMatchObject({
    method: "POST",
    path: "/a?b",
    host: `reviews:${port}`,
    body: "body",
  });
  expect(asked.at(-1)).toBe(`/decisions/${seen.headers["x-waystone-decision"]}`);
});

test("sendRequest() refuses names that are none, with a guess", async () => {
  const { mesh } = await fakeMesh(undefined);
  await expect(sendRequest(mesh, REPORT, plan("http://reveiws/"))).rejects.toMatchObject({
    exitCode: 64,
    hint: "Did you mean reviews?",
  });
  await expect(sendRequest(mesh, REPORT, plan("https://reviews/"))).rejects.toMatchObject({
    exitCode: 64,
  });
});

test("sendRequest() tells of a connection that is cut without an answer", async () => {
  const { mesh } = await fakeMesh(undefined);
  const cutter = net.createServer((socket) => socket.destroy());
  const port = await listen(cutter);
  const result = await sendRequest(mesh, REPORT, plan(`http://reviews:${port}/`));
  expect(result.status).toBe(0);
  expect(result.failure).not.toBe("");
});

test("workloadNamed() wants one that exists, in one namespace", () => {
  expect(workloadNamed("reviews-v1", REPORT.workloads).name).toBe("reviews-v1");
  expect(() => workloadNamed("clinet", REPORT.workloads)).toThrow("no workload is called clinet");
  const twin = { ...WORKLOAD, namespace: "other" };
  expect(() => workloadNamed("client", [...REPORT.workloads, twin])).toThrow("several namespaces");
});
