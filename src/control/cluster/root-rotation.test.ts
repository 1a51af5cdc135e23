import { X509Certificate } from "node:crypto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type TestCa, testCa, testCsr } from "../../../test/support/certificate-chains.ts";
import { MeshCertificateAuthority } from "../certificate-authority.ts";
import type { Root } from "../root-store.ts";
import { type RotationState, rotated } from "./root-rotation.ts";

const HOUR_MS = 3_600_000;
const ID = "spiffe://cluster.local/ns/shop/sa/cart";
const csrPem = await testCsr();

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

interface Proxy {
  leaf: X509Certificate;
  roots: readonly X509Certificate[];
  renewAtMs: number;
}

const certificatesIn = (pem: string) =>
  pem
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .filter(Boolean)
    .map((one) => new X509Certificate(one));

/** Proxies that renew at half of a day, each at its own hour, as long as `hours`. */
async function lives(
  authority: MeshCertificateAuthority,
  hours: number,
  at: (hour: number) => void,
) {
  const renew = async (): Promise<Proxy> => {
    const signed = await authority.sign({ csrPem, spiffeId: ID, ttlMs: 24 * HOUR_MS });
    const [leaf] = certificatesIn(signed.chainPem);
    const roots = certificatesIn(signed.rootsPem);
    return { leaf: leaf!, roots, renewAtMs: Date.now() + 12 * HOUR_MS };
  };
  const proxies = await Promise.all(Array.from({ length: 12 }, renew));
  for (const [i, proxy] of proxies.entries()) proxy.renewAtMs = Date.now() + i * HOUR_MS;
  let failed = 0;
  for (let hour = 0; hour < hours; hour++) {
    at(hour);
    for (const [i, proxy] of proxies.entries()) {
      if (Date.now() >= proxy.renewAtMs) proxies[i] = await renew();
    }
    for (const client of proxies) {
      for (const { leaf } of proxies) {
        const isTrusted = client.roots.some((root) => leaf.verify(root.publicKey));
        if (!isTrusted || Date.now() >= Date.parse(leaf.validTo)) failed++;
      }
    }
    vi.advanceTimersByTime(HOUR_MS);
  }
  return failed;
}

const rootOf = ({ certificatePem, keyPem }: TestCa, rootsPem?: string): Root => ({
  certificatePem,
  keyPem,
  ...(rootsPem === undefined ? {} : { rootsPem }),
});

/** The cluster's CA as it was put there, and what became of it. */
class Cluster {
  readonly authority: MeshCertificateAuthority;
  #state: RotationState;
  #found: Root;

  constructor(found: Root) {
    this.#found = found;
    this.#state = rotated(undefined, found, Date.now());
    this.authority = new MeshCertificateAuthority(found);
  }

  /** As often as somebody looks, whoever that is: nothing is remembered but the state. */
  look(put?: Root): void {
    this.#found = put ?? this.#found;
    const state = rotated(this.#state, this.#found, Date.now());
    if (state === this.#state) return;
    // As it is read from where it is kept.
    this.#state = JSON.parse(JSON.stringify(state)) as RotationState;
    this.authority.use(this.#state.signer, this.#state.told);
  }
}

test("no handshake fails while one CA takes another's place", async () => {
  const [old, next] = [await testCa("old"), await testCa("next")];
  const cluster = new Cluster(rootOf(old));
  const { authority } = cluster;
  const failed = await lives(authority, 60, (hour) => {
    cluster.look(hour === 5 ? rootOf(next) : undefined);
  });
  expect(failed).toBe(0);
  expect(authority.rootsPem).toBe(next.certificatePem);
});

test("where it is changed at once, handshakes do fail", async () => {
  const [old, next] = [await testCa("old"), await testCa("next")];
  const authority = new MeshCertificateAuthority(rootOf(old));
  const failed = await lives(authority, 30, (hour) => {
    if (hour === 5) authority.use(rootOf(next), next.certificatePem);
  });
  expect(failed).toBeGreaterThan(0);
});

test("in Istio's way each step is taken at once, and none fails", async () => {
  const [old, next] = [await testCa("old"), await testCa("next")];
  const both = old.certificatePem + next.certificatePem;
  const cluster = new Cluster(rootOf(old));
  const { authority } = cluster;
  const steps = new Map([
    [2, rootOf(old, both)],
    [20, rootOf(next, both)],
    [50, rootOf(next)],
  ]);
  const signers: string[] = [];
  const failed = await lives(authority, 70, (hour) => {
    const step = steps.get(hour);
    cluster.look(step);
    if (step !== undefined) signers.push(authority.rootsPem);
  });
  expect(failed).toBe(0);
  expect(signers).toEqual([both, both, next.certificatePem]);
});

test("roots that come together with their signer are told first, though the old one is among them", async () => {
  const [old, next] = [await testCa("old"), await testCa("next")];
  const cluster = new Cluster(rootOf(old));
  const { authority } = cluster;
  const both = old.certificatePem + next.certificatePem;
  const failed = await lives(authority, 60, (hour) => {
    cluster.look(hour === 3 ? rootOf(next, both) : undefined);
  });
  expect(failed).toBe(0);
});

test("a third CA that comes in the middle takes the second's place", async () => {
  const [old, next, third] = [await testCa("old"), await testCa("next"), await testCa("third")];
  const cluster = new Cluster(rootOf(old));
  const { authority } = cluster;
  const failed = await lives(authority, 100, (hour) => {
    cluster.look(
      new Map([
        [3, rootOf(next)],
        [20, rootOf(third)],
      ]).get(hour),
    );
  });
  expect(failed).toBe(0);
  expect(authority.rootsPem).toBe(third.certificatePem);
});

test("a CA that was put there by mistake, and taken back, has done nothing", async () => {
  const [old, next] = [await testCa("old"), await testCa("next")];
  const cluster = new Cluster(rootOf(old));
  const { authority } = cluster;
  const failed = await lives(authority, 60, (hour) => {
    cluster.look(
      new Map([
        [3, rootOf(next)],
        [9, rootOf(old)],
      ]).get(hour),
    );
  });
  expect(failed).toBe(0);
  expect(authority.rootsPem).toBe(old.certificatePem);
});

test("back to the old CA when the new one has signed already, and none fails", async () => {
  const [old, next] = [await testCa("old"), await testCa("next")];
  const cluster = new Cluster(rootOf(old));
  const { authority } = cluster;
  const failed = await lives(authority, 100, (hour) => {
    cluster.look(
      new Map([
        [3, rootOf(next)],
        [22, rootOf(old)],
      ]).get(hour),
    );
  });
  expect(failed).toBe(0);
  expect(authority.rootsPem).toBe(old.certificatePem);
});

test("while nothing is different the state is the same", async () => {
  const old = await testCa("old");
  const first = rotated(undefined, rootOf(old), 0);
  expect(rotated(first, rootOf(old), HOUR_MS)).toBe(first);
  const next = rootOf(await testCa("next"));
  const begun = rotated(first, next, 0);
  expect(begun).not.toBe(first);
  expect(rotated(begun, next, HOUR_MS)).toBe(begun);
  const signed = rotated(begun, next, 13 * HOUR_MS);
  expect(rotated(signed, next, 14 * HOUR_MS)).toBe(signed);
  const done = rotated(signed, next, 38 * HOUR_MS);
  expect(done).toEqual({ signer: next, told: next.certificatePem });
});
