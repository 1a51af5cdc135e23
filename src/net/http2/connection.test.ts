import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  CONNECT,
  greeted,
  OK,
  Owner,
  pair,
  Recorder,
  turns,
  until,
} from "../../../test/support/http2-sides.ts";
import {
  ACK,
  block,
  CLIENT_PREFACE,
  connect,
  END_HEADERS,
  END_STREAM,
  ends,
  frame,
  GET_BLOCK,
  OK_BLOCK,
  PADDED,
  PRIORITY,
  ScriptedPeer,
  settings,
  T,
  words,
} from "../../../test/support/peer.ts";
import { Http2Connection } from "./connection.ts";
import { encodeStatelessBlock } from "./headers.ts";
import { TUNNEL_LIMITS } from "./limits.ts";

describe("a connection pair", () => {
  test("carries bytes both ways through a CONNECT stream, half-closes included", async () => {
    const { client, serverOwner } = pair();
    serverOwner.onAccept = (stream) => stream.respond(OK, false);
    const near = new Recorder();
    near.of(client.open(CONNECT, false, near));
    near.stream!.write(Buffer.from("..ping.."), 2, 6, null);
    await until(() => near.log.length > 0 && serverOwner.streams[0]?.bytes.length === 4);
    const far = serverOwner.streams[0]!;
    expect(far.log).toEqual(["request :method CONNECT :authority 10.0.0.1:80 false"]);
    expect(far.bytes.toString()).toBe("ping");
    expect(near.log).toEqual(["headers :status 200 false"]);

    near.stream!.end();
    await until(() => far.log.includes("end"));
    expect(far.stream!.isClosed).toBe(false);
    far.stream!.write(Buffer.from("pong"), 0, 4, null);
    far.stream!.end();
    await until(() => near.isClosed && far.isClosed);
    expect(near.bytes.toString()).toBe("pong");
    expect(near.log.slice(1)).toEqual(["end", "closed orderly"]);
    expect(far.log.slice(1)).toEqual(["end", "closed orderly"]);
    expect(client.streamCount).toBe(0);
    expect(serverOwner.log).toEqual(["ready", "idle"]);
  });

  test("carries requests with bodies, interim responses and trailers", async () => {
    const { client, serverOwner } = pair();
    serverOwner.onAccept = (stream, _headers, far) => {
      stream.respond([":status", "103", "link", "</a>"], false);
      stream.respond([":status", "200", "content-length", "5"], false);
      stream.write(Buffer.from("hello"), 0, 5, null);
      stream.sendTrailers(["grpc-status", "0"]);
      expect(far.isClosed).toBe(false);
    };
    const near = new Recorder();
    const post = [":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/"];
    near.of(client.open([...post, "te", "trailers"], false, near));
    near.stream!.write(Buffer.from("body"), 0, 4, null);
    near.stream!.sendTrailers(["x-sum", "1"]);
    await until(() => near.isClosed);
    expect(near.log).toEqual([
      "headers :status 103 link </a> false",
      "headers :status 200 content-length 5 false",
      "trailers grpc-status 0 true",
      "end",
      "closed orderly",
    ]);
    expect(serverOwner.streams[0]!.log.slice(1)).toEqual([
      "trailers x-sum 1 true",
      "end",
      "closed orderly",
    ]);
  });

  test("takes a content-length without a body from HEAD and 304 only", async () => {
    const { client, serverOwner } = pair();
    serverOwner.onAccept = (stream, headers) => {
      const status = headers.includes("/304") ? "304" : "200";
      stream.respond([":status", status, "content-length", "5"], true);
    };
    const get = (method: string, path: string) => {
      const near = new Recorder();
      const list = [":method", method, ":scheme", "http", ":authority", "a", ":path", path];
      return near.of(client.open(encodeStatelessBlock(list), true, near));
    };
    const [head, cached, short] = [get("HEAD", "/"), get("GET", "/304"), get("GET", "/")];
    await until(() => head.isClosed && cached.isClosed && short.isClosed);
    expect(head.log.at(-1)).toBe("closed orderly");
    expect(cached.log.at(-1)).toBe("closed orderly");
    expect(short.log.at(-1)).toBe("closed local RST_STREAM PROTOCOL_ERROR");
  });

  test("tells both sides of a reset, once", async () => {
    const { client, serverOwner } = pair();
    const near = new Recorder();
    near.of(client.open(CONNECT, false, near));
    await until(() => serverOwner.streams.length === 1);
    serverOwner.streams[0]!.stream!.reset("connect");
    serverOwner.streams[0]!.stream!.reset("cancel");
    await until(() => near.isClosed);
    expect(near.reset).toEqual({
      by: "peer",
      detail: "RST_STREAM CONNECT_ERROR",
      isRefused: false,
    });
    expect(serverOwner.streams[0]!.reset).toMatchObject({ by: "local" });
    near.stream!.reset("cancel");
    near.stream!.write(Buffer.from("x"), 0, 1, null);
    await turns();
    expect(client.isClosed).toBe(false);
  });

  test("refuses streams above the limit, so that they may be tried elsewhere", async () => {
    const { client, serverOwner } = pair({ maxConcurrentStreams: 2 });
    const open = () => {
      const near = new Recorder();
      return near.of(client.open(CONNECT, false, near));
    };
    // Before the SETTINGS are here the client cannot know.
    const all = [open(), open(), open()];
    await until(() => all[2]!.isClosed);
    expect(all[2]!.reset).toMatchObject({ by: "peer", isRefused: true });
    expect(serverOwner.streams).toHaveLength(2);
    expect(client.canOpen).toBe(false);
    all[0]!.stream!.reset("cancel");
    expect(client.canOpen).toBe(true);
  });

  test("splits header blocks above a frame into CONTINUATIONs", async () => {
    const { client, serverOwner } = pair({ maxFrameBytes: 16_384 });
    const value = "v".repeat(40_000);
    await turns();
    new Recorder().of(client.open([...CONNECT, "x-long", value], false, new Recorder()));
    await until(() => serverOwner.streams.length === 1);
    expect(serverOwner.streams[0]!.log[0]).toContain(value);
  });

  test("sends what was written in one turn in one write, and DATA of one stream in one frame", async () => {
    const { peer, connection } = await greeted("client");
    const near = new Recorder();
    near.of(connection.open(CONNECT, false, near));
    for (const word of ["a", "b", "c"]) near.stream!.write(Buffer.from(word), 0, 1, null);
    near.stream!.end();
    const frames = await peer.frames();
    expect(frames.map(({ type }) => type)).toEqual([T.headers, T.data]);
    expect(frames[1]).toMatchObject({ flags: END_STREAM, payload: Buffer.from("abc") });
  });
});

describe("SETTINGS", () => {
  test("come first, with our limits, and are acknowledged", async () => {
    const peer = new ScriptedPeer();
    const owner = new Owner();
    new Http2Connection(peer, "server", owner, TUNNEL_LIMITS);
    peer.send(CLIENT_PREFACE, settings());
    const frames = await peer.frames();
    expect(frames.map(({ type, flags }) => [type, flags])).toEqual([
      [T.settings, 0],
      [T.windowUpdate, 0],
      [T.settings, ACK],
    ]);
    const entries: Record<number, number> = {};
    for (let at = 0; at < frames[0]!.payload.length; at += 6) {
      entries[frames[0]!.payload.readUInt16BE(at)] = frames[0]!.payload.readUInt32BE(at + 2);
    }
    expect(entries).toEqual({ 3: 200, 4: 131_072, 5: 1_048_576, 6: 65_536 });
    expect(frames[1]!.payload.readUInt32BE(0)).toBe(16 * 1_048_576 - 65_535);
    expect(owner.log).toEqual(["ready"]);
  });

  test("that are not acknowledged in time end the connection", async () => {
    const limits = { ...TUNNEL_LIMITS, settingsTimeoutMs: 30 };
    const peer = new ScriptedPeer();
    const owner = new Owner();
    new Http2Connection(peer, "server", owner, limits);
    peer.send(CLIENT_PREFACE, settings());
    await expect.poll(() => peer.isEnded).toBe(true);
    expect(ends(await peer.frames())).toEqual(["GOAWAY 4"]);
    expect(owner.log.at(-1)).toMatch(/HTTP2_PROTOCOL_ERROR.*SETTINGS_TIMEOUT/);
  });

  test("let the peer go by the default window until it has acknowledged a smaller one", async () => {
    const peer = new ScriptedPeer();
    const owner = new Owner();
    const limits = { ...TUNNEL_LIMITS, streamWindowBytes: 1000 };
    new Http2Connection(peer, "server", owner, limits);
    peer.send(CLIENT_PREFACE, settings(), connect(1), frame(T.data, 0, 1, Buffer.alloc(3000)));
    expect(ends(await peer.frames())).toEqual([]);
    expect(owner.streams[0]!.bytes).toHaveLength(3000);
    peer.send(frame(T.settings, ACK, 0), connect(3), frame(T.data, 0, 3, Buffer.alloc(1001)));
    expect(ends(await peer.frames())).toEqual(["RST 3 3"]);
  });
});

describe("PING", () => {
  test("is answered with its payload", async () => {
    const { peer } = await greeted("server");
    peer.send(frame(T.ping, 0, 0, "12345678"), frame(T.ping, ACK, 0, "87654321"));
    const frames = await peer.frames();
    expect(frames).toEqual([{ type: T.ping, flags: ACK, id: 0, payload: Buffer.from("12345678") }]);
  });

  test("goes out in silence, and its missing answer ends the connection", async () => {
    const { peer, owner } = await greeted("server", {
      settingsTimeoutMs: 20,
      keepaliveIntervalMs: 20,
      keepaliveTimeoutMs: 40,
    });
    const pings: number[] = [];
    const isPinged = async () => {
      for (const { type } of await peer.frames()) if (type === T.ping) pings.push(type);
      return pings.length;
    };
    await expect.poll(isPinged, { interval: 5 }).toBe(1);
    peer.send(frame(T.ping, ACK, 0, Buffer.alloc(8)));
    await expect.poll(isPinged, { interval: 5 }).toBe(2);
    await expect.poll(() => peer.isDestroyed).toBe(true);
    expect(owner.log.at(-1)).toMatch(/TIMEOUT/);
  });
});

describe("drain()", () => {
  test("takes the streams that are under way, lets those there are end, then closes", async () => {
    const { client, server, clientOwner, serverOwner } = pair();
    const [first, second] = [new Recorder(), new Recorder()];
    first.of(client.open(CONNECT, false, first));
    await until(() => serverOwner.streams.length === 1);
    let isDrained = false;
    const drained = server.drain().then(() => {
      isDrained = true;
    });
    // Opened before the GOAWAY is here: it must not be lost.
    second.of(client.open(CONNECT, false, second));
    await until(() => clientOwner.log.includes("goaway"));
    expect(client.canOpen).toBe(false);
    await until(() => serverOwner.streams.length === 2);
    await turns(10);
    expect(isDrained).toBe(false);
    for (const near of [first, second]) near.stream!.end();
    for (const far of serverOwner.streams) {
      far.stream!.respond(OK, false);
      far.stream!.end();
    }
    await drained;
    await until(() => client.isClosed);
    expect(first.log.at(-1)).toBe("closed orderly");
    expect(second.log.at(-1)).toBe("closed orderly");
    expect(clientOwner.log.at(-1)).toBe("closed orderly");
    expect(serverOwner.log.at(-1)).toBe("closed orderly");
  });

  test("ignores streams opened behind the final GOAWAY, and keeps their HPACK state", async () => {
    const { peer, owner, connection } = await greeted("server");
    peer.send(connect(1));
    const drained = connection.drain();
    const [goaway, ping] = await peer.frames();
    expect(goaway!.payload).toEqual(words(0x7fffffff, 0));
    peer.send(frame(T.ping, ACK, 0, ping!.payload));
    expect((await peer.frames())[0]!.payload).toEqual(words(1, 0));
    const indexed = Buffer.from("4003782d610162", "hex");
    const late = Buffer.concat([block(":method", "CONNECT", ":authority", "a:1"), indexed]);
    peer.send(
      frame(T.headers, END_HEADERS, 3, late),
      frame(T.data, END_STREAM, 3, "lost"),
      frame(T.windowUpdate, 0, 3, words(1)),
      frame(T.rst, 0, 3, words(8)),
    );
    expect(await peer.frames()).toEqual([]);
    expect(owner.streams).toHaveLength(1);
    owner.streams[0]!.stream!.respond(OK, true);
    peer.send(frame(T.data, END_STREAM, 1));
    await drained;
    expect(peer.isEnded).toBe(true);
  });

  test("of a client says GOAWAY and waits for its streams", async () => {
    const { peer, connection } = await greeted("client");
    const near = new Recorder();
    near.of(connection.open(CONNECT, false, near));
    const drained = connection.drain();
    expect(ends(await peer.frames())).toEqual(["GOAWAY 0"]);
    expect(connection.canOpen).toBe(false);
    near.stream!.reset("cancel");
    await drained;
    expect(peer.isEnded).toBe(true);
  });
});

describe("a received GOAWAY", () => {
  test("refuses the streams above its last, and leaves the others", async () => {
    const { peer, owner, connection } = await greeted("client");
    const all = [new Recorder(), new Recorder()];
    for (const near of all) near.of(connection.open(CONNECT, false, near));
    peer.send(frame(T.goaway, 0, 0, Buffer.concat([words(1, 0), Buffer.from("bye")])));
    expect(all[1]!.reset).toEqual({ by: "peer", detail: "GOAWAY NO_ERROR", isRefused: true });
    expect(all[0]!.isClosed).toBe(false);
    expect(owner.log).toEqual(["ready", "goaway"]);
    peer.send(frame(T.headers, END_HEADERS | END_STREAM, 1, OK_BLOCK));
    all[0]!.stream!.end();
    expect(owner.log.slice(2)).toEqual(["idle", "closed orderly"]);
    await turns();
    expect(peer.isEnded).toBe(true);
  });
});

test("the end of the transport closes every stream, once", async () => {
  const { peer, owner, connection } = await greeted("server");
  peer.send(connect(1), connect(3));
  peer.sendEnd();
  expect(connection.isClosed).toBe(true);
  for (const far of owner.streams) expect(far.reset).toMatchObject({ by: "connection" });
  expect(owner.log.at(-1)).toMatch(/DOWNSTREAM_RESET/);
});

test("destroy() from a callback stops the reading of what came with it", async () => {
  const { peer, owner, connection } = await greeted("server");
  owner.onAccept = () => connection.destroy();
  peer.send(connect(1), connect(3), frame(T.data, 0, 1, "x"));
  expect(owner.streams).toHaveLength(1);
  expect(owner.streams[0]!.bytes).toHaveLength(0);
  expect(peer.isDestroyed).toBe(true);
});

/** Everything a peer may rightly send, and some that it may not, at the end. */
function dialogue(): Buffer {
  const headersRest = GET_BLOCK.subarray(3);
  return Buffer.concat([
    CLIENT_PREFACE,
    settings([4, 70_000], [99, 1]),
    frame(T.settings, ACK, 0),
    connect(1),
    frame(T.data, PADDED, 1, Buffer.concat([Buffer.of(3), Buffer.from("hello"), Buffer.alloc(3)])),
    frame(T.ping, 0, 0, "12345678"),
    frame(
      T.headers,
      END_STREAM | PRIORITY,
      3,
      Buffer.concat([words(0), Buffer.of(9), GET_BLOCK.subarray(0, 3)]),
    ),
    frame(T.continuation, 0, 3),
    frame(T.continuation, END_HEADERS, 3, headersRest),
    frame(77, 0xff, 1, Buffer.alloc(300)),
    frame(T.data, 0, 1, Buffer.alloc(700, "x")),
    frame(T.windowUpdate, 0, 1, words(10)),
    frame(T.priority, 0, 9, Buffer.concat([words(0), Buffer.of(1)])),
    frame(T.data, END_STREAM, 1, "!"),
    frame(T.headers, END_HEADERS, 5, block(":method", "POST", ":scheme", "http", ":path", "/")),
    frame(T.data, END_STREAM | PADDED, 5, Buffer.of(0)),
    connect(7),
    frame(T.rst, 0, 7, words(8)),
    frame(T.data, 0, 7, "late"),
    connect(9),
    frame(T.goaway, 0, 0, Buffer.concat([words(0, 0), Buffer.alloc(50)])),
    frame(T.windowUpdate, 0, 0, words(0)),
  ]);
}

test("however the bytes are cut into reads, the same happens", async () => {
  const run = async (cuts: readonly number[]) => {
    const peer = new ScriptedPeer();
    const owner = new Owner();
    new Http2Connection(peer, "server", owner, TUNNEL_LIMITS);
    const bytes = dialogue();
    let from = 0;
    for (const cut of [...cuts, bytes.length]) {
      if (cut > from) peer.send(bytes.subarray(from, cut));
      from = Math.max(from, cut);
    }
    const frames = await peer.frames();
    const events = owner.streams.map(({ log, bytes }) => [log, bytes.toString("latin1")]);
    return { frames, events, log: owner.log };
  };
  const whole = await run([]);
  expect(whole.events).toHaveLength(5);
  expect(ends(whole.frames)).toEqual(["RST 7 5", "GOAWAY 1"]);
  const length = dialogue().length;
  expect(await run(Array.from({ length }, (_, i) => i))).toEqual(whole);
  const cuts = fc.array(fc.nat(length), { maxLength: 40 }).map((all) => all.sort((a, b) => a - b));
  const same = async (each: readonly number[]) => {
    expect(await run(each)).toEqual(whole);
  };
  await fc.assert(fc.asyncProperty(cuts, same), { numRuns: 200 });
});
