import { afterEach, expect, test } from "vitest";
import { field } from "../../test/policy/mesh.ts";
import { type MemoryPeer, settle } from "../../test/support/memory-stream.ts";
import { indexOf } from "../../test/support/small-mesh.ts";
import { Issuer } from "../../test/support/tokens.ts";
import { FakeWaypoint, meshWith, REVIEWS } from "../../test/support/waypoint-session.ts";
import type { JwtRule } from "../model/request-authentication.ts";
import type { AuthorizationPolicy } from "../model/rule.ts";
import type { Snapshot } from "../model/snapshot.ts";

const issuer = new Issuer("ES256");
const source = { kind: "RequestAuthentication", namespace: "default", name: "jwt" };
const RULE: JwtRule = {
  issuer: "me",
  audiences: ["shop"],
  jwks: issuer.jwks(),
  fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
  fromParams: ["token"],
  fromCookies: ["t"],
  forwardOriginalToken: false,
  outputPayloadToHeader: "x-payload",
  outputClaimToHeaders: [{ header: "x-group", claim: "group" }],
  spaceDelimitedClaims: [],
};
const CLAIMS = { iss: "me", sub: "you", aud: "shop", group: "admin" };
const TOKEN = issuer.token(CLAIMS);

const ADMINS: AuthorizationPolicy = {
  key: "default/admins",
  action: "ALLOW",
  provider: undefined,
  rules: [
    {
      index: 0,
      from: [[field("requestPrincipal", "me/you")]],
      to: [],
      when: [field("claim:group", "admin")],
      position: undefined,
    },
  ],
  isDryRun: false,
  source,
  position: undefined,
};

function meshOf(rule: Partial<JwtRule>, policies: readonly AuthorizationPolicy[]): Snapshot {
  const rules = [{ ...RULE, ...rule }];
  const authentication = { key: "default/jwt", rules, source, position: undefined };
  return {
    ...meshWith(1),
    authentications: indexOf({ [`Service/${REVIEWS}`]: [authentication] }),
    policies: indexOf({ [`Service/${REVIEWS}`]: policies }),
  };
}

let waypoint = new FakeWaypoint();

async function send(
  headers: string,
  target = "/",
  rule: Partial<JwtRule> = {},
  policies = [ADMINS],
) {
  waypoint = new FakeWaypoint(meshOf(rule, policies));
  const { client } = waypoint.open();
  client.send(`GET ${target} HTTP/1.1\r\nhost: reviews\r\n${headers}\r\n`);
  await settle();
  const backend = waypoint.backends.connections[0] as MemoryPeer | undefined;
  return { client, backend };
}

afterEach(async () => {
  for (const session of waypoint.context.sessions) session.drain(0);
  for (const stream of waypoint.backends.streams) stream.reset("cancel");
  await settle();
});

test("the backend gets what a good token says, and not the token", async () => {
  const forged = "X-Group: root\r\nx-payload: forged\r\n";
  const { backend } = await send(`authorization: Bearer ${TOKEN}\r\n${forged}`);
  const [line, ...lines] = backend!.text.trim().split("\r\n");
  expect(line).toBe("GET / HTTP/1.1");
  expect(lines).toContain("x-group: admin");
  expect(lines).toContain(`x-payload: ${TOKEN.split(".")[1]}`);
  expect(backend!.text).not.toMatch(/authorization|forged|root/i);
});

test("a token is taken out of the query, and of the cookies", async () => {
  const { backend } = await send("", `/p?a=1&token=${TOKEN}&b=2`);
  expect(backend!.text).toMatch(/^GET \/p\?a=1&b=2 HTTP/);
  const cookies = await send(`cookie: a=1; t=${TOKEN}; b=2\r\n`);
  expect(cookies.backend!.text).toContain("cookie: a=1; b=2\r\n");
  const kept = await send(`authorization: Bearer ${TOKEN}\r\n`, "/", {
    forwardOriginalToken: true,
  });
  expect(kept.backend!.text).toContain(TOKEN);
});

test.each([
  ["text beyond Latin-1", "Łódź €", "Łódź €"],
  ["a number", 7, "7"],
  ["a truth value", false, "false"],
  ["a list", ["a"], "WyJhIl0="],
  ["an object", { a: 1 }, "eyJhIjoxfQ=="],
])("a claim that is %s becomes a header", async (_, group, expected) => {
  const token = issuer.token({ ...CLAIMS, group });
  const { backend } = await send(`authorization: Bearer ${token}\r\n`, "/", {}, []);
  const text = Buffer.from(backend!.text, "latin1").toString("utf8");
  expect(text).toContain(`\r\nx-group: ${expected}\r\n`);
});

test.each([
  ["has a line break", "a\r\nx-admin: yes"],
  ["has a NUL", "a\0"],
  ["is empty", ""],
  ["is null", null],
])("a claim that %s becomes no header", async (_, group) => {
  const token = issuer.token({ ...CLAIMS, group });
  const { backend } = await send(
    `authorization: Bearer ${token}\r\nx-group: root\r\n`,
    "/",
    {},
    [],
  );
  expect(backend!.text).toMatch(/^GET \/ HTTP/);
  expect(backend!.text).not.toMatch(/x-group|x-admin/);
});

test("without a token policies decide, and what clients claim is dropped", async () => {
  const { client } = await send("");
  expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
  const { backend } = await send("x-group: admin\r\n", "/", {}, []);
  expect(backend!.text).not.toContain("x-group");
});

test.each([
  ["expired", { exp: 1 }, 401, "Jwt is expired"],
  ["for somebody else", { aud: "other" }, 403, "Audiences in Jwt are not allowed"],
  ["of a stranger", { iss: "other" }, 401, "Jwt issuer is not configured"],
])("a token that is %s is refused, in Envoy's words", async (_, claims, status, reason) => {
  const token = issuer.token({ ...CLAIMS, ...claims });
  const { client, backend } = await send(`authorization: Bearer ${token}\r\n`, "/x", {}, []);
  expect(backend).toBeUndefined();
  expect(client.text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  expect(client.text).toContain(
    'www-authenticate: Bearer realm="http://reviews/x", error="invalid_token"\r\n',
  );
  expect(client.text.endsWith(`\r\n\r\n${reason}`)).toBe(true);
  expect(await waypoint.accessLines()).toEqual([
    expect.stringContaining(`jwt_authn_access_denied{${reason.replaceAll(" ", "_")}}`),
  ]);
});
