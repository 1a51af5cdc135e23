/**
 * Seeded schedules of faults, with traffic all the while: API servers and control planes that are
 * killed, watches that break, leases that are taken, Pods that go, and edits in between.
 *
 * At no time is a request let in that every policy of the schedule denies; after each schedule the
 * policy that was written last is in force, and what the control planes hold is what a fresh one
 * makes of the cluster. `FAULT_SCHEDULES` sets how many (50), `SEED` where they begin.
 */
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/child-process.ts";
import { type Asked, MeshUnderTest } from "./mesh-under-test.ts";
import { hasPodAddresses } from "./pod-runtime.ts";
import { ServiceProxy } from "./service-proxy.ts";
import { isMissing } from "./toolchain.ts";

const SCHEDULES = Number(process.env.FAULT_SCHEDULES ?? 50);
const SEED = Number(process.env.SEED ?? 1);
const STEPS = 5;
const CONVERGE_MS = 60_000;
const NAMES = ["alpha", "beta"] as const;

/** Mulberry32: the same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const NAMESPACE = "kagenti-system";
const ask = (from: string, path: string): Asked => ({
  from,
  namespace: NAMESPACE,
  method: "GET",
  service: "mlflow",
  port: 5000,
  path,
});

/** No policy lets it in. */
const NEVER = ask("batch-job", "/");
/** Some do. */
const SOMETIMES = ask("kagenti-ui", "/");

/** Every variant denies NEVER; the even ones allow SOMETIMES. */
function policy(variant: number): string {
  const account = variant % 2 === 0 ? "kagenti-ui" : "otel-collector";
  return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: mlflow-api-access, namespace: ${NAMESPACE} }
spec:
  targetRefs: [{ kind: Service, group: "", name: mlflow }]
  rules:
    - from: [{ source: { principals: ["cluster.local/ns/${NAMESPACE}/sa/${account}"] } }]
      to: [{ operation: { methods: [GET], paths: ["/*", "/variant-${variant}"] } }]
`;
}

const LEASE = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/waystone-leader";

describe.skipIf(!hasPodAddresses || isMissing("faults"))("faults under traffic", () => {
  let mesh: MeshUnderTest;
  let apiServer: ServiceProxy;
  let variant = 0;
  const letIn: string[] = [];
  const counts = { asked: 0, denied: 0, failed: 0 };
  const traffic = new AbortController();
  let asking: Promise<void>;
  let supervising: Promise<void>;

  const startControlPlane = (name: string) =>
    mesh.startControlPlane(name, { server: `https://${apiServer.address}` });

  const faults: Readonly<Record<string, (random: () => number) => Promise<unknown>>> = {
    "kills the API server": async (random) => {
      const { apiServer: server, controllerManager } = mesh.cluster;
      await server.stop("SIGKILL");
      await pause(random() * 1500);
      server.start();
      // The old one would wait for a minute before it looks again; `supervised` starts a new one.
      await controllerManager.stop();
    },
    "breaks watches": async () => apiServer.drop(),
    "kills a control plane": async (random) => {
      const name = NAMES[Math.floor(random() * NAMES.length)]!;
      await mesh.killControlPlane(name);
      await pause(random() * 1000);
      // It waits for the API server, where that is away.
      void startControlPlane(name).catch(() => {});
    },
    "takes the lease": async () => {
      const spec = {
        holderIdentity: "somebody-else",
        renewTime: new Date().toISOString().replace("Z", "000Z"),
      };
      await mesh.cluster.api
        .send("PATCH", LEASE, { spec }, "application/merge-patch+json")
        .catch(() => {});
    },
    "removes a Pod of the waypoint": async () => {
      const [pod] = mesh.runtime.pods("mlflow-waypoint");
      if (pod === undefined) return;
      const path = `/api/v1/namespaces/${NAMESPACE}/pods/${pod.metadata.name}`;
      await mesh.cluster.api.send("DELETE", path).catch(() => {});
    },
  };

  const edit = async () => {
    variant++;
    const text = policy(variant);
    // A server that is away is waited for, as by anybody with a terminal.
    await until(
      "the edit is taken",
      () =>
        mesh.cluster.apply(text).then(
          () => true,
          () => false,
        ),
      30_000,
    );
  };

  /** It gives up where no API server answers soon, and is begun anew as a kubelet would. */
  const supervised = async () => {
    const { api, controllerManager } = mesh.cluster;
    while (!traffic.signal.aborted) {
      const answers = () =>
        api.send("GET", "/readyz").then(
          () => true,
          () => false,
        );
      if (!controllerManager.isRunning && (await answers())) controllerManager.start();
      await pause(200);
    }
  };

  beforeAll(async () => {
    mesh = await MeshUnderTest.start();
    apiServer = await ServiceProxy.start();
    apiServer.targets = [Number(new URL(mesh.cluster.access.server).port)];
    for (const name of NAMES) await startControlPlane(name);
    await mesh.killControlPlane("first");
    for (const file of ["namespace", "mlflow", "clients", "waypoint"]) {
      await mesh.cluster.kubectl(["apply", "-f", `examples/mlflow/${file}.yaml`]);
    }
    await mesh.cluster.apply(policy(variant));
    const isServing = async () => (await mesh.ask(SOMETIMES)) === 200;
    await until("traffic flows", isServing, CONVERGE_MS);
    expect(await mesh.ask(NEVER)).toBe(403);
    // One of them goes now and then.
    const scale = ["scale", "deployment", "mlflow-waypoint", "--replicas=2", "-n", NAMESPACE];
    await mesh.cluster.kubectl(scale);
    supervising = supervised();
    asking = (async () => {
      while (!traffic.signal.aborted) {
        counts.asked++;
        const answer = await mesh.ask(NEVER);
        if (answer === 403) counts.denied++;
        else if (typeof answer === "number" && answer < 400) letIn.push(`${answer} at ${variant}`);
        else counts.failed++;
        await pause(10);
      }
    })();
  }, 180_000);

  afterAll(async () => {
    traffic.abort();
    await asking;
    await supervising;
    await apiServer?.stop();
    await mesh?.stop();
    console.log(`${JSON.stringify(counts)} in ${SCHEDULES} schedules`);
  }, 60_000);

  const seeds = Array.from({ length: SCHEDULES }, (_, i) => SEED + i);

  test.each(seeds)(
    "schedule %i",
    async (seed) => {
      const random = randomFrom(seed * 7919);
      const names = Object.keys(faults);
      const done: string[] = [];
      for (let step = 0; step < STEPS; step++) {
        const name = names[Math.floor(random() * names.length)]!;
        done.push(name);
        const fault = faults[name]!(random);
        if (random() < 0.6) await Promise.all([fault, edit()]);
        else await fault;
        await pause(random() * 700);
      }
      await edit();
      const told = () => `${done.join(", ")}; variant ${variant}\n${mesh.text}`;
      const expected = variant % 2 === 0 ? 200 : 403;
      const isAsWritten = async () => (await mesh.ask(SOMETIMES)) === expected;
      await until("the last policy is in force", isAsWritten, CONVERGE_MS).catch(
        (caught: Error) => {
          throw new Error(`${caught.message}: ${told()}`);
        },
      );
      await mesh.startControlPlane("fresh", { isServing: false });
      try {
        for (const name of NAMES) {
          const isSame = async () => {
            const [its, fresh] = [await mesh.dumpOf(name), await mesh.dumpOf("fresh")];
            return sorted(its) === sorted(fresh);
          };
          const what = `${name} holds what a fresh control plane does`;
          await until(what, () => isSame().catch(() => false), CONVERGE_MS).catch(
            (caught: Error) => {
              throw new Error(`${caught.message}: ${told()}`);
            },
          );
        }
      } finally {
        await mesh.killControlPlane("fresh");
      }
      expect(letIn).toEqual([]);
    },
    240_000,
  );

  test("most requests were judged", () => {
    expect(counts.denied).toBeGreaterThan(counts.asked / 2);
    expect(letIn).toEqual([]);
  });
});

/** Keys in the order of the alphabet: in which order things came is nobody's business. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
