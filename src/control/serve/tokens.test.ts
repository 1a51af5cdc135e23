import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bearerToken } from "./authenticator.ts";
import { LocalTokens } from "./tokens.ts";

const NOW = Date.UTC(2026, 2, 1, 12);
const HOUR_MS = 3_600_000;
const ZTUNNEL = { namespace: "istio-system", serviceAccount: "ztunnel" };

let directory: string;

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), "tokens-")), "state");
});

afterEach(() => rm(join(directory, ".."), { recursive: true }));

test("a token of issue() is authenticated as its subject", async () => {
  const tokens = await LocalTokens.open(directory);
  const bound = { ...ZTUNNEL, podName: "ztunnel-x2c", node: "node-1" };
  const caller = await tokens.authenticate(await tokens.issue(bound, HOUR_MS));
  expect(caller).toEqual(bound);
  const free = await tokens.authenticate(await tokens.issue(ZTUNNEL, HOUR_MS));
  expect(free).toEqual({ ...ZTUNNEL, podName: undefined, node: undefined });
});

test("issue() shapes a token as Kubernetes shapes a projected one", async () => {
  const tokens = await LocalTokens.open(directory, () => NOW);
  const token = await tokens.issue({ ...ZTUNNEL, podName: "p", node: "n" }, HOUR_MS);
  expect(decodeProtectedHeader(token)).toEqual({ alg: "ES256", typ: "JWT" });
  expect(decodeJwt(token)).toEqual({
    iss: "https://waystone.local",
    aud: "istio-ca",
    sub: "system:serviceaccount:istio-system:ztunnel",
    iat: NOW / 1000,
    nbf: NOW / 1000,
    exp: NOW / 1000 + 3600,
    "kubernetes.io": {
      namespace: "istio-system",
      serviceaccount: { name: "ztunnel" },
      pod: { name: "p" },
      node: { name: "n" },
    },
  });
});

test("issue() refuses what cannot be a name", async () => {
  const tokens = await LocalTokens.open(directory);
  for (const broken of [{ namespace: "" }, { serviceAccount: "a/b" }, { node: "N 1" }]) {
    const issuing = tokens.issue({ ...ZTUNNEL, ...broken }, HOUR_MS);
    await expect(issuing).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  }
});

test("the key is made once, for its owner only, also by several processes at a time", async () => {
  const all = await Promise.all([1, 2, 3, 4].map(() => LocalTokens.open(directory)));
  const token = await all[0]!.issue(ZTUNNEL, HOUR_MS);
  for (const tokens of all)
    await expect(tokens.authenticate(token)).resolves.toMatchObject(ZTUNNEL);
  expect((await stat(join(directory, "token-key.pem"))).mode & 0o777).toBe(0o600);
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
});

test("open() refuses a key that cannot be used, and leaves it alone", async () => {
  await LocalTokens.open(directory);
  const path = join(directory, "token-key.pem");
  await writeFile(path, "nonsense");
  await expect(LocalTokens.open(directory)).rejects.toThrow(/not a PEM private key/);
  expect(await readFile(path, "utf8")).toBe("nonsense");
});

test("authenticate() lets a token end with its time", async () => {
  let now = NOW;
  const tokens = await LocalTokens.open(directory, () => now);
  const token = await tokens.issue(ZTUNNEL, HOUR_MS);
  now = NOW - 5 * 60_000;
  await expect(tokens.authenticate(token)).rejects.toThrow(/"nbf"/);
  now = NOW + HOUR_MS;
  await expect(tokens.authenticate(token)).resolves.toBeDefined();
  now = NOW + HOUR_MS + 61_000;
  await expect(tokens.authenticate(token)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

test("authenticate() refuses what it did not sign, and what it signed for something else", async () => {
  const tokens = await LocalTokens.open(directory);
  const good = await tokens.issue(ZTUNNEL, HOUR_MS);
  const [head, payload, signature] = good.split(".") as [string, string, string];
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const hmac = new SignJWT(decodeJwt(good)).setProtectedHeader({ alg: "HS256" });
  const key = await readFile(join(directory, "token-key.pem"));
  const other = await generateKeyPair("ES256");
  const forged = new SignJWT(decodeJwt(good)).setProtectedHeader({ alg: "ES256" });
  for (const token of [
    undefined,
    "",
    "nonsense",
    `${head}.${payload}.`,
    `${none}.${payload}.`,
    `${head}.${payload}.${signature.slice(0, -4)}AAAA`,
    "x".repeat(100_000),
    await hmac.sign(key),
    await forged.sign(other.privateKey),
  ]) {
    const judging = tokens.authenticate(token);
    await expect(judging, token?.slice(0, 50)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  }
});

test.each([
  ["another audience", { aud: "api" }, /"aud"/],
  ["another issuer", { iss: "https://example.com" }, /"iss"/],
  ["another subject", { sub: "system:serviceaccount:istio-system:default" }, /subject/],
  ["no end", { exp: undefined }, /"exp"/],
  ["no service account", { "kubernetes.io": { namespace: "istio-system" } }, /no service account/],
  ["nothing of Kubernetes", { "kubernetes.io": undefined }, /no service account/],
])("authenticate() refuses a token with %s", async (_, difference, reason) => {
  const tokens = await LocalTokens.open(directory);
  const { createPrivateKey } = await import("node:crypto");
  const key = createPrivateKey(await readFile(join(directory, "token-key.pem")));
  const issued = decodeJwt(await tokens.issue(ZTUNNEL, HOUR_MS));
  const claims = JSON.parse(JSON.stringify({ ...issued, ...difference }));
  const token = await new SignJWT(claims).setProtectedHeader({ alg: "ES256" }).sign(key);
  await expect(tokens.authenticate(token)).rejects.toThrow(reason);
});

test("bearerToken() reads one token of an authorization header", () => {
  expect(bearerToken("Bearer abc")).toBe("abc");
  expect(bearerToken("bearer  abc ")).toBe("abc");
  for (const header of [null, "", "Bearer", "Bearer ", "Basic abc", "Bearer a b"]) {
    expect(bearerToken(header)).toBeUndefined();
  }
});
