/** Ways into the cluster: a kubeconfig for a user with a certificate, or for who holds a token. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Credentials } from "./api-client.ts";
import type { ClusterCertificates, ClusterUser } from "./certificates.ts";

export class Access {
  readonly server: string;
  readonly #folder: string;
  readonly #certificates: ClusterCertificates;

  constructor(folder: string, server: string, certificates: ClusterCertificates) {
    this.#folder = folder;
    this.server = server;
    this.#certificates = certificates;
  }

  get rootPem(): string {
    return this.#certificates.rootPem;
  }

  /** A user by its certificate; what it may do is for RBAC to say. */
  async ofUser(user: ClusterUser): Promise<{ kubeconfig: string; credentials: Credentials }> {
    const { certificatePem, keyPem } = await this.#certificates.client(user);
    const kubeconfig = this.#write(user.name, {
      "client-certificate-data": base64(certificatePem),
      "client-key-data": base64(keyPem),
    });
    return { kubeconfig, credentials: { rootPem: this.rootPem, certificatePem, keyPem } };
  }

  /** The path of a kubeconfig that shows a token, as of a service account. */
  withToken(token: string): string {
    return this.#write(`token-${token.slice(-12)}`, { token });
  }

  /** JSON is YAML, and kubectl reads YAML. */
  #write(name: string, user: object): string {
    const cluster = {
      server: this.server,
      "certificate-authority-data": base64(this.rootPem),
    };
    const path = join(this.#folder, `${name.replaceAll(":", "-")}.kubeconfig`);
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "test", cluster }],
      users: [{ name, user }],
      contexts: [{ name: "test", context: { cluster: "test", user: name } }],
      "current-context": "test",
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
    return path;
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
