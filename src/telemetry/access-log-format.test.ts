import fc from "fast-check";
import { expect, test } from "vitest";
import { compileJsonFormat, compileTextFormat, DEFAULT_JSON_FORMAT } from "./access-log-format.ts";
import type { AccessRecord } from "./access-record.ts";

const REQUEST: AccessRecord = {
  startMs: Date.UTC(2026, 2, 1, 12, 30, 5, 7),
  method: "GET",
  path: "/cart?id=1",
  protocol: "HTTP/1.1",
  responseCode: 200,
  responseFlags: "",
  responseCodeDetails: "via_upstream",
  connectionTerminationDetails: "",
  bytesReceived: 0,
  bytesSent: 135,
  durationMs: 8.9,
  upstreamServiceTimeMs: 7,
  forwardedFor: "",
  userAgent: "curl/8.1 (x)",
  requestId: "5b7c1e7e-0f8a-4b57-9d55-3a4b2f1c0d9e",
  decisionId: "d-1",
  authority: "cart.shop",
  upstreamHost: "10.1.0.9:8080",
  upstreamCluster: "inbound-vip|80|http|cart.shop.svc.cluster.local",
  upstreamLocalAddress: "10.1.0.4:51000",
  downstreamLocalAddress: "10.96.0.7:80",
  downstreamRemoteAddress: "[fd00::3]:40112",
  requestedServerName: "",
  routeName: "shop/cart",
  upstreamTransportFailureReason: "",
  downstreamPeerUriSan: "spiffe://cluster.local/ns/shop/sa/web",
  header: (name) => (name === "x-team" ? "blue" : ""),
  responseHeader: (name) => (name === "content-type" ? "text/plain" : ""),
};

/** A TCP connection that failed: almost everything is absent. */
const CONNECTION: AccessRecord = {
  ...REQUEST,
  method: "",
  path: "",
  protocol: "",
  responseCode: 0,
  responseFlags: "UF,URX",
  responseCodeDetails: "",
  connectionTerminationDetails: "rbac_access_denied",
  bytesSent: 0,
  durationMs: 0,
  upstreamServiceTimeMs: -1,
  userAgent: "",
  requestId: "",
  authority: "",
  upstreamHost: "",
  upstreamLocalAddress: "",
  requestedServerName: "cart.example",
  routeName: "",
  upstreamTransportFailureReason: "connection refused by peer",
};

const text = (format: string, record = REQUEST) => compileTextFormat(format).render(record);

test("compileTextFormat() gives Istio's default line", () => {
  expect(text("")).toBe(
    '[2026-03-01T12:30:05.007Z] "GET /cart?id=1 HTTP/1.1" 200 - via_upstream - "-" 0 135 8 7 "-" ' +
      '"curl/8.1 (x)" "5b7c1e7e-0f8a-4b57-9d55-3a4b2f1c0d9e" "cart.shop" "10.1.0.9:8080" ' +
      "inbound-vip|80|http|cart.shop.svc.cluster.local 10.1.0.4:51000 10.96.0.7:80 " +
      "[fd00::3]:40112 - shop/cart\n",
  );
  expect(text("", CONNECTION)).toBe(
    '[2026-03-01T12:30:05.007Z] "- - -" 0 UF,URX - rbac_access_denied ' +
      '"connection refused by peer" 0 0 0 - "-" "-" "-" "-" "-" ' +
      "inbound-vip|80|http|cart.shop.svc.cluster.local - 10.96.0.7:80 [fd00::3]:40112 " +
      "cart.example -\n",
  );
});

test("compileJsonFormat() gives Istio's keys in Istio's order, numbers as numbers, absent as null", () => {
  expect(compileJsonFormat("").render(REQUEST)).toBe(
    '{"start_time":"2026-03-01T12:30:05.007Z","route_name":"shop/cart","method":"GET",' +
      '"path":"/cart?id=1","protocol":"HTTP/1.1","response_code":200,"response_flags":"-",' +
      '"response_code_details":"via_upstream","connection_termination_details":null,' +
      '"bytes_received":0,"bytes_sent":135,"duration":8,"upstream_service_time":"7",' +
      '"x_forwarded_for":null,"user_agent":"curl/8.1 (x)",' +
      '"request_id":"5b7c1e7e-0f8a-4b57-9d55-3a4b2f1c0d9e","authority":"cart.shop",' +
      '"upstream_host":"10.1.0.9:8080",' +
      '"upstream_cluster":"inbound-vip|80|http|cart.shop.svc.cluster.local",' +
      '"upstream_local_address":"10.1.0.4:51000","downstream_local_address":"10.96.0.7:80",' +
      '"downstream_remote_address":"[fd00::3]:40112","requested_server_name":null,' +
      '"upstream_transport_failure_reason":null}\n',
  );
  const parsed = JSON.parse(compileJsonFormat("").render(CONNECTION));
  expect(Object.keys(parsed)).toEqual(Object.keys(DEFAULT_JSON_FORMAT));
  expect(parsed).toMatchObject({ method: null, response_code: 0, response_flags: "UF,URX" });
});

test.each([
  ["%REQ(X-Team)% %REQ(x-none)%", "blue -\n"],
  ["%REQ(X-NONE?X-TEAM):3%|%REQ(:METHOD?x-team):9%", "blu|GET\n"],
  ["%RESP(Content-Type):4% %RESP(x)%", "text -\n"],
  ["%RESP(X-Waystone-Decision)%", "d-1\n"],
  ["%REQ_WITHOUT_QUERY(:PATH)% 100%%", "/cart 100%\n"],
  [
    "%START_TIME(%Y/%m/%dT%H:%M:%S.%3f%z %s %6f)%",
    "2026/03/01T12:30:05.007+0000 1772368205 007000\n",
  ],
  ['"%START_TIME(%d %b %y %F %T %%)%"', '"01 Mar 26 2026-03-01 12:30:05 %"\n'],
  ["%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "[fd00::3] 40112\n"],
  ["%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "[fd00::3]:40112 80\n"],
  ["%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_LOCAL_PORT%", "10.1.0.9 51000\n"],
  ["%DOWNSTREAM_PEER_URI_SAN%\n", "spiffe://cluster.local/ns/shop/sa/web\n"],
  ["%RESPONSE_CODE%%BYTES_SENT% %UPSTREAM_CLUSTER:7%", "200135 inbound\n"],
])("compileTextFormat() understands %s", (format, expected) => {
  const compiled = compileTextFormat(format);
  expect(compiled.problems).toEqual([]);
  expect(compiled.render(REQUEST)).toBe(expected);
});

test.each([
  ["a %NO_SUCH% b", "a - b\n", "%NO_SUCH%"],
  ["%REQ% x", "- x\n", "needs a header name"],
  ["%REQ(a?b?c)%", "-\n", "not a header name"],
  ["%REQ(a b)%", "-\n", "not a header name"],
  ["%PROTOCOL(x)%", "-\n", "takes no argument"],
  ["%DURATION:3%", "-\n", "cannot be cut"],
  ["%START_TIME(%Q)%", "-\n", '"%Q" is not a known conversion'],
  ["50% off", "50% off\n", "begins no operator"],
  ["%PROTOCOL", "%PROTOCOL\n", "begins no operator"],
])("compileTextFormat() reports the problem in %s and prints the rest", (format, line, problem) => {
  const compiled = compileTextFormat(format);
  expect(compiled.problems).toHaveLength(1);
  expect(compiled.problems[0]).toContain(problem);
  expect(compiled.render(REQUEST)).toBe(line);
});

test("compileJsonFormat() keeps the shape of a custom format", () => {
  const compiled = compileJsonFormat(
    '{"code":"%RESPONSE_CODE%","line":"%REQ(:METHOD)% \\"%REQ(x)%\\"","n":{"list":["%PROTOCOL%",1,true,null],"e":{},"l":[]}}',
  );
  expect(compiled.problems).toEqual([]);
  expect(compiled.render(REQUEST)).toBe(
    '{"code":200,"line":"GET \\"-\\"","n":{"list":["HTTP/1.1",1,true,null],"e":{},"l":[]}}\n',
  );
});

test.each(["{", "[]", '"%PROTOCOL%"', "null"])(
  "compileJsonFormat() reports %s and uses the default",
  (format) => {
    const compiled = compileJsonFormat(format);
    expect(compiled.problems).toHaveLength(1);
    expect(compiled.render(REQUEST)).toBe(compileJsonFormat("").render(REQUEST));
  },
);

/** Every string of the record replaced: what a hostile peer may try. */
function filledWith(value: string): AccessRecord {
  const entries = Object.entries(REQUEST).map(([key, old]) => [
    key,
    typeof old === "string" ? value : typeof old === "function" ? () => value : old,
  ]);
  return Object.fromEntries(entries) as AccessRecord;
}

const hostile = fc.oneof(
  fc.string({ unit: "binary" }),
  fc
    .array(
      fc.constantFrom(
        '"',
        "\\",
        "\n",
        "\r",
        "\0",
        "\u001b[2J",
        "\u2028",
        "\u202e",
        "\u0085",
        "\ud800",
        " ",
        "%PROTOCOL%",
        "a",
      ),
    )
    .map((parts) => parts.join("")),
);

/** One danger each, so that nothing else in the value leads it onto the careful path. */
const EXAMPLES: [string][] = [
  "a b",
  '"',
  "\\",
  "\n",
  "\u007f",
  "\u0085",
  "\u2028",
  "\u202e",
  "",
].map((value) => [value]);

test("no value breaks a line, leaves its quotes, or shifts a column of the text form", () => {
  const format = compileTextFormat("");
  fc.assert(
    fc.property(hostile, (value) => {
      const line = format.render(filledWith(value));
      expect(line.indexOf("\n")).toBe(line.length - 1);
      expect(line.slice(0, -1)).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/,
      );
      // Quoted strings count as one column, whatever stands in them.
      const unquoted = line.replace(/"(?:[^"\\]|\\.)*"/g, "q");
      const expected = format.render(filledWith("v")).replace(/"(?:[^"\\]|\\.)*"/g, "q");
      expect(unquoted).not.toContain('"');
      expect(unquoted.split(" ").length).toBe(expected.split(" ").length);
    }),
    { examples: EXAMPLES },
  );
});

test("JSON lines are read back with the values that went in", () => {
  const format = compileJsonFormat("");
  fc.assert(
    fc.property(hostile, (value) => {
      const line = format.render(filledWith(value));
      expect(line.indexOf("\n")).toBe(line.length - 1);
      const parsed = JSON.parse(line);
      expect(Object.keys(parsed)).toEqual(Object.keys(DEFAULT_JSON_FORMAT));
      expect(parsed.user_agent).toBe(value === "" ? null : value);
      expect(parsed.requested_server_name).toBe(value === "" ? null : value);
      expect(line.slice(0, -1)).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/,
      );
    }),
    { examples: EXAMPLES },
  );
});

test("%START_TIME% is right across the edge of a second and before 1970", () => {
  const format = compileTextFormat("%START_TIME%");
  for (const startMs of [999, 1000, 1999, 999, -1, Date.UTC(2026, 11, 31, 23, 59, 59, 999), 0.4]) {
    const expected = new Date(Math.floor(startMs)).toISOString();
    expect(format.render({ ...REQUEST, startMs })).toBe(`${expected}\n`);
  }
});
