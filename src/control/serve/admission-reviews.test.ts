/** What the webhook refuses, lets pass and says. */
import { readFile } from "node:fs/promises";
import https from "node:https";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ControlPlanePort } from "../../../test/support/control-plane-port.ts";
import { readObjects } from "../../api/read-objects.ts";
import { MetricRegistry } from "../../telemetry/metrics.ts";
import { CandidateAnalysis } from "../candidate-analysis.ts";
import { ControlPlane } from "../control-plane.ts";
import { AdmissionReviews } from "./admission-reviews.ts";
import { ServerCertificate } from "./server-certificate.ts";
import { createWebhookServer } from "./webhook-server.ts";

interface Answer {
  readonly apiVersion: string;
  readonly response: {
    readonly uid: string;
    readonly allowed: boolean;
    readonly status?: { readonly code: number; readonly message: string };
    readonly warnings?: readonly string[];
  };
}

const BOOKINFO = "examples/bookinfo/bookinfo.yaml";

function rig(control = new ControlPlane({ enrolment: "label" })) {
  const registry = new MetricRegistry();
  const candidates = new CandidateAnalysis(control);
  const analyze = candidates.diagnosticsOf.bind(candidates);
  return { registry, reviews: new AdmissionReviews({ analyze, registry }) };
}

function review(object: unknown, more: object = {}): string {
  const request = { uid: "u-1", operation: "CREATE", object, ...more };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
}

async function ask(text: string, { reviews } = rig()): Promise<Answer["response"]> {
  const answer = (await reviews.answer(text)) as Answer;
  expect(answer.apiVersion).toBe("admission.k8s.io/v1");
  expect(answer.response.uid).toBe("u-1");
  return answer.response;
}

const policy = (spec: object, metadata: object = {}) => ({
  apiVersion: "security.istio.io/v1",
  kind: "AuthorizationPolicy",
  metadata: { name: "p", namespace: "ns", ...metadata },
  spec,
});

test("an object that a mesh could not use is refused in the words of `validate`", async () => {
  const misspelt = policy({ action: "DENI", rules: [{ form: [] }] });
  const { allowed, status } = await ask(review(misspelt));
  expect(allowed).toBe(false);
  expect(status?.code).toBe(422);
  expect(status?.message).toMatch(/spec\.action: "DENI" is not one of .*did you mean "DENY"/);
  expect(status?.message).toMatch(/spec\.rules\[0\]\.form/);
});

test("what is good is allowed, with what the analyzer finds of it as warnings", async () => {
  const control = new ControlPlane({ enrolment: "label" });
  const { objects } = await readObjects(await readFile(BOOKINFO, "utf8"), BOOKINFO);
  control.apply({ upserted: objects, removed: [] });
  const targetRefs = [{ group: "", kind: "Service", name: "nobody" }];
  const stray = policy({ targetRefs, rules: [{}] }, { namespace: "default" });
  const found = await ask(review(stray), rig(control));
  expect(found.allowed).toBe(true);
  expect(found.warnings?.join("\n")).toMatch(/nobody/);
  for (const text of found.warnings ?? []) expect(text.length).toBeLessThanOrEqual(256);
  // The candidate has left no trace.
  expect([...control.objects("AuthorizationPolicy")].map(([key]) => key)).not.toContain(
    "default/p",
  );
});

test("what is not ours to judge is allowed: other kinds, removals, an object that says the same", async () => {
  const bad = policy({ action: "DENI" });
  const pod = { apiVersion: "example.com/v1", kind: "Thing", metadata: { name: "x" }, spec: 1 };
  expect(await ask(review(pod))).toEqual({ uid: "u-1", allowed: true });
  const removal = review(null, { operation: "DELETE", oldObject: bad });
  expect(await ask(removal)).toEqual({ uid: "u-1", allowed: true });
  const before = { ...bad, metadata: { ...bad.metadata, finalizers: ["a/b"] } };
  const released = review(bad, { operation: "UPDATE", oldObject: before });
  expect(await ask(released)).toEqual({ uid: "u-1", allowed: true });
  const changed = review(policy({ action: "DENT" }), { operation: "UPDATE", oldObject: bad });
  expect((await ask(changed)).allowed).toBe(false);
});

test("an object that is yet to be named is judged without a complaint about that", async () => {
  const { name: _, ...metadata } = { name: "", namespace: "ns", generateName: "p-" };
  const unnamed = { ...policy({ rules: [] }), metadata };
  expect((await ask(review(unnamed))).allowed).toBe(true);
});

test.each([
  ["nothing", ""],
  ["no JSON", "{"],
  ["another object", '{"kind":"List","apiVersion":"v1"}'],
  ["an older version", '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}'],
  ["no request", '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}'],
  ["null", "null"],
])("%s is no review", async (_what, text) => {
  expect(await rig().reviews.answer(text)).toBeUndefined();
});

test("any object at all is answered", async () => {
  const odd = [null, 1, "x", [], {}, { metadata: null }, { metadata: 1, kind: "Gateway" }];
  const apiVersion = "gateway.networking.k8s.io/v1";
  for (const metadata of [{}, { name: 1 }, { name: "x", labels: 1 }, { name: "x" }]) {
    odd.push({ apiVersion, kind: "HTTPRoute", metadata } as never);
  }
  for (const object of odd) {
    expect(typeof (await ask(review(object))).allowed).toBe("boolean");
    await ask(review(object, { operation: "UPDATE", oldObject: 1 }));
  }
});

let port: ControlPlanePort;
beforeAll(async () => {
  port = await ControlPlanePort.open();
});
afterAll(() => port.close());

let server: ReturnType<typeof createWebhookServer> | undefined;
afterEach(() => server?.close());

function post(path: string, body: string, ca: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", host: "127.0.0.1", port: server!.port, path, ca };
    const request = https.request(
      { ...options, servername: "istiod.istio-system.svc" },
      (answer) => {
        let text = "";
        answer.on("data", (chunk) => (text += chunk));
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

test("an API server that knows our roots is answered, with the certificate of now", async () => {
  const { reviews, registry } = rig();
  const { authority } = port;
  const names = ["istiod.istio-system.svc"];
  let certificate = await ServerCertificate.issue({ authority, names: ["other.example"] });
  server = createWebhookServer(reviews, () => certificate.current);
  await server.listen("127.0.0.1", 0);
  const { rootsPem } = authority;
  const text = review(policy({ action: "DENI" }));
  await expect(post("/validate", text, rootsPem)).rejects.toThrow(/altnames/);
  certificate.close();
  certificate = await ServerCertificate.issue({ authority, names });
  const { status, text: answer } = await post("/validate", text, rootsPem);
  expect(status).toBe(200);
  expect((JSON.parse(answer) as Answer).response.allowed).toBe(false);
  expect((await post("/validate", "{}", rootsPem)).status).toBe(400);
  expect((await post("/inject", text, rootsPem)).status).toBe(404);
  expect((await post("/validate", "x".repeat(9 << 20), rootsPem)).status).toBe(413);
  expect([...registry.exposition()].join("")).toContain(
    'waystone_admission_reviews_total{kind="AuthorizationPolicy",result="refused"} 1',
  );
  certificate.close();
});
