/**
 * What an operator writes: YAML files and access-log formats.
 *
 * Oracle: nothing is thrown, the same text gives the same answer, whatever is wrong is a diagnostic
 * with a place inside of the file, and a log line is one line (a JSON one is JSON) whatever the
 * request had in it.
 */
import { readObjects } from "../../../src/api/read-objects.ts";
import { compileJsonFormat, compileTextFormat } from "../../../src/telemetry/access-log-format.ts";
import type { AccessRecord } from "../../../src/telemetry/access-record.ts";
import { check, checkSame, type Target } from "../target.ts";

async function runYaml(input: Buffer): Promise<string> {
  const text = input.toString("utf8");
  const { objects, diagnostics } = await readObjects(text, "a.yaml");
  const again = await readObjects(text, "a.yaml");
  const codes = diagnostics.map(({ code }) => code);
  checkSame(again.diagnostics, diagnostics, "other diagnostics the second time");
  check(again.objects.length === objects.length, "other objects the second time");
  const lines = text.split(/\r\n|\r|\n/).length;
  for (const { code, line } of diagnostics as readonly { code: string; line?: number }[]) {
    check(line === undefined || (line >= 1 && line <= lines + 1), `${code}: a place outside`);
  }
  return `${objects.length} ${[...new Set(codes)].sort()}`;
}

export const yamlObjects: Target = {
  name: "yaml",
  dictionary: [
    ..."apiVersion: kind: metadata: name: namespace: spec: v1 Service Pod List items: --- ... & * <<: !!binary !!str | > [ ] { } # ' \" ? - null ~ 1e3 0x10 .nan".split(
      " ",
    ),
    ...[
      "\n",
      "\n  ",
      "\n---\n",
      ": ",
      "- ",
      "\t",
      "\0",
      "\xef\xbb\xbf",
      "__proto__: ",
      "*a",
      "&a ",
    ],
  ],
  seeds: () => [
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec:\n  ports:\n  - port: 80\n",
    "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n",
    '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}}',
    "a: &a [1, 2]\nb: *a\n---\n# nothing\n---\nc: |\n  text\n  more\n",
    "a: 1\na: 2\n",
    "a: &a\n  b: *a\n",
    "apiVersion: v2\nkind: Servce\nmetadata:\n  name: x\n",
    "x: &x {a: 1}\ny: {<<: *x, b: 2}\n",
  ],
  run: runYaml,
};

const HOSTILE = 'a"b\\c\r\n{"x":1}\t\0\x7f\x1b[31m\u2028\xe9%REQ(X)%';

const RECORD: AccessRecord = {
  startMs: Date.UTC(2026, 2, 1, 12, 30, 5, 7),
  method: HOSTILE,
  path: `/${HOSTILE}`,
  protocol: "HTTP/1.1",
  responseCode: 200,
  responseFlags: "UF,URX",
  responseCodeDetails: "via_upstream",
  connectionTerminationDetails: "",
  bytesReceived: 0,
  bytesSent: 135,
  durationMs: 8.9,
  upstreamServiceTimeMs: -1,
  forwardedFor: HOSTILE,
  userAgent: HOSTILE,
  requestId: HOSTILE,
  authority: HOSTILE,
  upstreamHost: "10.1.0.9:8080",
  upstreamCluster: "inbound-vip|80|http|a",
  upstreamLocalAddress: "",
  downstreamLocalAddress: "10.96.0.7:80",
  downstreamRemoteAddress: "[fd00::3]:40112",
  requestedServerName: HOSTILE,
  routeName: "shop/cart",
  upstreamTransportFailureReason: HOSTILE,
  downstreamPeerUriSan: "spiffe://cluster.local/ns/shop/sa/web",
  header: () => HOSTILE,
  responseHeader: () => HOSTILE,
};

/** The first byte says which kind of format the rest is. */
function runFormat(input: Buffer): string {
  const isJson = ((input[0] ?? 0) & 1) === 1;
  const text = input.toString("utf8", 1);
  const format = isJson ? compileJsonFormat(text) : compileTextFormat(text);
  const line = format.render(RECORD);
  check(line === format.render(RECORD), "another line the second time");
  check(line.endsWith("\n"), "a line without its end");
  if (isJson) JSON.parse(line);
  const allowed = isJson ? 1 : (text.match(/\n/g)?.length ?? 0) + 1;
  if (text !== "") check((line.match(/\n/g)?.length ?? 0) <= allowed, "a line became two");
  const { problems } = format;
  const kind = problems.map((problem) => problem.replace(/"[\s\S]*"/, "").slice(0, 24));
  return `${isJson} ${[...new Set(kind)].sort()} ${Math.min(12, line.length >> 6)}`;
}

export const accessLogFormat: Target = {
  name: "access-log-format",
  dictionary: [
    ..."% %% %REQ( )% :METHOD ?:PATH %START_TIME% %START_TIME(%s.%3f)% %PROTOCOL% %DURATION%".split(
      " ",
    ),
    ...'%RESP(A):5% %RESPONSE_CODE% %BYTES_SENT% :0% :999999% %REQ(X-A?X-B):3% { } [ ] : , "'.split(
      " ",
    ),
    ...["\n", '{"a":"', '"}', "\\", "\0", "null", "1"],
  ],
  seeds: () => [
    '\0[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%\n',
    "\0%REQ(X-A):3% %RESP(CONTENT-TYPE)% %DURATION%%%",
    "\0%START_TIME(%Y-%m-%dT%H:%M:%S.%3f)% %NOTHING% %REQ% %",
    '\x01{"a": "%REQ(:PATH)%", "b": {"c": "%DURATION%", "d": ["x", 1, null]}}',
    '\x01{"a": "x%REQ(X-A)%y\\n"}',
    "\x01not json",
    "\0",
  ],
  run: runFormat,
};
