import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { onSocketBytes } from "./socket-reads.ts";

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const it of open.splice(0)) it.destroy();
});

/** Both ends of a connection; the far one is the accepted one, paused. */
async function pair(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ pauseOnConnect: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  const [far] = (await once(server, "connection")) as [net.Socket];
  server.close();
  open.push(near, far);
  return [near, far];
}

async function until(holds: () => boolean): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error("not within 5 s");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

describe.each([true, false])("onSocketBytes() with reads into one buffer: %s", (intoBuffer) => {
  test("hands over what was there before, what comes, and the end, in order", async () => {
    const [near, far] = await pair();
    near.write("early ");
    // Into the stream's own buffer, as it may happen between accept and the first listener.
    far.read(0);
    await until(() => far.readableLength > 0);
    let text = "";
    let isEnded = false;
    far.on("end", () => {
      isEnded = true;
    });
    onSocketBytes(
      far,
      (bytes, start, end) => {
        text += bytes.toString("latin1", start, end);
      },
      intoBuffer,
    );
    far.resume();
    near.end("late");
    await until(() => isEnded);
    expect(text).toBe("early late");
  });

  test("pause() stops the reads, also from within one; resume() goes on", async () => {
    const [near, far] = await pair();
    let received = 0;
    onSocketBytes(
      far,
      (_bytes, start, end) => {
        received += end - start;
        far.pause();
      },
      intoBuffer,
    );
    far.resume();
    const total = 8 * 1024 * 1024;
    near.write(Buffer.alloc(total));
    await until(() => received > 0);
    const afterFirst = received;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(received).toBe(afterFirst);
    expect(received).toBeLessThan(total);
    while (received < total) {
      const before = received;
      far.resume();
      await until(() => received > before);
    }
    expect(received).toBe(total);
  });

  test("two sockets do not see each other's bytes", async () => {
    const [[nearA, farA], [nearB, farB]] = [await pair(), await pair()];
    const texts = ["", ""];
    for (const [index, far] of [farA, farB].entries()) {
      onSocketBytes(
        far,
        (bytes, start, end) => {
          texts[index] += bytes.toString("latin1", start, end);
        },
        intoBuffer,
      );
      far.resume();
    }
    for (let i = 0; i < 50; i++) {
      nearA.write("a".repeat(1_000));
      nearB.write("b".repeat(1_000));
    }
    await until(() => texts.every((text) => text.length === 50_000));
    expect(texts).toEqual(["a".repeat(50_000), "b".repeat(50_000)]);
  });
});
