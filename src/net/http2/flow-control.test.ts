import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  CONNECT,
  greeted,
  OK,
  pair,
  Recorder,
  turns,
  until,
} from "../../../test/support/http2-sides.ts";
import {
  connect,
  END_STREAM,
  ends,
  type Frame,
  frame,
  PADDED,
  settings,
  T,
  words,
} from "../../../test/support/peer.ts";
import { ByteStream } from "../byte-stream.ts";

/** A source that counts the credit it gets. */
class Source extends ByteStream {
  credited = 0;
  readonly isClosed = false;
  readonly queuedBytes = 0;
  write(): void {}
  end(): void {}
  reset(): void {}
  credit(count: number): void {
    this.credited += count;
  }
}

const payloadOf = (frames: readonly Frame[], id: number) =>
  Buffer.concat(frames.flatMap((f) => (f.type === T.data && f.id === id ? [f.payload] : [])));
const updatesOf = (frames: readonly Frame[], id: number) =>
  frames.flatMap((f) =>
    f.type === T.windowUpdate && f.id === id ? [f.payload.readUInt32BE(0)] : [],
  );
const widen = (id: number, by: number) => frame(T.windowUpdate, 0, id, words(by));

function numbered(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31) >> 4));
}

async function opened(...entries: readonly (readonly [number, number])[]) {
  const sides = await greeted("client", {}, ...entries);
  const open = () => {
    const near = new Recorder();
    return near.of(sides.connection.open(CONNECT, false, near));
  };
  return { ...sides, open, near: open() };
}

describe("sending", () => {
  test("goes to the end of the window, and on when it opens; credit follows the bytes", async () => {
    const { peer, near } = await opened([4, 100]);
    const source = new Source();
    const bytes = numbered(250);
    near.stream!.write(bytes, 0, 250, source);
    bytes.fill(0);
    near.stream!.end();
    let frames = await peer.frames();
    expect(payloadOf(frames, 1)).toHaveLength(100);
    expect(source.credited).toBe(100);
    expect(near.stream!.queuedBytes).toBe(150);

    peer.send(widen(1, 120));
    frames = frames.concat(await peer.frames());
    expect(source.credited).toBe(220);
    peer.send(widen(1, 1000));
    frames = frames.concat(await peer.frames());
    expect(payloadOf(frames, 1)).toEqual(numbered(250));
    expect(source.credited).toBe(250);
    expect(near.stream!.queuedBytes).toBe(0);
    expect(frames.at(-1)!.flags).toBe(END_STREAM);
  });

  test("of more than the connection's window does not stand still", async () => {
    const { peer, near } = await opened();
    near.stream!.write(numbered(70_000), 0, 70_000, null);
    const first = await peer.frames();
    expect(payloadOf(first, 1)).toHaveLength(65_535);
    peer.send(widen(0, 10_000));
    expect(await peer.frames()).toEqual([]);
    peer.send(widen(1, 10_000));
    expect(payloadOf(await peer.frames(), 1)).toHaveLength(4_465);
  });

  test("respects MAX_FRAME_SIZE, before and after SETTINGS", async () => {
    const { peer, near } = await opened([4, 1_000_000]);
    peer.send(widen(0, 1_000_000));
    near.stream!.write(numbered(60_000), 0, 60_000, null);
    let frames = await peer.frames();
    expect(frames.filter((f) => f.type === T.data).map((f) => f.payload.length)).toEqual([
      16_384, 16_384, 16_384, 10_848,
    ]);
    peer.send(settings([5, 50_000]));
    near.stream!.write(numbered(60_000), 0, 60_000, null);
    frames = await peer.frames();
    expect(frames.filter((f) => f.type === T.data).map((f) => f.payload.length)).toEqual([
      50_000, 10_000,
    ]);
  });

  test("stops when SETTINGS make the window negative, until it is positive again", async () => {
    const { peer, near } = await opened([4, 1000]);
    near.stream!.write(numbered(600), 0, 600, null);
    peer.send(settings([4, 100]));
    expect(near.stream!.sendWindow).toBe(-500);
    near.stream!.write(numbered(10), 0, 10, null);
    expect(payloadOf(await peer.frames(), 1)).toHaveLength(600);
    peer.send(widen(1, 500));
    expect(payloadOf(await peer.frames(), 1)).toHaveLength(0);
    peer.send(settings([4, 104]));
    expect(payloadOf(await peer.frames(), 1)).toHaveLength(4);
  });

  test("shares a narrow connection window among the streams, in turn", async () => {
    const { peer, near, open } = await opened([4, 10_000_000]);
    const streams = [near, open(), open()];
    const bytes = numbered(200_000);
    for (const each of streams) each.stream!.write(bytes, 0, bytes.length, null);
    const sent = new Map<number, number>();
    const count = (frames: readonly Frame[]) => {
      for (const { id } of streams.map((s) => s.stream!)) {
        sent.set(id, (sent.get(id) ?? 0) + payloadOf(frames, id).length);
      }
    };
    count(await peer.frames());
    expect([...sent.values()]).toEqual([65_535, 0, 0]);
    for (let round = 0; round < 3; round++) {
      peer.send(widen(0, 65_536));
      count(await peer.frames());
    }
    // The first had its turn before the others came; now each has had one.
    expect([...sent.values()].map((n) => Math.round(n / 65_536))).toEqual([2, 1, 1]);
    // A newcomer does not pass those in the line.
    const late = open();
    late.stream!.write(bytes, 0, 10, null);
    peer.send(widen(0, 65_536));
    expect(payloadOf(await peer.frames(), late.stream!.id)).toHaveLength(0);
  });

  test("credits nobody while the transport is behind, so memory is bounded", async () => {
    const { peer, near } = await opened([4, 0x7fffffff]);
    peer.send(widen(0, 0x7fff0000 - 65_535));
    await peer.frames();
    peer.isStalled = true;
    const source = new Source();
    const bytes = numbered(65_536);
    for (let i = 0; i < 64; i++) near.stream!.write(bytes, 0, bytes.length, source);
    await turns();
    expect(source.credited).toBeGreaterThan(1_000_000);
    expect(source.credited).toBeLessThan(1_048_576 + 3 * 67_000);
    peer.unstall();
    expect(payloadOf(await peer.frames(), 1).length).toBeGreaterThan(0);
    await until(() => source.credited === 64 * 65_536);
    expect(near.stream!.queuedBytes).toBe(0);
  });

  test("of far too much to a peer that does not read stops the reading from it too", async () => {
    const { peer, near } = await opened([4, 0x7fffffff]);
    peer.send(widen(0, 0x7fff0000 - 65_535));
    peer.isStalled = true;
    const bytes = Buffer.alloc(1_048_576);
    for (let i = 0; i < 19; i++) near.stream!.write(bytes, 0, bytes.length, null);
    expect(peer.isPaused).toBe(false);
    for (let i = 0; i < 3; i++) near.stream!.write(bytes, 0, bytes.length, null);
    expect(peer.isPaused).toBe(true);
    peer.unstall();
    await until(() => !peer.isPaused);
    let sent = 0;
    for (let round = 0; round < 200 && sent < 22 * 1_048_576; round++) {
      sent += payloadOf(await peer.frames(), 1).length;
    }
    expect(sent).toBe(22 * 1_048_576);
  });

  test("that comes to nothing credits its source", async () => {
    const { peer, near } = await opened([4, 10]);
    const source = new Source();
    near.stream!.write(numbered(100), 0, 100, source);
    expect(source.credited).toBe(10);
    peer.send(frame(T.rst, 0, 1, words(8)));
    expect(source.credited).toBe(100);
    near.stream!.write(numbered(5), 0, 5, source);
    expect(source.credited).toBe(105);
  });
});

describe("receiving", () => {
  const LIMITS = {
    streamWindowBytes: 100_000,
    streamWindowBytesMax: 100_000,
    connectionWindowBytes: 300_000,
  };

  test("gives a stream's window back as its consumer credits", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(connect(1));
    const far = owner.streams[0]!;
    far.isHolding = true;
    for (let i = 0; i < 10; i++) peer.send(frame(T.data, 0, 1, Buffer.alloc(10_000)));
    expect(far.heldBytes).toBe(100_000);
    expect(updatesOf(await peer.frames(), 1)).toEqual([]);
    far.release();
    expect(updatesOf(await peer.frames(), 1)).toEqual([100_000]);
    expect(far.stream!.receiveWindow).toBe(100_000);
  });

  test("widens a stream's window while its consumer keeps up, within what all may have", async () => {
    const limits = { ...LIMITS, streamWindowBytesMax: 800_000, windowGrowthBytes: 400_000 };
    const { peer, owner, connection } = await greeted("server", limits);
    const filled = async (id: number): Promise<number> => {
      peer.send(connect(id));
      const { stream } = owner.streams.at(-1)!;
      for (let i = 0; i < 200; i++) peer.send(frame(T.data, 0, id, Buffer.alloc(10_000)));
      await peer.frames();
      return stream!.receiveWindow;
    };
    const first = await filled(1);
    expect(first).toBeGreaterThan(250_000);
    expect(first).toBeLessThanOrEqual(500_000);
    // All the growth is taken; what a stream had from the beginning it has still.
    expect(await filled(3)).toBeLessThanOrEqual(100_000);
    owner.streams[0]!.stream!.reset("cancel");
    expect(await filled(5)).toBeGreaterThan(250_000);
    expect(connection.isClosed).toBe(false);
  });

  test("does not widen the window of a stream whose consumer stands still", async () => {
    const limits = { ...LIMITS, streamWindowBytesMax: 800_000 };
    const { peer, owner } = await greeted("server", limits);
    peer.send(connect(1));
    const far = owner.streams[0]!;
    far.isHolding = true;
    for (let i = 0; i < 9; i++) peer.send(frame(T.data, 0, 1, Buffer.alloc(10_000)));
    // It lets go of a little at a time, and takes as much again.
    for (let i = 0; i < 100; i++) {
      far.heldBytes -= 10_000;
      far.stream!.credit(10_000);
      peer.send(frame(T.data, 0, 1, Buffer.alloc(10_000)));
    }
    expect(far.stream!.receiveWindow + far.heldBytes).toBeLessThanOrEqual(100_000);
  });

  test("of more than a stream's window resets the stream", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(connect(1));
    owner.streams[0]!.isHolding = true;
    peer.send(frame(T.data, 0, 1, Buffer.alloc(100_000)), frame(T.data, 0, 1, "x"));
    expect(ends(await peer.frames())).toEqual(["RST 1 3"]);
    expect(owner.streams[0]!.heldBytes).toBe(100_000);
  });

  test("goes on while consumers stand still: their streams alone stop", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    // Together they hold more than the connection's window.
    for (const id of [1, 3, 5, 7]) {
      peer.send(connect(id));
      owner.streams.at(-1)!.isHolding = true;
      peer.send(frame(T.data, 0, id, Buffer.alloc(100_000)));
    }
    peer.send(connect(9), frame(T.data, 0, 9, "hello"));
    expect(owner.streams[4]!.bytes.toString()).toBe("hello");
    const frames = await peer.frames();
    expect(ends(frames)).toEqual([]);
    expect(updatesOf(frames, 0).reduce((a, b) => a + b, 0)).toBeGreaterThanOrEqual(200_000);
  });

  test("counts padding, and DATA that nobody wants, on the connection", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(connect(1), connect(3));
    owner.streams[1]!.stream!.reset("cancel");
    for (let i = 0; i < 150; i++) {
      peer.send(frame(T.data, PADDED, 1, Buffer.concat([Buffer.of(255), Buffer.alloc(1255)])));
      peer.send(frame(T.data, 0, 3, Buffer.alloc(1000)));
    }
    const frames = await peer.frames();
    expect(ends(frames)).toEqual(["RST 3 8"]);
    expect(owner.streams[0]!.bytes).toHaveLength(150_000);
    expect(updatesOf(frames, 1).reduce((a, b) => a + b, 0)).toBeGreaterThan(100_000);
    expect(updatesOf(frames, 0)[0]).toBeGreaterThanOrEqual(150_000);
  });

  test("of more than the connection's window ends the connection", async () => {
    // A window below a frame: it is given back only when half of it has come.
    const { peer } = await greeted("server", { ...LIMITS, connectionWindowBytes: 70_000 });
    peer.send(connect(1), frame(T.data, 0, 1, Buffer.alloc(70_001)));
    expect(ends(await peer.frames())).toEqual(["GOAWAY 3"]);
  });
});

test("a slow consumer at the far end bounds what is queued here", async () => {
  const window = 100_000;
  const { client, serverOwner } = pair({ streamWindowBytes: window });
  serverOwner.onAccept = (stream, _headers, far) => {
    far.isHolding = true;
    stream.respond(OK, false);
  };
  const near = new Recorder();
  near.of(client.open(CONNECT, false, near));
  const source = new Source();
  let written = 0;
  // A source that keeps to its credit, as ByteStreams do, with a window of its own.
  const pump = () => {
    while (written - source.credited < 50_000) {
      near.stream!.write(numbered(10_000), 0, 10_000, source);
      written += 10_000;
    }
  };
  for (let turn = 0; turn < 50; turn++) {
    pump();
    await turns(2);
  }
  const far = serverOwner.streams[0]!;
  expect(far.heldBytes).toBe(window);
  expect(near.stream!.queuedBytes).toBe(50_000);
  expect(written).toBe(window + 50_000);
  far.release();
  for (let turn = 0; turn < 50; turn++) {
    pump();
    await turns(2);
  }
  expect(far.bytes.length).toBeGreaterThan(4 * window);
});

test("any traffic under any windows arrives whole, and no window becomes negative", async () => {
  const scenario = fc.record({
    streamWindowBytes: fc.integer({ min: 3_000, max: 70_000 }),
    connectionWindowBytes: fc.integer({ min: 65_535, max: 200_000 }),
    pieceBytes: fc.integer({ min: 100, max: 70_000 }),
    // Before the SETTINGS are here the default holds, and more may come than they allow.
    isSettled: fc.boolean(),
    streams: fc.array(
      fc.record({
        up: fc.array(fc.integer({ min: 1, max: 40_000 }), { maxLength: 8 }),
        down: fc.array(fc.integer({ min: 1, max: 40_000 }), { maxLength: 8 }),
        isHolding: fc.boolean(),
      }),
      { minLength: 1, maxLength: 6 },
    ),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ streams, pieceBytes, isSettled, ...limits }) => {
      const { client, server, serverOwner } = pair(limits, pieceBytes);
      if (isSettled) await turns(10);
      const send = (recorder: Recorder, sizes: readonly number[], source: Source) => {
        for (const size of sizes) recorder.stream!.write(numbered(size), 0, size, source);
        recorder.stream!.end();
      };
      const source = new Source();
      serverOwner.onAccept = (stream, _headers, far) => {
        const plan = streams[(stream.id - 1) / 2]!;
        far.isHolding = plan.isHolding;
        stream.respond(OK, false);
        send(far, plan.down, source);
      };
      const nears = streams.map(({ up }) => {
        const near = new Recorder();
        near.of(client.open(CONNECT, false, near));
        send(near, up, source);
        return near;
      });
      const check = (recorder: Recorder) => {
        if (recorder.heldBytes > 0) {
          const count = recorder.heldBytes;
          recorder.heldBytes = 0;
          recorder.stream!.credit(count);
        }
        if (isSettled) expect(recorder.stream!.receiveWindow).toBeGreaterThanOrEqual(0);
        return recorder.isClosed;
      };
      await until(() => {
        const all = [...nears, ...serverOwner.streams].map(check);
        return all.length === 2 * streams.length && all.every(Boolean);
      }, 200_000);
      const sum = (sizes: readonly number[]) => Buffer.concat(sizes.map(numbered));
      for (const [i, plan] of streams.entries()) {
        expect(nears[i]!.bytes.equals(sum(plan.down))).toBe(true);
        expect(serverOwner.streams[i]!.bytes.equals(sum(plan.up))).toBe(true);
        expect(nears[i]!.log.at(-1)).toBe("closed orderly");
      }
      const total = streams.flatMap(({ up, down }) => [...up, ...down]).reduce((a, b) => a + b, 0);
      await until(() => source.credited === total);
      expect([client.streamCount, server.streamCount]).toEqual([0, 0]);
    }),
    { numRuns: 15 },
  );
});
