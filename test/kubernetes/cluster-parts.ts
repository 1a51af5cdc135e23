/**
 * What a cluster is made of before anything of it runs: a folder, certificates, and the three
 * daemons with their options.
 */
import { writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../support/free-ports.ts";
import { Access } from "./access.ts";
import { ClusterCertificates } from "./certificates.ts";
import { Daemon } from "./daemon.ts";
import type { Toolchain } from "./toolchain.ts";

/** Who the API server says it is in its tokens, and for whom they are unless asked otherwise. */
const ISSUER = "https://kubernetes.default.svc.cluster.local";

export interface ClusterParts {
  readonly folder: string;
  readonly access: Access;
  readonly etcd: Daemon;
  readonly apiServer: Daemon;
  readonly controllerManager: Daemon;
}

export async function prepare(toolchain: Toolchain, serviceCidr: string): Promise<ClusterParts> {
  const folder = await mkdtemp(join(tmpdir(), "waystone-kubernetes-"));
  const port = await freePort();
  const certificates = await ClusterCertificates.make();
  const access = new Access(folder, `https://127.0.0.1:${port}`, certificates);
  const serving = await certificates.server(["127.0.0.1"], ["localhost", "kubernetes.default.svc"]);
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const files = {
    root: file("root.pem", certificates.rootPem),
    certificate: file("kube-apiserver.pem", serving.certificatePem),
    key: file("kube-apiserver.key", serving.keyPem),
    tokenKey: file("token.key", certificates.tokenKeyPem),
  };
  const manager = await access.ofUser({ name: "system:kube-controller-manager" });
  const daemon = (name: string, command: string, options: Options) =>
    new Daemon(folder, name, command, argsOf(options));
  return {
    folder,
    access,
    etcd: daemon("etcd", toolchain.etcd, etcdOptions(folder)),
    apiServer: daemon(
      "kube-apiserver",
      toolchain.apiServer,
      apiServerOptions(folder, port, serviceCidr, files),
    ),
    controllerManager: daemon(
      "kube-controller-manager",
      toolchain.controllerManager,
      controllerManagerOptions(manager.kubeconfig, files),
    ),
  };
}

type Options = Readonly<Record<string, string | number | boolean>>;
type Files = Readonly<Record<"root" | "certificate" | "key" | "tokenKey", string>>;

function argsOf(options: Options): string[] {
  return Object.entries(options).map(([name, value]) => `--${name}=${value}`);
}

/** Sockets instead of ports: nobody else can be listening, and nobody else can read. */
function etcdOptions(folder: string): Options {
  const clients = `unix://${folder}/etcd.sock`;
  const peers = `unix://${folder}/etcd-peer.sock`;
  return {
    "data-dir": join(folder, "etcd"),
    "listen-client-urls": clients,
    "advertise-client-urls": clients,
    "listen-peer-urls": peers,
    "initial-advertise-peer-urls": peers,
    "initial-cluster": `default=${peers}`,
    // Nothing has to outlive the machine, and the disk may be slow.
    "unsafe-no-fsync": true,
    "log-level": "warn",
  };
}

function apiServerOptions(
  folder: string,
  port: number,
  serviceCidr: string,
  files: Files,
): Options {
  return {
    "etcd-servers": `unix://${folder}/etcd.sock`,
    "bind-address": "127.0.0.1",
    "secure-port": port,
    "advertise-address": "127.0.0.1",
    // The Service `kubernetes` stays without endpoints: they may not be loopback addresses.
    "endpoint-reconciler-type": "none",
    "tls-cert-file": files.certificate,
    "tls-private-key-file": files.key,
    "client-ca-file": files.root,
    "authorization-mode": "RBAC",
    "service-account-issuer": ISSUER,
    "service-account-signing-key-file": files.tokenKey,
    "service-account-key-file": files.tokenKey,
    "service-cluster-ip-range": serviceCidr,
    "allow-privileged": true,
  };
}

function controllerManagerOptions(kubeconfig: string, files: Files): Options {
  return {
    kubeconfig,
    "root-ca-file": files.root,
    "service-account-private-key-file": files.tokenKey,
    "use-service-account-credentials": true,
    "leader-elect": false,
    // It has nothing to serve here.
    "secure-port": 0,
    "kube-api-qps": 500,
    "kube-api-burst": 1000,
    // No Node sends heartbeats; these two would take the Pods of such Nodes away.
    controllers: "*,-node-lifecycle-controller,-taint-eviction-controller",
  };
}
