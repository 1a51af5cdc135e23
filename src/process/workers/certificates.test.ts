import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { idOf, TestMesh } from "../../../test/support/identities.ts";
import type { CertificateSource } from "../../agent/certificates.ts";
import type { TlsIdentity } from "../../net/tls.ts";
import { CertificateRelay } from "./certificate-relay.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { RemoteCertificates } from "./remote-certificates.ts";

const A = idOf("a");

let mesh: TestMesh;
let first: TlsIdentity;
let second: TlsIdentity;
beforeAll(async () => {
  mesh = await TestMesh.make();
  [first, second] = [await mesh.identity("a"), await mesh.identity("a")];
});

/** Where certificates come from, by the test's hand. */
class FakeSource implements CertificateSource {
  asked = 0;
  released: string[] = [];
  identity: TlsIdentity | undefined;
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();

  async get(): Promise<TlsIdentity> {
    this.asked++;
    if (this.identity === undefined) throw new Error("the CA is down");
    return this.identity;
  }

  current(): TlsIdentity | undefined {
    return this.identity;
  }

  subscribe(listener: (identity: TlsIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  release(spiffeId: string): void {
    this.released.push(spiffeId);
  }

  list(): readonly [] {
    return [];
  }

  obtain(identity: TlsIdentity): void {
    this.identity = identity;
    for (const listener of this.#listeners) listener(identity);
  }
}

let source: FakeSource;
let relay: CertificateRelay;
beforeEach(() => {
  source = new FakeSource();
  relay = new CertificateRelay(source);
});
afterEach(() => relay.close());

/** A worker's end, joined to the relay by what would be the channel. */
function joinWorker() {
  const worker = {
    send: (message: ToWorker) => {
      const copy = structuredClone(message);
      if (copy.kind === "certificate") remote.onCertificate(copy.certificate);
      else if (copy.kind === "no-certificate") remote.onFailure(copy.spiffeId, copy.reason);
    },
  };
  const remote = new RemoteCertificates((message: FromWorker) => {
    if (message.kind === "want-certificate") void relay.want(worker, message.spiffeId);
    else if (message.kind === "release-certificate") relay.release(worker, message.spiffeId);
  });
  relay.join(worker);
  return { worker, remote };
}

const pemOf = (identity: TlsIdentity | undefined) => identity?.certificatePem;

test("a certificate goes to all workers unasked, a new one's at once", async () => {
  const early = joinWorker();
  const seen: string[] = [];
  early.remote.subscribe((identity) => seen.push(identity.certificatePem));
  source.obtain(first);
  const late = joinWorker();
  for (const { remote } of [early, late]) {
    expect(pemOf(remote.current(A))).toBe(first.certificatePem);
    expect(remote.current(A)?.keyPem).toBe(first.keyPem);
  }
  source.obtain(second);
  for (const { remote } of [early, late]) {
    expect(pemOf(await remote.get(A))).toBe(second.certificatePem);
  }
  expect(seen).toEqual([first.certificatePem, second.certificatePem]);
  expect(source.asked).toBe(0);
});

test("get() in a worker has the parent obtain it; concurrent calls ask once", async () => {
  const { remote } = joinWorker();
  source.identity = first;
  const asked = [remote.get(A), remote.get(A)];
  expect(remote.current(A)).toBe(undefined);
  const [one, other] = await Promise.all(asked);
  expect(one).toBe(other);
  expect(remote.current(A)).toBe(one);
  expect(source.asked).toBe(1);
});

test("a failure rejects, and what the parent obtains later is there", async () => {
  const { remote } = joinWorker();
  await expect(remote.get(A)).rejects.toThrow("the CA is down");
  // current() does not ask again and again: the parent retries.
  remote.current(A);
  remote.current(A);
  expect(source.asked).toBe(1);
  source.obtain(first);
  expect(pemOf(remote.current(A))).toBe(first.certificatePem);
});

test("an expired certificate is not used, and is asked for", async () => {
  const { remote } = joinWorker();
  source.obtain(await mesh.identity("a", { ageMs: 2 * 3_600_000 }));
  source.identity = first;
  expect(remote.current(A)).toBe(undefined);
  expect(pemOf(await remote.get(A))).toBe(first.certificatePem);
});

test("an identity is forgotten when the last worker has let go of it", () => {
  const [one, other] = [joinWorker(), joinWorker()];
  source.obtain(first);
  one.remote.release(A);
  expect(source.released).toEqual([]);
  expect(one.remote.current(A)).toBe(undefined);
  expect(pemOf(other.remote.current(A))).toBe(first.certificatePem);
  relay.leave(one.worker);
  other.remote.release(A);
  expect(source.released).toEqual([A]);
});
