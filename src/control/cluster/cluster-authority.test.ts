/** Several control planes, one CA: what one has begun the others go on with. */
import { afterEach, expect, test } from "vitest";
import { testCa } from "../../../test/support/certificate-chains.ts";
import type { Logger } from "../../kit/log.ts";
import type { Root } from "../root-store.ts";
import type { Query, WriteKind, Written } from "../source/kubernetes/kube-client.ts";
import { ClusterAuthority } from "./cluster-authority.ts";
import { RotationRecord } from "./rotation-record.ts";

const HOUR_MS = 3_600_000;
const LOOK_MS = 10;

const refusal = (status: number): Written => ({
  isRefusal: true,
  status,
  message: "no",
  retryAfterMs: 0,
});

interface Secret {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly data: Readonly<Record<string, string>>;
}

/** A cluster with its CA, and the Secret that the rotation is kept in. */
class Rig {
  found: Root | undefined;
  nowMs = Date.now();
  kept: Secret | undefined;
  /** What the server says instead. */
  trouble: number | undefined;
  readonly lines: string[] = [];
  readonly open: ClusterAuthority[] = [];
  #version = 0;

  constructor(found: Root) {
    this.found = found;
  }

  readonly client = {
    get: async (): Promise<Written> => {
      if (this.trouble !== undefined) return refusal(this.trouble);
      return this.kept === undefined ? refusal(404) : { body: this.kept };
    },
    write: async (
      kind: WriteKind,
      path: string,
      _query: Query,
      given: unknown,
    ): Promise<Written> => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const { metadata, data } = given as Secret;
      expect(metadata.name).toBe("waystone-ca");
      expect(path).toMatch(kind === "create" ? /\/secrets$/ : /\/secrets\/waystone-ca$/);
      if (metadata.resourceVersion !== this.kept?.metadata.resourceVersion) return refusal(409);
      const resourceVersion = String(++this.#version);
      this.kept = { metadata: { name: metadata.name, resourceVersion }, data };
      return { body: this.kept };
    },
  };

  async start(): Promise<ClusterAuthority> {
    const line = (_fields: object, text: string) => this.lines.push(text);
    const one = await ClusterAuthority.open({
      secret: { open: async () => this.found!, find: async () => this.found },
      record: new RotationRecord(this.client, "istio-system"),
      trustDomain: "cluster.local",
      lookMs: LOOK_MS,
      now: () => this.nowMs,
      logger: {
        warn: line,
        error: line,
        info: (text: string) => this.lines.push(text),
      } as unknown as Logger,
    });
    this.open.push(one);
    return one;
  }
}

let rig: Rig;
afterEach(() => {
  for (const one of rig.open) one.close();
});

const root = async (name: string): Promise<Root> => {
  const { certificatePem, keyPem } = await testCa(name);
  return { certificatePem, keyPem };
};

test("whoever starts in the middle signs with whom the others sign, and tells what they tell", async () => {
  const [old, next] = [await root("old"), await root("next")];
  rig = new Rig(old);
  const [first, second] = await Promise.all([rig.start(), rig.start()]);
  expect(first.authority.rootsPem).toBe(old.certificatePem);
  rig.found = next;
  const both = next.certificatePem + old.certificatePem;
  for (const one of [first, second]) {
    await expect.poll(() => one.authority.rootsPem).toBe(both);
    one.close();
  }
  // Nobody is there for a while.
  rig.nowMs += 2 * HOUR_MS;
  const third = await rig.start();
  expect(third.authority.rootsPem).toBe(both);
  const signer = () => signs(third);
  expect(await signer()).toBe("old");
  rig.nowMs += 12 * HOUR_MS;
  await expect.poll(signer).toBe("next");
  expect(third.authority.rootsPem).toBe(both);
  rig.nowMs += 26 * HOUR_MS;
  await expect.poll(() => third.authority.rootsPem).toBe(next.certificatePem);
});

test("a CA that was changed while no control plane ran is taken over step by step, too", async () => {
  const [old, next] = [await root("old"), await root("next")];
  rig = new Rig(old);
  (await rig.start()).close();
  rig.found = next;
  const { authority } = await rig.start();
  expect(authority.rootsPem).toBe(next.certificatePem + old.certificatePem);
  expect(rig.lines.join()).toMatch(/both roots are told/);
});

test("nothing is written, and nothing told anew, while nothing is different", async () => {
  rig = new Rig(await root("old"));
  const { authority } = await rig.start();
  const before = rig.kept;
  let told = 0;
  authority.onRoots(() => told++);
  await new Promise((resolve) => setTimeout(resolve, 10 * LOOK_MS));
  expect([rig.kept, told, rig.lines]).toEqual([before, 0, []]);
});

test("a record that says nothing, a CA that goes, a server that is away change nothing", async () => {
  const old = await root("old");
  rig = new Rig(old);
  const one = await rig.start();
  rig.found = undefined;
  rig.kept = { ...rig.kept!, data: { "state.json": "bm9uc2Vuc2U=" } };
  rig.trouble = 503;
  await expect.poll(() => rig.lines).toHaveLength(1);
  await new Promise((resolve) => setTimeout(resolve, 5 * LOOK_MS));
  rig.trouble = undefined;
  await expect.poll(() => rig.kept?.data["state.json"]).not.toBe("bm9uc2Vuc2U=");
  expect(one.authority.rootsPem).toBe(old.certificatePem);
  expect(rig.lines).toHaveLength(1);
});

test("without a word about the rotation no control plane begins", async () => {
  rig = new Rig(await root("old"));
  rig.trouble = 403;
  await expect(rig.start()).rejects.toThrow(/waystone-ca: 403/);
});

/** The common name of whoever signs now. */
async function signs({ authority }: ClusterAuthority): Promise<string> {
  const { X509Certificate } = await import("node:crypto");
  const { certificatePem } = await authority.issueServer({ names: ["x"], ttlMs: HOUR_MS });
  const { issuer } = new X509Certificate(certificatePem);
  return /(?:CN|O)=(.*)/.exec(issuer)?.[1] ?? issuer;
}
