/** `decisionHeader: true`: answers say under which id their decision is kept, and nobody else does. */
import { afterEach, expect, test } from "vitest";
import {
  ask,
  connect,
  endClients,
  serveHttp2,
  withProtocol,
} from "../../test/support/inner-http2.ts";
import { settle } from "../../test/support/memory-stream.ts";
import { denyingAll, FakeWaypoint, meshWith } from "../../test/support/waypoint-session.ts";
import type { Snapshot } from "../model/snapshot.ts";

afterEach(endClients);

const NAME = "x-waystone-decision";
const telling = (base: Snapshot): Snapshot => ({
  ...base,
  settings: { ...base.settings, decisionHeader: true },
});

/** What the client gets, and what the backend got. */
async function send(waypoint: FakeWaypoint, headers = "", answer = "") {
  waypoint.backends.onConnection = (peer) => {
    const text = `HTTP/1.1 200 OK\r\n${answer}content-length: 2\r\n\r\nok`;
    setImmediate(() => peer.send(text));
  };
  const { client } = waypoint.open();
  client.send(`GET /a HTTP/1.1\r\nhost: reviews\r\n${headers}\r\n`);
  await settle();
  const told = [...client.text.matchAll(/^x-waystone-decision: (.*)\r$/gim)].map(([, id]) => id!);
  return { text: client.text, told, backend: waypoint.backends.connections.at(-1)?.text ?? "" };
}

test("an answer says its id, under which the decision is kept", async () => {
  const waypoint = new FakeWaypoint(telling(meshWith(1)));
  const { told } = await send(waypoint);
  expect(told).toHaveLength(1);
  const kept = waypoint.context.decisions.find(told[0]!);
  expect(kept).toMatchObject({ id: told[0], facts: { method: "GET", path: "/a" } });
});

test("a denial says it, too", async () => {
  const waypoint = new FakeWaypoint(telling(denyingAll(meshWith(1))));
  const { told, text } = await send(waypoint);
  expect(text).toContain("HTTP/1.1 403 Forbidden");
  expect(waypoint.context.decisions.find(told[0]!)).toMatchObject({ payload: { status: 403 } });
});

test("what clients and backends say of it does not survive", async () => {
  const waypoint = new FakeWaypoint(telling(meshWith(1)));
  const forged = `${NAME}: forged\r\n`;
  const { told, backend } = await send(
    waypoint,
    forged,
    `X-Waystone-Decision: theirs\r\n${forged}`,
  );
  expect(told).toHaveLength(1);
  expect(told[0]).not.toMatch(/forged|theirs/);
  expect(backend).not.toContain(NAME);
  expect(waypoint.context.decisions.find("forged")).toBeUndefined();
});

test("the request's id serves where it is ours, and finds the decision where it is not", async () => {
  const waypoint = new FakeWaypoint(telling(meshWith(1)));
  const first = await send(waypoint);
  expect(first.backend).toContain(`x-request-id: ${first.told[0]}\r\n`);
  const other = new FakeWaypoint(telling(meshWith(1)));
  const second = await send(other, "x-request-id: mine\r\n");
  expect(second.told).toHaveLength(1);
  expect(second.told[0]).not.toBe("mine");
  expect(second.backend).toContain("x-request-id: mine\r\n");
  expect(other.context.decisions.find("mine")?.id).toBe(second.told[0]);
});

test("over HTTP/2, to gRPC, and for answers of an HTTP/2 backend", async () => {
  const denying = new FakeWaypoint(telling(denyingAll(withProtocol("HTTP2"))));
  const client = connect(denying, "http2");
  const plain = await ask(client, { ":path": "/a", [NAME]: "forged" });
  expect(plain.headers[":status"]).toBe(403);
  const grpc = await ask(client, { ":path": "/a", "content-type": "application/grpc" });
  expect(grpc.headers["grpc-status"]).toBe("7");
  for (const { headers } of [plain, grpc]) {
    expect(denying.context.decisions.find(String(headers[NAME]))).toBeDefined();
  }
  const waypoint = new FakeWaypoint(telling(withProtocol("HTTP2")));
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.respond({ ":status": 200, [NAME]: "theirs" });
    stream.end();
  });
  const answer = await ask(connect(waypoint, "http2"), { ":path": "/a" });
  expect(waypoint.context.decisions.find(String(answer.headers[NAME]))).toBeDefined();
});

test("without the setting nobody is told, and nothing is kept that nobody asks for", async () => {
  const waypoint = new FakeWaypoint(meshWith(1));
  expect((await send(waypoint)).told).toEqual([]);
  expect(waypoint.context.decisions.recent()).toEqual([]);
  const asked = new FakeWaypoint(meshWith(1));
  expect((await send(asked, `${NAME}: asked\r\n`)).told).toEqual([]);
  expect(asked.context.decisions.find("asked")).toBeDefined();
});
