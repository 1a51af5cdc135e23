/** What the two ends agree on beyond the frames: extended CONNECT, header tables, stream ids. */
import { describe, expect, test } from "vitest";
import {
  CONNECT,
  greeted,
  OK,
  pair,
  Recorder,
  scripted,
  until,
} from "../../../test/support/http2-sides.ts";
import { block, connect, ends, frame, settings, T } from "../../../test/support/peer.ts";
import { encodeStatelessBlock } from "./headers.ts";
import { StreamTable } from "./stream-table.ts";

describe("extended CONNECT (RFC 8441)", () => {
  const websocket = block(
    ...[":method", "CONNECT", ":protocol", "websocket", ":scheme", "http"],
    ...[":path", "/chat", ":authority", "a"],
  );

  test("is taken where it is announced, as a tunnel", async () => {
    const { peer, owner } = scripted("server", { allowsExtendedConnect: true });
    peer.greet("client");
    const [first] = await peer.frames();
    expect(first!.payload.toString("hex")).toContain("000800000001");
    peer.send(frame(T.headers, 4, 1, websocket), frame(T.data, 0, 1, "hello"));
    expect(owner.streams[0]!.bytes.toString()).toBe("hello");
    peer.send(frame(T.headers, 5, 1, block("a", "b")));
    expect(ends(await peer.frames())).toEqual(["RST 1 1"]);
  });

  test("is malformed where it is not, without CONNECT, or without :path", async () => {
    const { peer: strict } = await greeted("server");
    strict.send(frame(T.headers, 4, 1, websocket));
    expect(ends(await strict.frames())).toEqual(["RST 1 1"]);
    const { peer } = await greeted("server", { allowsExtendedConnect: true });
    const get = [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"];
    peer.send(frame(T.headers, 4, 1, block(...get, ":protocol", "websocket")));
    const pathless = [":method", "CONNECT", ":protocol", "websocket", ":scheme", "http"];
    peer.send(frame(T.headers, 4, 3, block(...pathless)));
    expect(ends(await peer.frames())).toEqual(["RST 1 1", "RST 3 1"]);
  });

  test("is known to a client from the server's SETTINGS, which cannot take it back", async () => {
    const { peer, connection } = await greeted("client", {}, [8, 1]);
    expect(connection.allowsExtendedConnect).toBe(true);
    peer.send(settings([8, 0]));
    expect(ends(await peer.frames())).toEqual(["GOAWAY 1"]);
    expect((await greeted("client")).connection.allowsExtendedConnect).toBe(false);
  });
});

test("a client whose stream ids are used up opens no more", () => {
  const table = new StreamTable("client", 2 ** 31 - 1);
  expect(table.hasOwnIds).toBe(true);
  expect(table.takeOwnId()).toBe(2 ** 31 - 1);
  expect(table.hasOwnIds).toBe(false);
});

test("a table size of the peer's that falls is said in the next block, made beforehand or not", async () => {
  for (const headers of [OK, encodeStatelessBlock(OK)]) {
    const { peer, owner } = await greeted("server", {}, [1, 0]);
    peer.send(connect(1));
    owner.streams[0]!.stream!.respond(headers, false);
    const found = (await peer.frames()).find(({ type }) => type === T.headers);
    expect(found!.payload.subarray(0, 2)).toEqual(Buffer.of(0x20, 0x88));
  }
});

test("header lists of a connection inside a tunnel use the dynamic table, in both directions", async () => {
  const { client, serverOwner } = pair({ indexesHeaders: true });
  const list = [":status", "200", "x-app", "reviews", "server", "istio-envoy"];
  serverOwner.onAccept = (stream) => stream.respond(list, true);
  const seen: string[] = [];
  for (let i = 0; i < 5; i++) {
    const near = new Recorder();
    near.of(client.open([...CONNECT, "x-from", "productpage"], true, near));
    await until(() => near.isClosed);
    seen.push(near.log[0]!);
  }
  expect(new Set(seen)).toEqual(new Set([`headers ${list.join(" ")} true`]));
  const requests = serverOwner.streams.map(({ log }) => log[0]);
  expect(new Set(requests).size).toBe(1);
  expect(requests[4]).toContain("x-from productpage");
});
