/**
 * Istio's ambient tests of authorization: the set authz-ambient of the folder that
 * WAYSTONE_CONFORMANCE names. The manifests go through the control plane, as on a laptop, and each
 * request's whole way is decided: client's ztunnel, waypoint, instance's ztunnel.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { AddressPlan } from "../../../src/local/addresses.ts";
import { localConfiguration } from "../../../src/local/cluster.ts";
import type { Snapshot } from "../../../src/model/snapshot.ts";
import type { Workload } from "../../../src/model/workload.ts";
import { type HttpPart, type Journey, journey } from "../../../src/policy/journey.ts";
import { conformancePath } from "../../support/conformance.ts";

const ROOT = conformancePath("authz-ambient");

interface AmbientCase {
  readonly name: string;
  readonly from: { readonly namespace: string; readonly app: string };
  readonly request: {
    readonly protocol: "http" | "tcp";
    readonly connect: { readonly host: string; readonly port: number };
    readonly method?: string;
    readonly path?: string;
    readonly headers?: Readonly<Record<string, string>>;
  };
  readonly expect: { readonly allowed?: true; readonly statusCodes?: readonly number[] };
}

interface AmbientSet {
  readonly steps: readonly { readonly apply: string; readonly cases: readonly AmbientCase[] }[];
}

/** D4 differs in what is stricter than asked; these are Istio's own expectations. */
const ISTIO = `apiVersion: v1
kind: ConfigMap
metadata: { name: waystone, namespace: istio-system }
data: { config: "compatibility: istio" }
`;

async function snapshotOf(texts: readonly string[]): Promise<Snapshot> {
  const folder = mkdtempSync(join(tmpdir(), "waystone-ambient-"));
  const paths = texts.map((text, i) => {
    const path = join(folder, `${i}.yaml`);
    writeFileSync(path, text);
    return path;
  });
  const configuration = localConfiguration(paths, new AddressPlan("addresses"));
  try {
    await configuration.loadOrRefuse((diagnostics) => {
      throw new Error(diagnostics.map(({ message }) => message).join("\n"));
    });
    return configuration.control.current;
  } finally {
    configuration.close();
    rmSync(folder, { recursive: true });
  }
}

function workloadOf(snapshot: Snapshot, app: string, namespace: string): Workload {
  const found = [...snapshot.workloads.values()].find(
    (one) => one.serviceAccount === app && one.namespace === namespace,
  );
  return found!;
}

/** `captured.echo` is a Service; `{podIP:captured}` one of its Pods. */
function addressOf(snapshot: Snapshot, host: string): string {
  const pod = /^\{podIP:(.*)\}$/.exec(host)?.[1];
  if (pod !== undefined) return workloadOf(snapshot, pod, "echo").addresses[0]!;
  const [name, namespace] = host.split(".");
  const key = `${namespace}/${name}.${namespace}.svc.cluster.local`;
  return snapshot.services.get(key)!.addresses[0]!;
}

function httpOf({ request }: AmbientCase): HttpPart {
  const headers = new Map(
    Object.entries(request.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const [path = "", query = ""] = (request.path ?? "/").split("?");
  const { host, port } = request.connect;
  return {
    method: request.method ?? "GET",
    path,
    query,
    authority: `${host}:${port}`,
    header: (name) => headers.get(name),
  };
}

/** Each of several instances, for draws that fall on them. */
function journeysOf(snapshot: Snapshot, one: AmbientCase): readonly Journey[] {
  const source = workloadOf(snapshot, one.from.app, one.from.namespace);
  const { host, port } = one.request.connect;
  return [0.1, 0.9].map((draw) =>
    journey(snapshot, {
      source,
      sourceAddress: source.addresses[0]!,
      address: addressOf(snapshot, host),
      port,
      http: one.request.protocol === "http" ? httpOf(one) : undefined,
      draw,
      nowMs: Date.now(),
    }),
  );
}

describe.skipIf(ROOT === undefined)("authz-ambient", () => {
  let judged = 0;
  afterAll(() => {
    process.stderr.write(`authz-ambient: ${judged} cases judged\n`);
    expect(judged).toBeGreaterThan(150);
  });

  const sets = ROOT === undefined ? [] : readdirSync(ROOT).sort();
  test.each(sets.filter((set) => existsSync(join(ROOT!, set, "cases.json"))))("%s", async (set) => {
    const read = (file: string) => readFileSync(join(ROOT!, set, file), "utf8");
    const { steps } = JSON.parse(read("cases.json")) as AmbientSet;
    const applied = [ISTIO, read("../base.yaml")];
    for (const { apply, cases } of steps) {
      applied.push(read(apply));
      const snapshot = await snapshotOf(applied);
      for (const one of cases) {
        for (const result of journeysOf(snapshot, one)) {
          const why = `${one.name}: ${result.because ?? JSON.stringify(result.steps.at(-1)?.decision?.verdict)}`;
          expect(result.isAllowed, why).toBe(one.expect.allowed === true);
          const { status } = result;
          if (status !== undefined) expect(one.expect.statusCodes ?? [status]).toContain(status);
        }
        judged++;
      }
    }
  });
});
