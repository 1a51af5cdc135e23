/**
 * What Istio's messages have no field for: an extension of our own on them, which others pass over.
 */
import { create, fromBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import type { Extension as PolicyExtension } from "./gen/istio/authorization_pb.ts";
import type { Extension } from "./gen/istio/workload_pb.ts";
import { OriginSchema } from "./gen/waystone/mesh_pb.ts";
import { type JsonReader, jsonMessage } from "./shapes.ts";

const NAME = "waystone.v1.Origin";
const TYPE_URL = `type.googleapis.com/${NAME}`;

type OriginMessage = { readonly name: string; readonly config: Any };

export function originExtension(origin: unknown): OriginMessage {
  const value = jsonMessage(origin);
  return { name: NAME, config: create(AnySchema, { typeUrl: TYPE_URL, value }) };
}

/** Undefined: a server that is not ours sent it. Throws when it is there and malformed. */
export function readOrigin<T>(
  extensions: readonly (Extension | PolicyExtension)[],
  reader: JsonReader<T>,
): T | undefined {
  const config = extensions.find(({ name }) => name === NAME)?.config;
  if (config === undefined) return undefined;
  return reader.read(fromBinary(OriginSchema, config.value).json);
}
