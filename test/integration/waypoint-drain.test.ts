/** One of two waypoints leaves under load, on real sockets: nobody may notice. */
import { afterEach, expect, test } from "vitest";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import { RealMesh } from "../support/real-waypoint.ts";
import { meshWith } from "../support/waypoint-session.ts";

const REQUEST = Buffer.from("GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n");
const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

let mesh: RealMesh | undefined;
afterEach(() => mesh?.end());

/** An application that answers each request after a moment. */
function serve(stream: Http2Stream): void {
  stream.consumer = {
    onData(_bytes, start, end) {
      stream.credit(end - start);
      setTimeout(() => stream.write(ANSWER, 0, ANSWER.length, null), Math.random() * 4);
    },
    onEnd: () => stream.end(),
    onClosed() {},
  };
}

/** An application's client that keeps its connection and asks every so often. */
class KeptClient {
  readonly #connect: () => Promise<Http2Stream>;
  readonly #everyMs: number;
  answered = 0;
  connections = 0;
  readonly failures: string[] = [];
  isStopped = false;

  constructor(connect: () => Promise<Http2Stream>, everyMs: number) {
    this.#connect = connect;
    this.#everyMs = everyMs;
  }

  async run(): Promise<void> {
    while (!this.isStopped) {
      this.connections++;
      const stream = await this.#connect().catch((caught: Error) => {
        this.failures.push(`connect: ${caught.message}`);
        return undefined;
      });
      if (stream !== undefined) await this.#talk(stream);
    }
  }

  /** Until the connection is over, or we are told that it will be. */
  #talk(stream: Http2Stream): Promise<void> {
    return new Promise((resolve) => {
      let text = "";
      let isAsking = false;
      const ask = () => {
        if (this.isStopped || stream.isRemoteEnded || stream.isClosed) {
          stream.end();
          resolve();
          return;
        }
        isAsking = true;
        text = "";
        stream.write(REQUEST, 0, REQUEST.length, null);
      };
      stream.consumer = {
        onData: (bytes, start, end) => {
          text += bytes.toString("latin1", start, end);
          stream.credit(end - start);
          if (!text.endsWith("\r\n\r\nok")) return;
          isAsking = false;
          if (text.startsWith("HTTP/1.1 200")) this.answered++;
          else this.failures.push(text);
          if (/connection: close/i.test(text)) {
            stream.end();
            resolve();
          } else setTimeout(ask, this.#everyMs);
        },
        onEnd: () => {
          if (isAsking) this.failures.push("ended without an answer");
          isAsking = false;
          stream.end();
        },
        onClosed: (reset) => {
          if (isAsking) this.failures.push(`closed: ${reset?.detail}`);
          resolve();
        },
      };
      ask();
    });
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a waypoint that drains under load loses no request", { timeout: 20_000 }, async () => {
  mesh = await RealMesh.start(meshWith(1), serve);
  const made = mesh;
  const leaving = await mesh.waypoint({ drainGraceMs: 1_000 });
  const staying = await mesh.waypoint();
  let ports = [leaving.port, staying.port];
  const connect = () => made.connect(ports[Math.floor(Math.random() * ports.length)]!);
  // Some without a pause, some that ask about as often as the grace is long.
  const clients = [0, 0, 5, 10, 20, 20, 40, 40, 80, 80, 150, 300, 600].flatMap((everyMs) =>
    Array.from({ length: 4 }, () => new KeptClient(connect, everyMs)),
  );
  const running = clients.map((client) => client.run());
  await sleep(500);
  const drained = leaving.drain.start(10_000);
  // Clients' ztunnels learn of it late.
  await sleep(300);
  ports = [staying.port];
  const startMs = performance.now();
  await drained;
  // With its last stream, and not with the deadline.
  expect(performance.now() - startMs).toBeLessThan(5_000);
  const atDrained = clients.reduce((sum, client) => sum + client.answered, 0);
  await sleep(300);
  for (const client of clients) client.isStopped = true;
  await Promise.all(running);
  expect(clients.flatMap((client) => client.failures)).toEqual([]);
  const answered = clients.reduce((sum, client) => sum + client.answered, 0);
  expect(atDrained).toBeGreaterThan(500);
  expect(answered).toBeGreaterThan(atDrained);
  expect(clients.some((client) => client.connections > 1)).toBe(true);
});
