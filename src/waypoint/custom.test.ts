import { afterEach, describe, expect, test } from "vitest";
import { field } from "../../test/policy/mesh.ts";
import { type MemoryPeer, MemoryStream, settle, until } from "../../test/support/memory-stream.ts";
import { indexOf } from "../../test/support/small-mesh.ts";
import { FakeWaypoint, meshWith, REVIEWS } from "../../test/support/waypoint-session.ts";
import type { AuthorizationProvider } from "../model/authorization-provider.ts";
import type { AuthorizationPolicy, FieldMatch, PolicyAction } from "../model/rule.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { TcpSession } from "./tcp-session.ts";

const PROVIDER: AuthorizationProvider = {
  name: "opa",
  protocol: "HTTP",
  service: REVIEWS,
  port: 80,
  timeoutMs: 50,
  isFailOpen: false,
  statusOnError: 503,
  pathPrefix: "/ask",
  includeRequestHeadersInCheck: ["x-*"],
  includeAdditionalHeadersInCheck: [["x-mesh", "ours"]],
  headersToUpstreamOnAllow: ["x-user", "x-role"],
  headersToDownstreamOnAllow: ["set-cookie"],
  headersToDownstreamOnDeny: ["x-why"],
  bodyBytesMax: 0,
  isPartialBodyShown: false,
  isBodyPackedAsBytes: false,
  isRouteCacheCleared: false,
  problem: undefined,
};

function policy(
  name: string,
  action: PolicyAction,
  fields: readonly FieldMatch[],
  provider = action === "CUSTOM" ? "opa" : undefined,
): AuthorizationPolicy {
  const isKnown = provider === "opa" || provider === "second";
  return {
    key: `default/${name}`,
    action,
    provider:
      provider === undefined
        ? undefined
        : {
            name: provider,
            service: isKnown ? REVIEWS : undefined,
            problem: isKnown ? undefined : "nobody",
          },
    rules: [{ index: 0, from: [], to: [fields], when: [], position: undefined }],
    isDryRun: false,
    source: { kind: "AuthorizationPolicy", namespace: "default", name },
    position: undefined,
  };
}

const ADMIN = field("path", "/admin");
const ASK = policy("ask", "CUSTOM", [ADMIN]);

function meshOf(
  policies: readonly AuthorizationPolicy[],
  providers: readonly AuthorizationProvider[],
): Snapshot {
  const mesh = meshWith(1);
  const settings = { ...mesh.settings, authorizationProviders: providers };
  return { ...mesh, settings, policies: indexOf({ [`Service/${REVIEWS}`]: policies }) };
}

let waypoint = new FakeWaypoint();
const clients: MemoryPeer[] = [];

async function send(
  request: string,
  policies: readonly AuthorizationPolicy[] = [ASK],
  ...providers: Partial<AuthorizationProvider>[]
) {
  const known = (providers.length === 0 ? [{}] : providers).map((p) => ({ ...PROVIDER, ...p }));
  waypoint = new FakeWaypoint(meshOf(policies, known));
  const opened = waypoint.open();
  clients.push(opened.client);
  opened.client.send(request);
  await settle();
  return { ...opened, authorizer: waypoint.backends.connections[0] as MemoryPeer };
}

afterEach(async () => {
  await settle();
  for (const client of clients.splice(0)) client.stream.reset("cancel");
  for (const stream of waypoint.backends.streams) stream.reset("cancel");
  await settle();
  expect(waypoint.active).toBe(0);
});

const GET =
  "GET /admin?q HTTP/1.1\r\nhost: reviews\r\nx-a: 1\r\ncookie: c\r\nx-user: forged\r\n\r\n";
const YES =
  "HTTP/1.1 200 OK\r\nx-user: me\r\nx-secret: s\r\nset-cookie: t=1\r\ncontent-length: 0\r\n\r\n";

describe("CUSTOM", () => {
  test("asks about what its rules match, and about nothing else", async () => {
    const { authorizer, client } = await send(GET);
    expect(authorizer.text).toBe(
      "GET /ask/admin?q HTTP/1.1\r\nhost: reviews\r\nx-a: 1\r\nx-user: forged\r\nx-mesh: ours\r\n" +
        "content-length: 0\r\n\r\n",
    );
    authorizer.send(YES);
    await settle();
    const forwarded = authorizer.text.slice(authorizer.text.indexOf("\r\n\r\n") + 4);
    expect(forwarded).toMatch(/^GET \/admin\?q HTTP\/1\.1\r\n/);
    expect(forwarded).toContain("x-user: me\r\n");
    expect(forwarded).not.toMatch(/forged|x-secret/);
    authorizer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await settle();
    expect(client.text).toContain("set-cookie: t=1\r\n");

    const other = await send(GET.replace("/admin", "/other"));
    expect(other.authorizer.text).toMatch(/^GET \/other/);
  });

  test("a refusal is the client's answer, with the headers that may go there", async () => {
    const { authorizer, client } = await send(GET);
    authorizer.send(
      "HTTP/1.1 401 no\r\nx-why: you\r\nx-internal: 1\r\nlocation: /login\r\ncontent-length: 4\r\n\r\nhalt",
    );
    await settle();
    expect(client.text).toMatch(/^HTTP\/1\.1 401 /);
    expect(client.text).toContain("x-why: you\r\n");
    expect(client.text).toContain("location: /login\r\n");
    expect(client.text).not.toContain("x-internal");
    expect(await waypoint.accessLines()).toEqual([
      expect.stringContaining("401 UAEX ext_authz_denied"),
    ]);
  });

  test("policies behind it judge what it has made of the request", async () => {
    const deny = policy("deny", "DENY", [field("header:x-role", "guest")]);
    const allowed = await send(GET, [ASK, deny]);
    allowed.authorizer.send(YES);
    await settle();
    expect(allowed.authorizer.text).toContain("GET /admin");

    const { authorizer, client } = await send(GET, [ASK, deny]);
    authorizer.send("HTTP/1.1 200 OK\r\nx-role: guest\r\ncontent-length: 0\r\n\r\n");
    await settle();
    expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
    expect(await waypoint.accessLines()).toEqual([
      expect.stringContaining(
        "rbac_access_denied_matched_policy[ns[default]-policy[deny]-rule[0]]",
      ),
    ]);
  });

  test("a provider's yes does not outweigh a DENY, nor stand in for an ALLOW", async () => {
    for (const after of [
      policy("deny", "DENY", [ADMIN]),
      policy("allow", "ALLOW", [field("method", "PUT")]),
    ]) {
      const { authorizer, client } = await send(GET, [ASK, after]);
      authorizer.send(YES);
      await settle();
      expect(client.text, after.key).toMatch(/^HTTP\/1\.1 403 /);
    }
  });

  test.each([
    ["hangs", (_: MemoryPeer) => {}],
    ["breaks off", (peer: MemoryPeer) => peer.stream.reset("cancel")],
    ["fails", (peer: MemoryPeer) => peer.send("HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n")],
    ["lies", (peer: MemoryPeer) => peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n")],
  ])("one that %s: statusOnError, or it fails open", async (_, act) => {
    const closed = await send(GET);
    act(closed.authorizer);
    await until(() => closed.client.text !== "");
    expect(closed.client.text).toMatch(/^HTTP\/1\.1 503 /);
    expect(await waypoint.accessLines()).toEqual([
      expect.stringContaining("503 UAEX ext_authz_error"),
    ]);
    const open = await send(GET, [ASK], { isFailOpen: true });
    act(open.authorizer);
    const forwarded = () => waypoint.backends.connections.map((c) => c.text).join("");
    await until(() => /GET \/admin/.test(forwarded()));
  });

  test("several providers are asked in the order of their names, each once", async () => {
    const policies = [
      policy("z", "CUSTOM", [ADMIN], "second"),
      ASK,
      policy("again", "CUSTOM", [field("method", "GET")]),
    ];
    const second = { name: "second", pathPrefix: "/second" };
    const { authorizer, client } = await send(GET, policies, {}, second);
    expect(authorizer.text).toMatch(/^GET \/ask/);
    authorizer.send(YES);
    await settle();
    expect(authorizer.text.match(/GET /g)).toHaveLength(2);
    expect(authorizer.text).toContain("GET /second/admin?q");
    authorizer.send("HTTP/1.1 403 no\r\ncontent-length: 0\r\n\r\n");
    await settle();
    expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
  });

  test("a provider that is not there refuses what its policies match, and no more", async () => {
    const policies = [policy("lost", "CUSTOM", [ADMIN], "unknown")];
    const { client } = await send(GET, policies);
    expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
    const { authorizer } = await send(GET.replace("/admin", "/"), policies);
    expect(authorizer.text).toMatch(/^GET \/\?q/);
  });
});

describe("a body that has to be seen whole", () => {
  const POST = "POST /admin HTTP/1.1\r\nhost: r\r\ncontent-length: 6\r\n\r\n";

  test("is waited for, and shown", async () => {
    const { client, authorizer } = await send(`${POST}abc`, [ASK], { bodyBytesMax: 8 });
    expect(authorizer).toBeUndefined();
    client.send("def");
    await settle();
    const [asked] = waypoint.backends.connections as [MemoryPeer];
    expect(asked.text).toContain("x-envoy-auth-partial-body: false\r\n");
    expect(asked.text.endsWith("\r\n\r\nabcdef")).toBe(true);
  });

  test("is refused when it is too long, or shown in part", async () => {
    const { client } = await send(`${POST}abcdef`, [ASK], { bodyBytesMax: 4 });
    expect(client.text).toMatch(/^HTTP\/1\.1 413 /);
    expect(waypoint.backends.connections).toHaveLength(0);
    const partial = { bodyBytesMax: 4, isPartialBodyShown: true };
    const { authorizer } = await send(`${POST}abcdef`, [ASK], partial);
    expect(authorizer.text).toContain("x-envoy-auth-partial-body: true\r\n");
    expect(authorizer.text.endsWith("\r\n\r\nabcd")).toBe(true);
  });

  test("cannot be hidden behind Expect", async () => {
    const expecting = POST.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    const { client } = await send(expecting, [ASK], { bodyBytesMax: 8 });
    expect(client.text).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abcdef");
    await settle();
    const [asked] = waypoint.backends.connections as [MemoryPeer];
    expect(asked.text.endsWith("\r\n\r\nabcdef")).toBe(true);
    asked.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await settle();
    expect(asked.text.slice(asked.text.indexOf("POST /admin"))).not.toMatch(/expect/i);
    asked.send("HTTP/1.1 201 OK\r\ncontent-length: 0\r\n\r\n");
    await settle();
    expect(client.text).toMatch(/100 Continue\r\n\r\nHTTP\/1\.1 201 /);
  });
});

describe("connections", () => {
  const connecting = policy("ask", "CUSTOM", [field("namespace", "*")]);

  async function open(provider: Partial<AuthorizationProvider>) {
    waypoint = new FakeWaypoint(meshOf([connecting], [{ ...PROVIDER, ...provider }]));
    const [stream, remote] = MemoryStream.pair({ windowBytes: 32 * 1024 });
    const answers: (number | "accepted")[] = [];
    const answer = {
      accept: () => answers.push("accepted"),
      refuse: (status: number) => {
        answers.push(status);
        stream.reset("cancel");
      },
    };
    const { connection, context } = waypoint;
    new TcpSession(stream, connection, context, waypoint.target(9000), answer).start();
    await settle();
    return { answers, remote };
  }

  test("are refused where the provider speaks HTTP, and cannot be told of them", async () => {
    const { answers } = await open({});
    expect(answers).toEqual([403]);
    expect(waypoint.backends.connections).toHaveLength(0);
  });

  test("wait for a gRPC provider; one that says nothing refuses, or fails open", async () => {
    const closed = await open({ protocol: "GRPC" });
    expect(closed.answers).toEqual([]);
    await until(() => closed.answers.length > 0);
    expect(closed.answers).toEqual([403]);
    const { answers } = await open({ protocol: "GRPC", isFailOpen: true });
    await until(() => answers.length > 0);
    expect(answers).toEqual(["accepted"]);
  });
});
