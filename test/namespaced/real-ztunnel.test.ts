/**
 * The real ztunnel beside ours: it takes configuration and certificate from `waystone
 * control-plane`, sends through `waystone waypoint` and receives from it.
 *
 *     client: real ztunnel ══> middle: control plane, waypoint ══> server: real ztunnel ─ app
 *
 * `WAYSTONE_ZTUNNEL` names the program. Each ztunnel runs in a namespace of its own, in dedicated
 * mode; its SOCKS5 port stands for the capture of a pod's traffic.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NetworkNamespaces } from "../support/network-namespaces.ts";

const ZTUNNEL = process.env.WAYSTONE_ZTUNNEL;
const why = ZTUNNEL ? NetworkNamespaces.missing() : "WAYSTONE_ZTUNNEL is not set";
if (why !== undefined) console.log(`real ztunnel: skipped, ${why}`);

const WAYSTONE = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const XDS = "10.77.1.1:15012";

/** Answers with what it was asked, and by whom. */
const APP = `
  const http = require("node:http");
  const answer = (request, response) => {
    response.end(request.method + " " + request.url + " from " + request.socket.remoteAddress + "\\n");
  };
  for (const port of [8080, 8081]) http.createServer(answer).listen(port, "0.0.0.0");
`;

describe.skipIf(why !== undefined)("the real ztunnel", () => {
  const folder = mkdtempSync(join(tmpdir(), "waystone-ztunnel-"));
  const manifests = join(folder, "manifests");
  const state = join(folder, "state");
  const logs: Record<string, string> = {};
  let network: NetworkNamespaces;

  function waystone(...args: readonly string[]): string {
    return execFileSync(process.execPath, [WAYSTONE, ...args], { encoding: "utf8" });
  }

  function start(
    leaf: string,
    name: string,
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): void {
    const child = network.spawn(leaf, command, args, {
      env: { ...process.env, ...env },
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    logs[name] = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        logs[name] += chunk.toString();
      });
    }
  }

  function token(account: string, node: string, pod: string): string {
    const file = join(folder, `token-${pod}`);
    writeFileSync(
      file,
      waystone("token", account, "--node", node, "--pod", pod, "--state", state).trim(),
    );
    return file;
  }

  function startZtunnel(leaf: string): void {
    start(leaf, `ztunnel ${leaf}`, ZTUNNEL!, ["proxy", "ztunnel"], {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: `default/${leaf}/${leaf}`,
      XDS_ADDRESS: `https://${XDS}`,
      CA_ADDRESS: `https://${XDS}`,
      XDS_ROOT_CA: join(state, "root-cert.pem"),
      CA_ROOT_CA: join(state, "root-cert.pem"),
      AUTH_TOKEN: token(`default/${leaf}`, `node-${leaf}`, leaf),
      NODE_NAME: `node-${leaf}`,
      POD_NAME: leaf,
      POD_NAMESPACE: "default",
      INSTANCE_IP: leaf === "client" ? "10.77.1.2" : "10.77.2.2",
      CLUSTER_ID: "Kubernetes",
      UNSTABLE_ENABLE_SOCKS5: "true",
      ENABLE_ORIG_SRC: "false",
      TERMINATION_GRACE_PERIOD_SECONDS: "1",
    });
  }

  /** What curl says, asked in the client's namespace through its ztunnel. */
  function ask(url: string, ...more: readonly string[]): string {
    const args = ["-sS", "-m", "5", "--socks5", "127.0.0.1:15080", "-w", "%{http_code}", ...more];
    try {
      return network.run("client", "curl", [...args, url]);
    } catch (caught) {
      const { status } = caught as { status?: number };
      return `curl ${status}`;
    }
  }

  async function until(what: string, isSo: () => boolean, timeoutMs = 15_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!isSo()) {
      if (Date.now() > deadline) {
        const tails = Object.entries(logs).map(
          ([name, text]) => `--- ${name}\n${text.slice(-1500)}`,
        );
        throw new Error(`not in ${timeoutMs} ms: ${what}\n${tails.join("\n")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  function isReady(leaf: string): boolean {
    try {
      const url = "http://127.0.0.1:15021/healthz/ready";
      return network
        .run(leaf, "curl", ["-s", "-m", "2", "-w", "%{http_code}", url])
        .endsWith("200");
    } catch {
      return false;
    }
  }

  function apply(name: string, text: string): void {
    writeFileSync(join(manifests, name), text);
  }

  beforeAll(async () => {
    execFileSync("mkdir", ["-p", manifests]);
    copyFileSync(new URL("mesh.yaml", import.meta.url), join(manifests, "mesh.yaml"));
    network = new NetworkNamespaces(["client", "server"]);
    const place = ["--address", "10.77.1.1:15012", "--state", state];
    start("middle", "control plane", process.execPath, [
      ...[WAYSTONE, "control-plane", "-f", manifests, ...place],
      ...["--admin-address", "127.0.0.1:15100", "--metrics-address", "127.0.0.1:15101"],
      ...["--readiness-address", "127.0.0.1:15102"],
    ]);
    await until("the control plane serves", () => /Serving/.test(logs["control plane"]!));
    start("middle", "waypoint", process.execPath, [WAYSTONE, "waypoint", "default/waypoint"], {
      XDS_ADDRESS: XDS,
      CA_ADDRESS: XDS,
      XDS_ROOT_CA: join(state, "root-cert.pem"),
      CA_ROOT_CA: join(state, "root-cert.pem"),
      AUTH_TOKEN: token("default/waypoint", "node-middle", "waypoint-0"),
      NODE_NAME: "node-middle",
      POD_NAME: "waypoint-0",
      POD_NAMESPACE: "default",
      INSTANCE_IP: "10.77.1.1",
    });
    start("server", "app", process.execPath, ["-e", APP]);
    startZtunnel("client");
    startZtunnel("server");
    for (const leaf of ["client", "server", "middle"]) {
      await until(`${leaf} is ready`, () => isReady(leaf), 30_000);
    }
  }, 90_000);

  afterAll(async () => {
    await network?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("sends to a service through the waypoint, which sends to the other one", async () => {
    expect(ask("http://10.96.0.10/hello")).toBe("GET /hello from 10.77.2.2\n200");
    const isLogged = (leaf: string, text: RegExp) => text.test(logs[`ztunnel ${leaf}`]!);
    await until("the client's ztunnel logs it", () =>
      isLogged("client", /dst\.hbone_addr="?10\.96\.0\.10:80/),
    );
    // The waypoint keeps its connection: the other one logs it when that ends, or as opened.
    await until("the server's ztunnel had it from the waypoint", () =>
      network
        .run("server", "curl", ["-s", "http://127.0.0.1:15020/metrics"])
        .includes('source_principal="spiffe://cluster.local/ns/default/sa/waypoint"'),
    );
  });

  test("sends to a service without a waypoint straight to the other one", () => {
    expect(ask("http://10.96.0.11:81/")).toMatch(/^GET \/ from .*\n200$/);
  });

  test("a policy at the waypoint denies and un-denies while it runs", async () => {
    const policy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-secrets, namespace: default }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  action: DENY
  rules: [{ to: [{ operation: { paths: [/secret] } }] }]
`;
    apply("policy.yaml", policy);
    await until("it is denied", () => ask("http://10.96.0.10/secret").endsWith("403"), 5_000);
    expect(ask("http://10.96.0.10/other")).toMatch(/200$/);
    rmSync(join(manifests, "policy.yaml"));
    await until("it is allowed", () => ask("http://10.96.0.10/secret").endsWith("200"), 5_000);
  });

  test("a policy at the real ztunnel denies and un-denies while it runs", async () => {
    const policy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: nobody, namespace: default }
spec:
  selector: { matchLabels: { app: server } }
  action: DENY
  rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/client] } }] }]
`;
    apply("policy.yaml", policy);
    await until("it is denied", () => ask("http://10.96.0.11:81/").startsWith("curl"), 5_000);
    expect(ask("http://10.96.0.10/")).toMatch(/200$/);
    rmSync(join(manifests, "policy.yaml"));
    await until("it is allowed", () => ask("http://10.96.0.11:81/").endsWith("200"), 5_000);
  });

  test("the guard of a bound service keeps out who comes past the waypoint", () => {
    expect(ask("http://10.77.2.2:8081/")).toMatch(/200$/);
    expect(ask("http://10.77.2.2:8080/")).toMatch(/^curl/);
  });
});
