/**
 * The Secret `waystone-ca`: which CA signs and what is told, so that a control plane that starts in
 * the middle of a change of the CA goes on where the others are.
 *
 * It holds the key that signs, as the CA's own Secret does that may have another one by now.
 */
import { Failure } from "../../kit/failure.ts";
import { isRefusal, type KubeClient, type Refusal } from "../source/kubernetes/kube-client.ts";
import type { RotationState } from "./root-rotation.ts";

export const ROTATION_SECRET = "waystone-ca";

const KEY = "state.json";
const REQUEST_MS = 10_000;
const [NOT_FOUND, CONFLICT] = [404, 409];

/** What was read; the version goes into the write that follows from it. */
export interface KeptRotation {
  readonly state: RotationState | undefined;
  /** Undefined: there is no such Secret yet. */
  readonly version: string | undefined;
}

interface Secret {
  readonly metadata: { readonly resourceVersion: string };
  readonly data?: Readonly<Record<string, string>> | null;
}

export class RotationRecord {
  readonly #client: Pick<KubeClient, "get" | "write">;
  readonly #namespace: string;

  constructor(client: Pick<KubeClient, "get" | "write">, namespace: string) {
    this.#client = client;
    this.#namespace = namespace;
  }

  /** A record that says nothing that can be used is as none. Throws KUBERNETES_UNAVAILABLE. */
  async load(): Promise<KeptRotation> {
    const answer = await this.#client.get(`${this.#collection}/${ROTATION_SECRET}`, {}, limit());
    if (isRefusal(answer)) {
      if (answer.status === NOT_FOUND) return { state: undefined, version: undefined };
      throw unavailable(answer);
    }
    const { metadata, data } = answer.body as Secret;
    return { state: stateIn(data?.[KEY]), version: metadata.resourceVersion };
  }

  /** False: another was first. Throws KUBERNETES_UNAVAILABLE. */
  async save(state: RotationState, version: string | undefined): Promise<boolean> {
    const secret = {
      apiVersion: "v1",
      kind: "Secret",
      type: "Opaque",
      metadata: {
        name: ROTATION_SECRET,
        namespace: this.#namespace,
        ...(version === undefined ? {} : { resourceVersion: version }),
      },
      data: { [KEY]: Buffer.from(JSON.stringify(state)).toString("base64") },
    };
    const answer =
      version === undefined
        ? await this.#client.write("create", this.#collection, {}, secret, limit())
        : await this.#client.write("replace", this.#path, {}, secret, limit());
    if (!isRefusal(answer)) return true;
    if (answer.status === CONFLICT || answer.status === NOT_FOUND) return false;
    throw unavailable(answer);
  }

  get #path(): string {
    return `${this.#collection}/${ROTATION_SECRET}`;
  }

  get #collection(): string {
    return `/api/v1/namespaces/${this.#namespace}/secrets`;
  }
}

function stateIn(base64: string | undefined): RotationState | undefined {
  try {
    const value = JSON.parse(Buffer.from(base64 ?? "", "base64").toString()) as RotationState;
    const { signer, told } = value;
    const isWhole =
      typeof told === "string" &&
      typeof signer?.certificatePem === "string" &&
      typeof signer.keyPem === "string";
    return isWhole ? value : undefined;
  } catch {
    return undefined;
  }
}

function limit(): AbortSignal {
  return AbortSignal.timeout(REQUEST_MS);
}

function unavailable({ status, message }: Refusal): Failure {
  return new Failure("KUBERNETES_UNAVAILABLE", `Secret ${ROTATION_SECRET}: ${status} ${message}`);
}
