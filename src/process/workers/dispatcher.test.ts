import { Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Candidate, Dispatcher, type RefusalReason } from "./dispatcher.ts";

/** A worker with a load of the test's choosing. */
class FakeWorker implements Candidate {
  readonly index: number;
  isOpen = true;
  streams = 0;
  connections = 0;
  passengerCount = 0;
  readonly sockets: Socket[] = [];

  constructor(index: number) {
    this.index = index;
  }

  pass(socket: Socket): void {
    this.sockets.push(socket);
    this.streams++;
    this.connections++;
  }
}

let workers: FakeWorker[];
let refused: RefusalReason[];
let dispatcher: Dispatcher;
beforeEach(() => {
  vi.useFakeTimers();
  workers = [new FakeWorker(0), new FakeWorker(1), new FakeWorker(2)];
  refused = [];
  dispatcher = new Dispatcher({
    workers: () => workers,
    onPassed: () => {},
    onRefused: (reason) => refused.push(reason),
  });
});
afterEach(() => {
  dispatcher.close();
  vi.useRealTimers();
});

function accept(count: number): Socket[] {
  const sockets = Array.from({ length: count }, () => new Socket());
  for (const socket of sockets) dispatcher.accept(socket, undefined);
  return sockets;
}

const counts = () => workers.map(({ sockets }) => sockets.length);

test("a connection goes to the worker with the fewest streams", () => {
  [workers[0]!.streams, workers[1]!.streams, workers[2]!.streams] = [7, 2, 5];
  accept(6);
  // 2 → 5, then both in turn, for the other has fewer connections.
  expect(counts()).toEqual([0, 4, 2]);
  accept(5);
  expect(workers.map(({ streams }) => streams).sort()).toEqual([8, 8, 9]);
});

test("among equals it goes to the one with the fewest connections, then in turn", () => {
  for (const worker of workers) worker.streams = 4;
  [workers[0]!.connections, workers[1]!.connections, workers[2]!.connections] = [3, 3, 1];
  accept(1);
  expect(counts()).toEqual([0, 0, 1]);
  for (const worker of workers) [worker.streams, worker.connections] = [0, 0];
  accept(1);
  for (const worker of workers) [worker.streams, worker.connections] = [0, 0];
  accept(1);
  expect(counts()).toEqual([1, 1, 1]);
});

test("a worker that is not open, or has too much on its way, gets nothing", () => {
  workers[0]!.isOpen = false;
  workers[1]!.passengerCount = 256;
  accept(4);
  expect(counts()).toEqual([0, 0, 4]);
});

test("without a worker connections wait, in order, and are refused after a while", () => {
  for (const worker of workers) worker.isOpen = false;
  const [first, second] = accept(2);
  vi.advanceTimersByTime(6_000);
  const [third] = accept(1);
  vi.advanceTimersByTime(4_000);
  expect(refused).toEqual(["no_worker", "no_worker"]);
  expect([first, second, third].map((socket) => socket!.destroyed)).toEqual([true, true, false]);
  const [fourth] = accept(1);
  workers[1]!.isOpen = true;
  dispatcher.resume();
  expect(workers[1]!.sockets).toEqual([third, fourth]);
  vi.advanceTimersByTime(20_000);
  expect(refused).toHaveLength(2);
});

test("so many wait and no more", () => {
  for (const worker of workers) worker.isOpen = false;
  const sockets = accept(1030);
  expect(refused).toEqual(Array(6).fill("queue_full"));
  expect(sockets.filter(({ destroyed }) => destroyed)).toHaveLength(6);
});

test("close() refuses what waits, and what comes without a worker", () => {
  for (const worker of workers) worker.isOpen = false;
  const [waiting] = accept(1);
  dispatcher.close();
  const [late] = accept(1);
  expect([waiting!.destroyed, late!.destroyed]).toEqual([true, true]);
  expect(refused).toEqual(["no_worker", "no_worker"]);
});
