import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { idOf, TestMesh } from "../../test/support/identities.ts";
import { Failure } from "../kit/failure.ts";
import { log } from "../kit/log.ts";
import { acceptTls, connectTls, type TlsIdentity, type TlsPeer } from "../net/tls.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { type CertificateAuthority, type CertificateClock, Certificates } from "./certificates.ts";

const HOUR_MS = 3_600_000;
const ID = idOf("sleep");
const quiet = log("test");
quiet.level = "silent";

/** A clock that stands still until it is told to go on. */
class FakeClock implements CertificateClock {
  nowMs = Date.now();
  draw = 0;
  #timers: { atMs: number; callback: () => void }[] = [];

  now = () => this.nowMs;
  random = () => this.draw;

  schedule(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.nowMs + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  get timerCount(): number {
    return this.#timers.length;
  }

  get nextInMs(): number {
    return Math.min(...this.#timers.map((timer) => timer.atMs)) - this.nowMs;
  }

  /** Lets time pass, waiting after each timer for what it started. */
  async advance(lengthMs: number, settled: () => Promise<unknown>): Promise<void> {
    const untilMs = this.nowMs + lengthMs;
    for (;;) {
      const [next] = this.#timers.sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > untilMs) break;
      this.#timers.shift();
      this.nowMs = next.atMs;
      next.callback();
      await settled();
    }
    this.nowMs = untilMs;
  }
}

/** Signs by the mesh's CA, at the clock's time; can be out of order. */
class FakeAuthority implements CertificateAuthority {
  requests: string[] = [];
  csrs: string[] = [];
  isDown = false;
  lies = "";
  readonly pending = new Set<Promise<unknown>>();
  readonly #mesh: TestMesh;
  readonly #clock: FakeClock;

  constructor(mesh: TestMesh, clock: FakeClock) {
    this.#mesh = mesh;
    this.#clock = clock;
  }

  sign(request: { csrPem: string; spiffeId: string; ttlMs: number }) {
    const { spiffeId, csrPem } = request;
    this.requests.push(spiffeId);
    this.csrs.push(csrPem);
    const signing = this.#sign(request);
    this.pending.add(signing);
    const done = () => this.pending.delete(signing);
    signing.then(done, done);
    return signing;
  }

  async #sign(request: { csrPem: string; spiffeId: string; ttlMs: number }) {
    if (this.isDown) throw new Error("the CA is down");
    const spiffeId = this.lies || request.spiffeId;
    return this.#mesh.signAt(this.#clock.nowMs, { ...request, spiffeId });
  }
}

let mesh: TestMesh;
let clock: FakeClock;
let authority: FakeAuthority;
let certificates: Certificates;

beforeEach(async () => {
  mesh = await TestMesh.make();
  clock = new FakeClock();
  authority = new FakeAuthority(mesh, clock);
  certificates = new Certificates(authority, { ttlMs: HOUR_MS, log: quiet, clock });
});

afterEach(() => certificates.close());

/** Until what a timer started is through: key, request, signature, new timer. */
async function settled(): Promise<void> {
  const before = authority.requests.length;
  await expect.poll(() => clock.timerCount > 0 || authority.requests.length > before).toBe(true);
  while (authority.pending.size > 0) await Promise.allSettled([...authority.pending]);
  await expect.poll(() => clock.timerCount).toBeGreaterThan(0);
}

test("get() obtains a certificate for the identity, once for all who ask", async () => {
  const asked = [certificates.get(ID), certificates.get(ID), certificates.get(ID)];
  expect(certificates.current(ID)).toBeUndefined();
  const [one, two, three] = await Promise.all(asked);
  expect(one).toBe(two);
  expect(two).toBe(three);
  expect(one?.spiffeId).toBe(ID);
  expect(await certificates.get(ID)).toBe(one);
  expect(certificates.current(ID)).toBe(one);
  expect(authority.requests).toEqual([ID]);
  expect(authority.csrs[0]).toContain("BEGIN CERTIFICATE REQUEST");
});

test("it renews at half of the certificate's life, a little before, with a new key", async () => {
  clock.draw = 0.999;
  const first = await certificates.get(ID);
  const seen: TlsIdentity[] = [];
  certificates.subscribe((identity) => seen.push(identity));
  const halfMs = (first.notAfterMs - first.notBeforeMs) / 2;
  const inMs = first.notBeforeMs + halfMs - clock.nowMs;
  await clock.advance(inMs * 0.8, settled);
  expect(authority.requests.length).toBe(1);
  await clock.advance(inMs * 0.2, settled);
  expect(authority.requests.length).toBe(2);
  const second = certificates.current(ID);
  expect(second).not.toBe(first);
  expect(second?.keyPem).not.toBe(first.keyPem);
  expect(seen).toEqual([second]);
  await clock.advance(HOUR_MS * 24, settled);
  expect(authority.requests.length).toBeGreaterThan(40);
  expect(certificates.current(ID)).toBeDefined();
});

test("a life shorter than what the CA dates back is renewed at half of its rest", async () => {
  const short = new Certificates(authority, { ttlMs: 20_000, log: quiet, clock });
  await short.get(ID);
  expect(clock.nextInMs).toBeGreaterThan(6_000);
  expect(clock.nextInMs).toBeLessThanOrEqual(11_000);
  short.close();
});

test("a renewal that fails is retried, ever more slowly, and the old one serves till it expires", async () => {
  const first = await certificates.get(ID);
  authority.isDown = true;
  await clock.advance(HOUR_MS / 2, settled);
  expect(authority.requests.length).toBeGreaterThan(5);
  const before = authority.requests.length;
  await clock.advance(HOUR_MS / 4, settled);
  const perQuarter = authority.requests.length - before;
  // Every 150 s less 20 %: 120 s.
  expect(perQuarter).toBeGreaterThanOrEqual(7);
  expect(perQuarter).toBeLessThanOrEqual(8);
  expect(certificates.current(ID)).toBe(first);
  expect(await certificates.get(ID)).toBe(first);
  await clock.advance(HOUR_MS / 4 - 1 + (first.notAfterMs - clock.nowMs - HOUR_MS / 4), settled);
  expect(certificates.current(ID)).toBe(first);
  await clock.advance(1, settled);
  expect(certificates.current(ID)).toBeUndefined();
  const failure = await certificates.get(ID).catch((caught: unknown) => caught);
  expect(failure).toMatchObject({ code: "CERTIFICATE_UNAVAILABLE" });
  expect((failure as Failure).message).toContain("the CA is down");
  authority.isDown = false;
  await clock.advance(180_000, settled);
  expect(certificates.current(ID)).toBeDefined();
});

test("the first retry comes after 0.5 to 1 s, the later ones doubled, within 20 %", async () => {
  authority.isDown = true;
  for (const [draw, first, second, third] of [
    [0, 500, 800, 1600],
    [0.5, 750, 1500, 3000],
  ] as const) {
    clock.draw = draw;
    const id = idOf(`account-${first}`);
    await expect(certificates.get(id)).rejects.toMatchObject({ code: "CERTIFICATE_UNAVAILABLE" });
    for (const delayMs of [first, second, third]) {
      expect(clock.nextInMs).toBe(delayMs);
      await clock.advance(delayMs, settled);
    }
    certificates.release(id);
  }
});

test("get() does not ask the CA while a retry is due", async () => {
  authority.isDown = true;
  const asked = [certificates.get(ID), certificates.get(ID)];
  for (const answer of asked) {
    await expect(answer).rejects.toMatchObject({ code: "CERTIFICATE_UNAVAILABLE" });
  }
  await expect(certificates.get(ID)).rejects.toBeInstanceOf(Failure);
  expect(authority.requests.length).toBe(1);
  authority.isDown = false;
  await clock.advance(1000, settled);
  expect((await certificates.get(ID)).spiffeId).toBe(ID);
  expect(authority.requests.length).toBe(2);
});

test("a certificate for somebody else is not taken", async () => {
  authority.lies = idOf("admin");
  const failure = (await certificates.get(ID).catch((caught: unknown) => caught)) as Failure;
  expect(failure.code).toBe("CERTIFICATE_UNAVAILABLE");
  expect(failure.message).toContain(`signed ${idOf("admin")} instead`);
  expect(certificates.current(ID)).toBeUndefined();
});

test("current() has an expired certificate renewed when the timers slept as well", async () => {
  const first = await certificates.get(ID);
  clock.nowMs = first.notAfterMs + HOUR_MS;
  expect(certificates.current(ID)).toBeUndefined();
  await expect.poll(() => certificates.current(ID)).toBeDefined();
  expect(authority.requests.length).toBe(2);
});

test("release() forgets the identity and close() all of them", async () => {
  await Promise.all([certificates.get(ID), certificates.get(idOf("other"))]);
  certificates.release(ID);
  expect(certificates.current(ID)).toBeUndefined();
  expect(clock.timerCount).toBe(1);
  const late = certificates.get(idOf("late"));
  certificates.close();
  expect((await late).spiffeId).toBe(idOf("late"));
  expect(certificates.current(idOf("late"))).toBeUndefined();
  expect(clock.timerCount).toBe(0);
  await expect(certificates.get(ID)).rejects.toMatchObject({ code: "CERTIFICATE_UNAVAILABLE" });
});

test("at most eight requests are with the CA at a time", async () => {
  let [running, most] = [0, 0];
  const slow: CertificateAuthority = {
    async sign(request) {
      running++;
      most = Math.max(most, running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running--;
      return mesh.signAt(Date.now(), request);
    },
  };
  const many = new Certificates(slow, { ttlMs: HOUR_MS, log: quiet });
  const ids = Array.from({ length: 20 }, (_, index) => idOf(`account-${index}`));
  const identities = await Promise.all(ids.map((id) => many.get(id)));
  many.close();
  expect(identities.map((identity) => identity.spiffeId)).toEqual(ids);
  expect(most).toBe(8);
});

test("a rotation concerns new handshakes and leaves open connections alone", async () => {
  // OpenSSL has a clock of its own: the first certificate is half an hour old.
  clock.nowMs = Date.now() - HOUR_MS / 2;
  const client = await certificates.get(idOf("client"));
  await certificates.get(ID);
  const accepted: TlsPeer[] = [];
  const listener = net.createServer((socket) => {
    const identity = certificates.current(ID)!;
    const options = { identity, trustDomains: ["cluster.local"], handshakeTimeoutMs: 2000 };
    acceptTls(socket, options, (outcome) => accepted.push(outcome as TlsPeer));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as net.AddressInfo;
  const dial = () =>
    new Promise<TlsPeer>((resolve, reject) => {
      const options = { host: "127.0.0.1", port, identity: client, expected: [ID] };
      connectTls({ ...options, timeoutMs: 2000 }, (outcome) => {
        if (outcome instanceof Failure) reject(outcome);
        else resolve(outcome);
      });
    });
  const serialOf = ({ socket }: TlsPeer) => socket.getPeerX509Certificate()?.serialNumber;
  const old = await dial();
  await clock.advance(HOUR_MS / 2, settled);
  const renewed = certificates.current(ID)!;
  const fresh = await dial();
  expect(serialOf(fresh)).toBe(new X509Certificate(renewed.certificatePem).serialNumber);
  expect(serialOf(old)).not.toBe(serialOf(fresh));
  old.socket.write("still there?");
  await expect.poll(() => accepted.length).toBe(2);
  expect(String((await once(accepted[0]!.socket, "data"))[0])).toBe("still there?");
  for (const { socket } of [old, fresh, ...accepted]) socket.destroy();
  listener.close();
});

test("a CA that is away is told once, not for each identity and retry, and every time counted", async () => {
  const warnings = vi.spyOn(quiet, "warn");
  const registry = new MetricRegistry();
  const counted = new Certificates(authority, { ttlMs: HOUR_MS, log: quiet, clock, registry });
  authority.isDown = true;
  for (const id of [ID, idOf("a"), idOf("b")]) {
    await expect(counted.get(id)).rejects.toThrow("the CA is down");
  }
  await clock.advance(5_000, settled);
  expect(warnings).toHaveBeenCalledTimes(1);
  authority.isDown = false;
  await clock.advance(150_000, settled);
  expect(counted.current(ID)).toBeDefined();
  authority.isDown = true;
  await expect(counted.get(idOf("c"))).rejects.toThrow("the CA is down");
  expect(warnings).toHaveBeenCalledTimes(2);
  const text = [...registry.exposition()].join("");
  expect(text).toContain('waystone_certificate_requests_total{result="obtained"} 3');
  const failed = Number(/result="failed"} (\d+)/.exec(text)?.[1]);
  expect(failed).toBe(authority.requests.length - 3);
  expect(failed).toBeGreaterThan(6);
  counted.close();
  warnings.mockRestore();
});

test("the list tells what is there, what is being obtained, and what failed", async () => {
  const getting = certificates.get(idOf("a"));
  expect(certificates.list()).toEqual([
    { spiffeId: idOf("a"), identity: undefined, problem: undefined },
  ]);
  const identity = await getting;
  authority.isDown = true;
  await certificates.get(idOf("b")).catch(() => {});
  const [a, b] = certificates.list();
  expect(a).toEqual({ spiffeId: idOf("a"), identity, problem: undefined });
  expect(b?.identity).toBeUndefined();
  expect(b?.problem).toContain("the CA is down");
  certificates.release(idOf("a"));
  expect(certificates.list()).toEqual([b]);
});
