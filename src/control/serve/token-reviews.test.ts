import { setTimeout as pause } from "node:timers/promises";
import { SignJWT } from "jose";
import { expect, test } from "vitest";
import type { Query, WriteKind, Written } from "../source/kubernetes/kube-client.ts";
import { TokenReviews } from "./token-reviews.ts";

const KEY = new Uint8Array(32);
const NOW_MS = Date.parse("2026-01-01T00:00:00Z");

const token = (name: string, lifeS = 3600): Promise<string> =>
  new SignJWT({ name })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(NOW_MS / 1000 + lifeS)
    .sign(KEY);

const GOOD = {
  authenticated: true,
  audiences: ["istio-ca"],
  user: {
    username: "system:serviceaccount:shop:cart",
    groups: ["system:serviceaccounts", "system:authenticated"],
    extra: {
      "authentication.kubernetes.io/pod-name": ["cart-1"],
      "authentication.kubernetes.io/pod-uid": ["u1"],
      "authentication.kubernetes.io/node-name": ["node-9"],
    },
  },
};

function rig(status: object | (() => Written | Promise<Written>) = GOOD) {
  const asked: unknown[] = [];
  let nowMs = NOW_MS;
  const write = async (kind: WriteKind, path: string, _query: Query, body: unknown) => {
    expect([kind, path]).toEqual(["create", "/apis/authentication.k8s.io/v1/tokenreviews"]);
    asked.push((body as { spec: unknown }).spec);
    return typeof status === "function" ? await status() : { body: { status } };
  };
  const reviews = new TokenReviews({ write }, () => nowMs);
  return {
    asked,
    reviews,
    after: (ms: number) => {
      nowMs += ms;
    },
  };
}

test("a good token is its service account, bound to its Pod; the node is the Pod's to tell", async () => {
  const { reviews, asked } = rig();
  const text = await token("cart");
  expect(await reviews.authenticate(text)).toEqual({
    namespace: "shop",
    serviceAccount: "cart",
    podName: "cart-1",
    podUid: "u1",
    node: undefined,
  });
  expect(asked).toEqual([{ token: text, audiences: ["istio-ca"] }]);
});

test.each([
  ["is not authenticated", { ...GOOD, authenticated: false, error: "no" }],
  ["has no answer", {}],
  ["is for another audience", { ...GOOD, audiences: ["https://kubernetes.default.svc"] }],
  ["is for no audience", { ...GOOD, audiences: undefined }],
  ["is a user's", { ...GOOD, user: { ...GOOD.user, username: "admin" } }],
  [
    "looks like an account, and is of no such group",
    { ...GOOD, user: { ...GOOD.user, groups: ["system:authenticated"] } },
  ],
  [
    "has a name too much",
    { ...GOOD, user: { ...GOOD.user, username: "system:serviceaccount:a:b:c" } },
  ],
])("a token that %s is refused", async (_what, status) => {
  const { reviews } = rig(status);
  await expect(reviews.authenticate(await token("x"))).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
  });
});

test.each([
  ["nothing", undefined],
  ["an empty one", ""],
  ["no JSON Web Token", "abc"],
  ["one that is too long", `a.${"b".repeat(20_000)}.c`],
])("for %s nobody is asked", async (_what, text) => {
  const { reviews, asked } = rig();
  await expect(reviews.authenticate(text)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(asked).toEqual([]);
});

test("an answer is good for a minute, and never beyond the token's end", async () => {
  const { reviews, asked, after } = rig();
  const [long, brief] = [await token("long"), await token("brief", 20)];
  await Promise.all([reviews.authenticate(long), reviews.authenticate(long)]);
  await reviews.authenticate(brief);
  expect(asked).toHaveLength(2);
  after(30_000);
  await reviews.authenticate(long);
  expect(asked).toHaveLength(2);
  await expect(reviews.authenticate(brief)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  after(31_000);
  await reviews.authenticate(long);
  expect(asked).toHaveLength(3);
});

test("a server that is away, or may not be asked, makes nobody a stranger", async () => {
  let answer: () => Written = () => {
    throw new Error("away");
  };
  const { reviews, asked } = rig(() => answer());
  const text = await token("cart");
  await expect(reviews.authenticate(text)).rejects.toThrow("away");
  answer = () => ({ isRefusal: true, status: 403, message: "no", retryAfterMs: 0 });
  await expect(reviews.authenticate(text)).rejects.toMatchObject({
    code: "KUBERNETES_UNAVAILABLE",
  });
  answer = () => ({ body: { status: GOOD } });
  expect(await reviews.authenticate(text)).toMatchObject({ namespace: "shop" });
  expect(asked).toHaveLength(3);
});

test("a thousand that come at once with the same token are one question, and few at a time", async () => {
  let present = 0;
  let most = 0;
  const { reviews, asked } = rig(async () => {
    most = Math.max(most, ++present);
    await pause(2);
    present--;
    return { body: { status: GOOD } };
  });
  const tokens = await Promise.all(Array.from({ length: 100 }, (_, i) => token(`t${i}`)));
  await Promise.all(Array.from({ length: 1000 }, (_, i) => reviews.authenticate(tokens[i % 100])));
  expect(asked).toHaveLength(100);
  expect(most).toBeLessThanOrEqual(16);
});
