/**
 * Access-log formats, compiled once: text with Envoy's command operators, and JSON of such texts.
 *
 * A compiled format is literals with values between them; rendering walks them once. An operator
 * that is not known is reported and prints as absent ("-", in JSON null): a typing error in a
 * format must not cost the log.
 */
import { appendBare, appendJson, appendQuoted, escapeJson } from "./access-log-escape.ts";
import { operatorSource, type ValueSource } from "./access-log-operators.ts";
import type { AccessRecord } from "./access-record.ts";
import { LineBytes } from "./line-bytes.ts";

/** Istio's text format. */
const DEFAULT_TEXT_FORMAT = [
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"',
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%",
  '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%',
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"',
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%',
  "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%",
  "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
].join(" ");

/** Istio's JSON format, in its order. */
export const DEFAULT_JSON_FORMAT: Readonly<Record<string, string>> = {
  start_time: "%START_TIME%",
  route_name: "%ROUTE_NAME%",
  method: "%REQ(:METHOD)%",
  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  protocol: "%PROTOCOL%",
  response_code: "%RESPONSE_CODE%",
  response_flags: "%RESPONSE_FLAGS%",
  response_code_details: "%RESPONSE_CODE_DETAILS%",
  connection_termination_details: "%CONNECTION_TERMINATION_DETAILS%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
  duration: "%DURATION%",
  upstream_service_time: "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
  x_forwarded_for: "%REQ(X-FORWARDED-FOR)%",
  user_agent: "%REQ(USER-AGENT)%",
  request_id: "%REQ(X-REQUEST-ID)%",
  authority: "%REQ(:AUTHORITY)%",
  upstream_host: "%UPSTREAM_HOST%",
  upstream_cluster: "%UPSTREAM_CLUSTER_RAW%",
  upstream_local_address: "%UPSTREAM_LOCAL_ADDRESS%",
  downstream_local_address: "%DOWNSTREAM_LOCAL_ADDRESS%",
  downstream_remote_address: "%DOWNSTREAM_REMOTE_ADDRESS%",
  requested_server_name: "%REQUESTED_SERVER_NAME%",
  upstream_transport_failure_reason: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
};

const ABSENT: ValueSource = { type: "string", read: () => "" };

const ABSENT_TEXT = Buffer.from("-");
const NULL = Buffer.from("null");
const QUOTE = 0x22;

/** How deep a JSON format may nest. */
const DEPTH_MAX = 16;

/** Puts one value behind what the line has, escaped. */
type AppendValue = (line: LineBytes, record: AccessRecord) => void;

/** Collects literals and, between them, what appends the values. */
class FormatBuilder {
  readonly literals: string[] = [""];
  readonly values: AppendValue[] = [];
  readonly problems: string[] = [];

  literal(text: string): void {
    this.literals[this.literals.length - 1] += text;
  }

  value(append: AppendValue): void {
    this.values.push(append);
    this.literals.push("");
  }
}

export class AccessLogFormat {
  /** What could not be understood, for a diagnostic. */
  readonly problems: readonly string[];
  readonly #literals: readonly Uint8Array[];
  readonly #values: readonly AppendValue[];

  constructor(builder: FormatBuilder) {
    this.problems = builder.problems;
    this.#literals = builder.literals.map((literal) => Buffer.from(literal));
    this.#values = builder.values;
  }

  /** Appends one line, with its line feed. */
  append(line: LineBytes, record: AccessRecord): void {
    const literals = this.#literals;
    const values = this.#values;
    line.appendBytes(literals[0]!);
    for (let i = 0; i < values.length; i++) {
      values[i]!(line, record);
      line.appendBytes(literals[i + 1]!);
    }
  }

  render(record: AccessRecord): string {
    const line = new LineBytes();
    this.append(line, record);
    return line.toString();
  }
}

/** A part of a format string: literal text, or an operator's source. */
type Part = string | ValueSource;

const OPERATOR = /%(?:([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::([0-9]{1,6}))?)?%/y;

function parse(format: string, problems: string[]): Part[] {
  const parts: Part[] = [];
  let position = 0;
  while (position < format.length) {
    const percent = format.indexOf("%", position);
    const end = percent < 0 ? format.length : percent;
    if (end > position) parts.push(format.slice(position, end));
    if (percent < 0) break;
    OPERATOR.lastIndex = percent;
    const found = OPERATOR.exec(format);
    if (found === null) {
      problems.push(
        `"${format.slice(percent, percent + 20)}" begins no operator; "%%" is a percent`,
      );
      parts.push("%");
      position = percent + 1;
      continue;
    }
    parts.push(found[1] === undefined ? "%" : operatorPart(found, problems));
    position = OPERATOR.lastIndex;
  }
  return parts;
}

function operatorPart([, name, argument, length]: RegExpExecArray, problems: string[]): Part {
  const lengthMax = length === undefined ? undefined : Number(length);
  const source = operatorSource(name!, argument, lengthMax);
  if (typeof source !== "string") return source;
  problems.push(source);
  return ABSENT;
}

/** `""` is Istio's default. The line always ends with a line feed. */
export function compileTextFormat(format: string): AccessLogFormat {
  const builder = new FormatBuilder();
  const wanted = format === "" ? DEFAULT_TEXT_FORMAT : format;
  let isQuoted = false;
  for (const part of parse(wanted.endsWith("\n") ? wanted : `${wanted}\n`, builder.problems)) {
    if (typeof part === "string") {
      builder.literal(part);
      if (part.split('"').length % 2 === 0) isQuoted = !isQuoted;
    } else builder.value(textValue(part, isQuoted ? appendQuoted : appendBare));
  }
  return new AccessLogFormat(builder);
}

function textValue(
  source: ValueSource,
  appendEscaped: (line: LineBytes, value: string) => void,
): AppendValue {
  if (source.type === "number") return (line, record) => line.append(String(source.read(record)));
  const { read } = source;
  if (source.type === "trusted") return (line, record) => line.append(read(record));
  return (line, record) => {
    const value = read(record);
    if (value === "") line.appendBytes(ABSENT_TEXT);
    else appendEscaped(line, value);
  };
}

/** `""` is Istio's default; else a JSON object whose strings are formats (MeshConfig's own form). */
export function compileJsonFormat(format: string): AccessLogFormat {
  const builder = new FormatBuilder();
  jsonPart(jsonTemplate(format, builder.problems), builder, 0);
  builder.literal("\n");
  return new AccessLogFormat(builder);
}

function jsonTemplate(format: string, problems: string[]): unknown {
  if (format.trim() === "") return DEFAULT_JSON_FORMAT;
  try {
    const template: unknown = JSON.parse(format);
    if (typeof template === "object" && template !== null && !Array.isArray(template)) {
      return template;
    }
    problems.push("the JSON format is not an object; Istio's default is used");
  } catch (error) {
    problems.push(`the JSON format is not JSON (${String(error)}); Istio's default is used`);
  }
  return DEFAULT_JSON_FORMAT;
}

function jsonPart(template: unknown, builder: FormatBuilder, depth: number): void {
  if (depth > DEPTH_MAX) {
    builder.problems.push(`the JSON format is nested deeper than ${DEPTH_MAX}`);
    builder.literal("null");
  } else if (typeof template === "string") jsonString(template, builder);
  else if (Array.isArray(template)) {
    template.forEach((item, i) => {
      builder.literal(i === 0 ? "[" : ",");
      jsonPart(item, builder, depth + 1);
    });
    builder.literal(template.length === 0 ? "[]" : "]");
  } else if (typeof template === "object" && template !== null) {
    const entries = Object.entries(template);
    entries.forEach(([key, value], i) => {
      builder.literal(`${i === 0 ? "{" : ","}"${escapeJson(key)}":`);
      jsonPart(value, builder, depth + 1);
    });
    builder.literal(entries.length === 0 ? "{}" : "}");
  } else builder.literal(JSON.stringify(template));
}

/** A single operator keeps its type and is null when absent; text around it makes a string. */
function jsonString(format: string, builder: FormatBuilder): void {
  const parts = parse(format, builder.problems);
  const [only] = parts;
  if (parts.length === 1 && typeof only === "object") {
    if (only.type === "number") {
      builder.value(textValue(only, appendJson));
      return;
    }
    builder.literal('"');
    builder.value(nullableString(only.read));
    return;
  }
  builder.literal('"');
  for (const part of parts) {
    if (typeof part === "string") builder.literal(escapeJson(part));
    else if (part.type === "number") builder.value(textValue(part, appendJson));
    else builder.value(textValue({ type: "string", read: part.read }, appendJson));
  }
  builder.literal('"');
}

/** Behind an opening quote, which is part of the literal and taken back when there is no value. */
function nullableString(read: (record: AccessRecord) => string): AppendValue {
  return (line, record) => {
    const value = read(record);
    if (value === "") {
      line.length--;
      line.appendBytes(NULL);
    } else {
      appendJson(line, value);
      line.appendByte(QUOTE);
    }
  };
}
