/**
 * What istioctl asks a control plane: who is connected, and how far each one is (`istioctl ps`,
 * `istioctl x internal-debug`; protocols.md §7.2). State of the world, and only `istio.io/debug`.
 *
 * Callers of the root namespace see everybody, others those of their own namespace.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { ClientConfigSchema, ConfigStatus } from "../../wire/gen/envoy/client_status_pb.ts";
import {
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../wire/gen/envoy/discovery_pb.ts";
import type { AdsClientStatus } from "./ads-stream.ts";
import type { Caller } from "./authenticator.ts";
import type { DebugPages, Sees } from "./debug-pages.ts";

export interface DebugServiceOptions {
  readonly pages: DebugPages;
  readonly rootNamespace: () => string;
  /** Of this control plane among others. */
  readonly podName: string;
  readonly version: string;
}

const DEBUG = "istio.io/debug";
const SYNCZ = `${DEBUG}/syncz`;
const NAME_CHARACTERS_MAX = 1000;
const CLIENT_CONFIG = "type.googleapis.com/envoy.service.status.v3.ClientConfig";

export class DebugService {
  readonly #options: DebugServiceOptions;

  constructor(options: DebugServiceOptions) {
    this.#options = options;
  }

  /** One answer to each request. Throws a ConnectError for what is no question of that kind. */
  async *answers(
    requests: AsyncIterable<DiscoveryRequest>,
    caller: Caller,
  ): AsyncGenerator<DiscoveryResponse> {
    let nonce = 0;
    for await (const request of requests) {
      const { typeUrl, resourceNames, responseNonce } = request;
      if (!typeUrl.startsWith(DEBUG)) {
        const what = "proxies are served by delta discovery; this is for istio.io/debug";
        throw new ConnectError(`${what}, not for ${typeUrl.slice(0, 200)}`, Code.Unimplemented);
      }
      // The acknowledgement of what was answered; istioctl's question has a nonce of its own.
      if (responseNonce !== "" && Number(responseNonce) === nonce) continue;
      const resources = this.#resources(typeUrl, resourceNames, caller);
      yield create(DiscoveryResponseSchema, {
        typeUrl,
        nonce: String(++nonce),
        versionInfo: String(nonce),
        resources,
        controlPlane: { identifier: this.#identifier },
      });
    }
  }

  #resources(typeUrl: string, names: readonly string[], caller: Caller): Any[] {
    const sees = seenBy(caller, this.#options.rootNamespace());
    const { pages } = this.#options;
    if (typeUrl === SYNCZ) return pages.visible(sees).map(clientConfig);
    const [name = ""] = names;
    const asked = typeUrl === DEBUG ? name : typeUrl.slice(DEBUG.length + 1);
    const [page = "", query = ""] = asked.slice(0, NAME_CHARACTERS_MAX).split("?");
    const value = pages.page(page, sees, new URLSearchParams(query)) ?? {
      error: `there is no ${JSON.stringify(page)} here`,
      known: pages.names,
    };
    const bytes = new TextEncoder().encode(JSON.stringify(value, undefined, 2));
    return [create(AnySchema, { typeUrl: DEBUG, value: bytes })];
  }

  get #identifier(): string {
    const { podName, version } = this.#options;
    return JSON.stringify({
      Component: "istiod",
      ID: podName,
      Info: { version, revision: "", golang_version: "", status: "", tag: "" },
    });
  }
}

/** Callers of the root namespace see all. */
export function seenBy({ namespace }: Caller, rootNamespace: string): Sees {
  return (of) => namespace === rootNamespace || namespace === of;
}

function clientConfig(client: AdsClientStatus): Any {
  const { node, namespace, clusterId, istioVersion, types } = client;
  // `<type>~<ip>~<pod>.<namespace>~<dns>`
  const [, , id = node] = node.split("~");
  const value = create(ClientConfigSchema, {
    node: {
      id,
      metadata: {
        CLUSTER_ID: clusterId,
        NAMESPACE: namespace,
        ISTIO_VERSION: istioVersion,
      },
    },
    genericXdsConfigs: types.map(({ type, sentNonce, ackedNonce, refusal, sentMs }) => {
      const lastUpdated = timestampFromMs(sentMs);
      return {
        typeUrl: type,
        configStatus: statusOf(sentNonce, ackedNonce, refusal),
        ...(sentMs === 0 ? {} : { lastUpdated }),
        ...(refusal === ""
          ? {}
          : { errorState: { lastUpdateAttempt: lastUpdated, details: refusal } }),
      };
    }),
  });
  return create(AnySchema, {
    typeUrl: CLIENT_CONFIG,
    value: toBinary(ClientConfigSchema, value),
  });
}

function statusOf(sentNonce: string, ackedNonce: string, refusal: string): ConfigStatus {
  if (refusal !== "") return ConfigStatus.ERROR;
  if (sentNonce === "") return ConfigStatus.NOT_SENT;
  return sentNonce === ackedNonce ? ConfigStatus.SYNCED : ConfigStatus.STALE;
}
