/**
 * An authorizer that is asked by gRPC: envoy.service.auth.v3.Authorization/Check. One message goes
 * out and one comes back, each behind five bytes of prefix (gRPC over HTTP/2).
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  CheckRequestSchema,
  type CheckResponse,
  CheckResponseSchema,
  type HeaderValueOption,
} from "../../wire/gen/envoy/ext_authz_pb.ts";
import type { SubRequestHead } from "../sub-request.ts";
import {
  type AllowedChanges,
  type AuthorizerAnswer,
  denial,
  FAILED,
  isPassedValue,
  passedName,
} from "./answer.ts";
import { type AskedConnection, type AskedRequest, PARTIAL_BODY } from "./asked-request.ts";
import type { Authorizer } from "./authorizer.ts";
import type { ShownBody } from "./shown-body.ts";

const PATH = "/envoy.service.auth.v3.Authorization/Check";
const PREFIX_BYTES = 5;

export function grpcHead(authority: string, timeoutMs: number): SubRequestHead {
  const pseudo = [":method", "POST", ":scheme", "http", ":path", PATH, ":authority", authority];
  const list = [
    ...pseudo,
    ...["content-type", "application/grpc", "te", "trailers", "grpc-timeout", `${timeoutMs}m`],
  ];
  return { method: "POST", bytes: null, list, isChunked: true, hasBody: true };
}

/** The question, with its prefix. */
export function grpcQuestion(
  authorizer: Authorizer,
  asked: AskedConnection | AskedRequest,
  body: ShownBody,
): Buffer {
  const message = toBinary(
    CheckRequestSchema,
    create(CheckRequestSchema, {
      attributes: {
        source: {
          address: addressOf(asked.sourceAddress, asked.sourcePort),
          principal: asked.sourceIdentity ?? "",
        },
        destination: {
          address: addressOf(asked.destinationAddress, asked.destinationPort),
          service: asked.service,
        },
        request: {
          time: timestampFromMs(Date.now()),
          ...("method" in asked && { http: httpRequest(authorizer, asked, body) }),
        },
      },
    }),
  );
  const framed = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

function httpRequest(authorizer: Authorizer, asked: AskedRequest, { bytes, isPartial }: ShownBody) {
  const headers = headersFor(authorizer, asked);
  if (bytes.length > 0) headers[PARTIAL_BODY] = String(isPartial);
  const isRaw = authorizer.isBodyPackedAsBytes;
  return {
    id: asked.id,
    method: asked.method,
    headers,
    path: asked.target,
    host: asked.authority,
    scheme: "http",
    size: BigInt(bytes.length > 0 ? bytes.length : -1),
    protocol: asked.protocol,
    ...(isRaw ? { rawBody: bytes } : { body: bytes.toString("utf8") }),
  };
}

function addressOf(address: string, portValue: number) {
  return { socketAddress: { address, portValue } };
}

/** Envoy's names for what HTTP/2 has before its headers are among them. */
function headersFor({ shown }: Authorizer, asked: AskedRequest): Record<string, string> {
  const found = new Map([
    [":method", asked.method],
    [":path", asked.target],
    [":authority", asked.authority],
  ]);
  for (let i = 0; i < asked.fields.length; i += 2) {
    const [name, value] = [asked.fields[i]!, asked.fields[i + 1]!];
    if (!shown.has(name)) continue;
    const before = found.get(name);
    found.set(name, before === undefined ? value : `${before},${value}`);
  }
  return Object.fromEntries(found);
}

/** `bytes`: all of the answer's body. */
export function grpcAnswer(status: number, grpcStatus: string, bytes: Buffer): AuthorizerAnswer {
  if (status !== 200 || grpcStatus !== "0" || bytes.length < PREFIX_BYTES) return FAILED;
  // A compressed message was not asked for.
  if (bytes[0] !== 0 || bytes.readUInt32BE(1) !== bytes.length - PREFIX_BYTES) return FAILED;
  try {
    return verdictOf(fromBinary(CheckResponseSchema, bytes.subarray(PREFIX_BYTES)));
  } catch {
    return FAILED;
  }
}

function verdictOf({ status, httpResponse }: CheckResponse): AuthorizerAnswer {
  if ((status?.code ?? 0) === 0) {
    const ok = httpResponse.case === "okResponse" ? httpResponse.value : undefined;
    const headers = ok?.headers ?? [];
    const changes: AllowedChanges = {
      set: headers.filter((h) => !isAppended(h)).flatMap(passed),
      append: headers.filter(isAppended).flatMap(passed),
      remove: (ok?.headersToRemove ?? []).flatMap((name) => passedName(name) ?? []),
      response: (ok?.responseHeadersToAdd ?? []).flatMap(passed),
    };
    return { kind: "allowed", changes };
  }
  const denied = httpResponse.case === "deniedResponse" ? httpResponse.value : undefined;
  const code = denied?.status?.code ?? 0;
  const headers = (denied?.headers ?? []).flatMap(passed).flat();
  // What is no status of an answer is Forbidden.
  const reply = denial(code >= 200 && code < 600 ? code : 403, denied?.body ?? "", headers);
  return { kind: "denied", reply };
}

function isAppended({ append }: HeaderValueOption): boolean {
  return append?.value === true;
}

function passed({ header }: HeaderValueOption): (readonly [string, string])[] {
  const name = passedName(header?.key ?? "");
  const value = header?.value ?? "";
  return name === undefined || !isPassedValue(value) ? [] : [[name, value]];
}
