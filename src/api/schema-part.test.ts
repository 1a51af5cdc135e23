import { expect, test } from "vitest";
import { readObjects } from "./read-objects.ts";

async function messages(kind: string, spec: object): Promise<string[]> {
  const [apiVersion, name] = kind.split(" ");
  const object = { apiVersion, kind: name, metadata: { name: "object" }, spec };
  const { diagnostics } = await readObjects(JSON.stringify(object), "object.yaml");
  return diagnostics.map(({ message }) => message);
}

const ROUTE = "gateway.networking.k8s.io/v1 HTTPRoute";

test("a misspelt field is told with the fields of its own part, wherever that is shared", async () => {
  const filter = {
    type: "RequestHeaderModifier",
    requestHeaderModifier: { sett: [{ name: "a", value: "b" }] },
  };
  const backendRefs = [{ name: "a", port: 1, filters: [filter] }];
  const [message] = await messages(ROUTE, { rules: [{ backendRefs }] });
  expect(message).toContain('did you mean "set"?');
});

test("what is allowed is told in words, wherever the part is shared", async () => {
  const backendRefs = [{ name: "a", namespace: "A", port: 1 }];
  expect(await messages(ROUTE, { rules: [{ backendRefs }] })).toEqual([
    'spec.rules[0].backendRefs[0].namespace: "A" is not allowed: ' +
      'lower-case letters, digits and "-" only',
  ]);
});

test("fields that exclude each other are named", async () => {
  const consistentHash = { useSourceIp: true, httpHeaderName: "a" };
  const trafficPolicy = { loadBalancer: { consistentHash } };
  expect(
    await messages("networking.istio.io/v1 DestinationRule", { host: "a", trafficPolicy }),
  ).toEqual([
    "spec.trafficPolicy.loadBalancer.consistentHash: at most one of httpHeaderName, httpCookie, " +
      "useSourceIp, httpQueryParameterName may be given",
  ]);
});

test("a filter of one type with the field of another is one mistake", async () => {
  const filters = [{ type: "CORS", requestRedirect: {} }];
  expect(await messages(ROUTE, { rules: [{ filters }] })).toEqual([
    "spec.rules[0].filters[0]: CORS has the field cors and no other",
  ]);
});

test("a text that is empty, or too long, is one mistake, and soon found", async () => {
  const listener = { name: "a", port: 80 };
  const started = performance.now();
  for (const [protocol, complaint] of [
    ["", "must not be empty"],
    [`${"a".repeat(100_000)}/`, "must have at most 255 characters"],
  ]) {
    const spec = { gatewayClassName: "a", listeners: [{ ...listener, protocol }] };
    expect(await messages("gateway.networking.k8s.io/v1 Gateway", spec)).toEqual([
      `spec.listeners[0].protocol: ${complaint}`,
    ]);
  }
  expect(performance.now() - started).toBeLessThan(5_000);
});
