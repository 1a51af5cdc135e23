/** What istioctl asks, and who is answered. */
import { fromBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ControlPlanePort, ZTUNNEL } from "../../../test/support/control-plane-port.ts";
import { ScriptedZtunnel } from "../../../test/support/scripted-ztunnel.ts";
import { ClientConfigSchema, ConfigStatus } from "../../wire/gen/envoy/client_status_pb.ts";
import { AggregatedDiscoveryService } from "../../wire/gen/envoy/discovery_pb.ts";
import { ControlPlane } from "../control-plane.ts";
import { MeshResources } from "./mesh-resources.ts";
import type { TokenSubject } from "./tokens.ts";

const { SYNCED, STALE, ERROR } = ConfigStatus;

let port: ControlPlanePort;
const open: ScriptedZtunnel[] = [];

beforeAll(async () => {
  port = await ControlPlanePort.open();
  const control = new ControlPlane({ enrolment: "label" });
  await port.serve(new MeshResources(control), control);
});
afterEach(() => {
  for (const ztunnel of open.splice(0)) ztunnel.abort();
});
afterAll(() => port.close());

async function ztunnel(): Promise<ScriptedZtunnel> {
  const one = new ScriptedZtunnel(port.transport(), await port.headers());
  open.push(one);
  one.begin();
  await one.take();
  return one;
}

/** The answer to one question, its stream left open as istioctl does. */
async function ask(typeUrl: string, resourceNames: readonly string[] = [], who = ZTUNNEL) {
  const client = createClient(AggregatedDiscoveryService, port.transport());
  const ending = new AbortController();
  async function* questions() {
    yield {
      node: { id: "sidecar~1.2.3.4~test-1.x~x.svc.cluster.local" },
      typeUrl,
      resourceNames: [...resourceNames],
      // As istioctl has it in its first question.
      responseNonce: "2026-11-23 16:00:00 +0000 UTC",
    };
    await new Promise<void>((resolve) => ending.signal.addEventListener("abort", () => resolve()));
  }
  const headers = await port.headers(who);
  const { signal } = ending;
  try {
    for await (const answer of client.streamAggregatedResources(questions(), { headers, signal })) {
      return answer;
    }
    throw new Error("no answer");
  } finally {
    ending.abort();
  }
}

const configs = async (who?: TokenSubject) => {
  const { resources } = await ask("istio.io/debug/syncz", [], who);
  return resources.map(({ value }) => fromBinary(ClientConfigSchema, value));
};

test("syncz tells who is connected, and how far each one is with each type", async () => {
  const one = await ztunnel();
  await expect.poll(async () => (await configs()).length).toBe(1);
  const answer = await ask("istio.io/debug/syncz");
  expect(answer.resources[0]?.typeUrl).toBe(
    "type.googleapis.com/envoy.service.status.v3.ClientConfig",
  );
  expect(JSON.parse(answer.controlPlane?.identifier ?? "")).toMatchObject({
    Component: "istiod",
    ID: "istiod-0",
    Info: { version: "0.0.0" },
  });
  const statuses = async () => {
    const [config] = await configs();
    expect(config?.node).toMatchObject({
      id: "ztunnel-7.istio-system",
      metadata: { NAMESPACE: "istio-system" },
    });
    return config?.genericXdsConfigs.map(({ configStatus }) => configStatus);
  };
  expect(await statuses()).toEqual([SYNCED, STALE]);
  const second = await one.take();
  await expect.poll(statuses).toEqual([SYNCED, SYNCED]);
  one.refuse(second, "bad: it is");
  await expect.poll(statuses).toEqual([SYNCED, ERROR]);
  const [config] = await configs();
  expect(config?.genericXdsConfigs[1]?.errorState?.details).toBe("bad: it is");
});

test("who is not of the root namespace sees its own namespace alone", async () => {
  await ztunnel();
  await expect.poll(async () => (await configs()).length).toBe(1);
  expect(await configs({ namespace: "shop", serviceAccount: "cart" })).toEqual([]);
});

test("internal-debug is answered in JSON; what is not there says so", async () => {
  const { resources } = await ask("istio.io/debug", ["connections"]);
  const text = new TextDecoder().decode(resources[0]?.value);
  expect(JSON.parse(text)).toEqual({ totalClients: 0, clients: [] });
  const other = await ask("istio.io/debug", ["everything"]);
  expect(new TextDecoder().decode(other.resources[0]?.value)).toContain(
    'there is no \\"everything\\"',
  );
});

test("proxies' types, and callers without a token, are refused", async () => {
  const type = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
  await expect(ask(type)).rejects.toMatchObject({ code: Code.Unimplemented });
  const client = createClient(AggregatedDiscoveryService, port.transport());
  const answers = client.streamAggregatedResources(
    (async function* () {
      yield { typeUrl: "istio.io/debug/syncz" };
    })(),
  );
  const first = answers[Symbol.asyncIterator]().next();
  await expect(first).rejects.toMatchObject({ code: Code.Unauthenticated });
});
