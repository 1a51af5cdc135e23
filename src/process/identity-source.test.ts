/** The control plane's own certificate beside istiod, whose CA is a scripted one. */
import { X509Certificate } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../test/support/child-process.ts";
import { ScriptedIstiod } from "../../test/support/scripted-istiod.ts";
import type { KubernetesSource } from "../control/source/kubernetes/kubernetes-source.ts";
import { setLogLevel } from "../kit/log.ts";
import { spiffeIdsOf } from "../net/subject-alt-names.ts";
import { istiodIdentities } from "./identity-source.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const OWN = "spiffe://cluster.local/ns/waystone-system/sa/waystone";
const cleanups: (() => unknown)[] = [];
let istiod: ScriptedIstiod;

beforeEach(async () => {
  istiod = await ScriptedIstiod.start();
  cleanups.push(() => istiod.cut());
});

afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function open(signal = new AbortController().signal) {
  // Tokens are not judged here.
  const source = { client: {} } as KubernetesSource;
  const identities = await istiodIdentities(
    source,
    { trustDomain: "cluster.local" },
    {
      at: istiod.at,
      roots: async () => istiod.rootsPem,
      token: async () => "own",
      clusterId: "Kubernetes",
      namespace: "waystone-system",
      serviceAccount: "waystone",
    },
    signal,
  );
  cleanups.push(() => identities.close());
  return identities;
}

test("it is a workload's, of the account; nobody gets one from us; a new one in time", async () => {
  istiod.tokens.set("own", OWN);
  istiod.ttlMsMax = 4_000;
  const identities = await open();
  expect(identities.authority).toBeUndefined();
  const certificate = await identities.certificate(["a.name.that.does.not.matter"]);
  const serving = () => new X509Certificate(certificate.current.certPem);
  expect(spiffeIdsOf(serving().raw)).toEqual([OWN]);
  expect(istiod.calls).toEqual([{ spiffeId: OWN, clusterId: "Kubernetes" }]);
  const first = serving().serialNumber;
  await until("it is renewed", () => serving().serialNumber !== first);
});

test("a start waits for a CA that refuses, or is not there", async () => {
  istiod.cut();
  const opening = open();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await istiod.open();
  await until("the CA was asked", () => istiod.calls.length > 0);
  istiod.tokens.set("own", OWN);
  const certificate = await (await opening).certificate([]);
  expect(spiffeIdsOf(new X509Certificate(certificate.current.certPem).raw)).toEqual([OWN]);
});

test("a start that is given up ends at once, and leaves no connection", async () => {
  const giveUp = new AbortController();
  istiod.tokens.set("own", OWN);
  // Not answered until the test is over.
  let answer: () => void = () => {};
  istiod.beforeSigning = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  cleanups.push(() => answer());
  const opening = open(giveUp.signal).catch((caught: { code: string }) => caught.code);
  await until("the CA was asked", () => istiod.calls.length > 0);
  const startMs = performance.now();
  giveUp.abort();
  expect(await opening).toBe("CERTIFICATE_UNAVAILABLE");
  expect(performance.now() - startMs).toBeLessThan(1_000);
  await until("the call is cut", () => istiod.abandonedCalls === 1);
});
