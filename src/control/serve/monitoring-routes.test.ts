/** What the monitoring port tells, and whom. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AdminServer } from "../../agent/admin-server.ts";
import { Readiness } from "../../agent/readiness.ts";
import { readObjects } from "../../api/read-objects.ts";
import { Failure } from "../../kit/failure.ts";
import { ControlPlane } from "../control-plane.ts";
import type { AdsClientStatus } from "./ads-stream.ts";
import { unauthenticated } from "./authenticator.ts";
import { DebugPages } from "./debug-pages.ts";
import { MeshResources } from "./mesh-resources.ts";
import { monitoringRoutes } from "./monitoring-routes.ts";

const FILE = "examples/bookinfo/bookinfo.yaml";
const OTHER = `
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { ports: [{ port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec: { parentRefs: [{ group: "", kind: Service, name: cart }] }
`;

const client = (name: string, namespace: string): AdsClientStatus => ({
  node: `waypoint~10.0.0.1~${name}.${namespace}~${namespace}.svc.cluster.local`,
  ...{ namespace, clusterId: "Kubernetes", istioVersion: "1", connectedMs: 0 },
  ...{ gateway: "", nodeName: "" },
  types: [
    {
      type: "type.googleapis.com/istio.workload.Address",
      ...{ sentNonce: "2", ackedNonce: "1", refusal: "", sentMs: 1 },
    },
  ],
  enforcedRevision: 3,
});

const CLIENTS = [client("one", "default"), client("two", "shop")];

const readiness = new Readiness();
let server: AdminServer;

beforeAll(async () => {
  const control = new ControlPlane({ enrolment: "label" });
  for (const text of [await readFile(FILE, "utf8"), OTHER]) {
    control.apply({ upserted: (await readObjects(text, FILE)).objects, removed: [] });
  }
  const source = new MeshResources(control);
  const ads = { clients: CLIENTS, sentTo: () => source };
  server = new AdminServer({ name: "monitoring" });
  const routes = monitoringRoutes({
    version: "1.2.3",
    readiness,
    pages: new DebugPages(control, ads),
    authenticator: {
      authenticate: async (token) => {
        if (token === "down") throw new Failure("KUBERNETES_UNAVAILABLE", "away");
        if (token === undefined || token === "bad") throw unauthenticated("no");
        const [namespace = "", serviceAccount = ""] = token.split("_");
        return { namespace, serviceAccount, podName: undefined, node: undefined };
      },
    },
    rootNamespace: () => "istio-system",
  });
  for (const route of routes) server.addRoute(route);
  await server.listen("127.0.0.1", 0);
});
afterAll(() => server.close());

/** A caller from elsewhere is one that does not call by the machine's own name. */
async function get(path: string, token?: string, isElsewhere = token !== undefined) {
  const http = await import("node:http");
  const headers = {
    host: isElsewhere ? "istiod.istio-system.svc:15014" : `localhost:${server.port}`,
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  return await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const options = { host: "127.0.0.1", port: server.port, path, headers };
    http
      .get(options, (answer) => {
        let text = "";
        answer.on("data", (chunk) => {
          text += chunk;
        });
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
      })
      .on("error", reject);
  });
}

const json = async (path: string, token?: string) => JSON.parse((await get(path, token)).text);

test("the version comes in istio's three parts, and readiness as a status", async () => {
  expect(await get("/version")).toEqual({ status: 200, text: "1.2.3-waystone-Clean" });
  readiness.require("x", "it has begun just now");
  expect(await get("/ready")).toMatchObject({
    status: 503,
    text: expect.stringMatching(/just now/),
  });
  readiness.meet("x");
  expect((await get("/ready")).status).toBe(200);
});

test("each page that is listed is there, and no other", async () => {
  const pages = Object.keys(await json("/debug/list"));
  expect(pages).toEqual(Object.keys(await json("/debug")));
  expect(pages).toContain("syncz");
  for (const page of pages) expect((await get(`/debug/${page}`)).status).toBe(200);
  const { status, text } = await get("/debug/nothing");
  expect([status, text]).toEqual([404, expect.stringMatching(/known: .*syncz/)]);
});

test("on the same machine, and of the root namespace, one sees all; others see their own", async () => {
  for (const token of [undefined, "istio-system_prometheus"]) {
    expect(await json("/debug/connections", token)).toMatchObject({ totalClients: 2 });
    expect(await json("/debug/mesh", token)).toMatchObject({ rootNamespace: "istio-system" });
  }
  const token = "shop_default";
  expect(await json("/debug/connections", token)).toMatchObject({ totalClients: 1 });
  expect(await json("/debug/adsz", token)).toMatchObject({ totalClients: 1 });
  expect(await json("/debug/mesh", token)).toBeNull();
  expect(await json("/debug/registryz", token)).toMatchObject([{ name: "cart" }]);
  expect(await json("/debug/configz", token)).toMatchObject([{ kind: "HTTPRoute" }]);
  const endpoints = await json("/debug/endpointz", token);
  expect(endpoints).toEqual([{ service: expect.stringMatching(/cart/), endpoints: [] }]);
  const of = (await json("/debug/config_dump?proxyID=one.default", token)) as { error?: string };
  expect(of.error).toMatch(/one\.default/);
});

test("a proxy's configuration is told by type, with versions", async () => {
  const dump = await json("/debug/config_dump?proxyID=one.default");
  const [{ type, resources }] = dump.configs;
  expect(type).toBe("type.googleapis.com/istio.workload.Address");
  expect(resources.length).toBeGreaterThan(3);
  for (const one of resources) expect(one.version).toMatch(/^\S+$/);
});

test("nobody else is shown anything, whatever page of the web leads them here", async () => {
  expect((await get("/debug/syncz", undefined, true)).status).toBe(401);
  expect((await get("/debug", undefined, true)).status).toBe(401);
  expect((await get("/debug/syncz", "bad")).status).toBe(401);
  expect((await get("/debug/syncz", "down")).status).toBe(503);
  expect((await get("/version", undefined, true)).status).toBe(200);
});
