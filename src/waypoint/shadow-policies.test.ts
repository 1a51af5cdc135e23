/** AUDIT policies and dry runs at a waypoint: they decide nothing, and are counted. */
import { expect, test } from "vitest";
import { field, policyOf } from "../../test/policy/mesh.ts";
import { MemoryStream, settle } from "../../test/support/memory-stream.ts";
import { indexOf } from "../../test/support/small-mesh.ts";
import { FakeWaypoint, meshWith, REVIEWS } from "../../test/support/waypoint-session.ts";
import type { AuthorizationPolicy } from "../model/rule.ts";
import { TcpSession } from "./tcp-session.ts";

const rule = (to: AuthorizationPolicy["rules"][number]["to"]) => ({
  ...{ index: 0, from: [], to, when: [], position: undefined },
});
const policy = (
  name: string,
  action: AuthorizationPolicy["action"],
  isDryRun: boolean,
  ...methods: string[]
) => {
  const to = methods.length === 0 ? [] : [[field("method", ...methods)]];
  return policyOf({ key: `shop/${name}`, action, isDryRun, rules: [rule(to)] });
};

function waypointWith(...policies: readonly AuthorizationPolicy[]): FakeWaypoint {
  return new FakeWaypoint({
    ...meshWith(1),
    policies: indexOf({ [`Service/${REVIEWS}`]: policies }),
  });
}

async function send(waypoint: FakeWaypoint, ...methods: string[]): Promise<string> {
  let answers = "";
  for (const method of methods) {
    const { client } = waypoint.open();
    client.send(`${method} /a HTTP/1.1\r\nhost: reviews\r\ncontent-length: 0\r\n\r\n`);
    await settle();
    answers += client.text.split("\r\n", 1)[0];
  }
  return answers;
}

/** `istio_dry_run_…{policy} value`, of the metrics that this is about. */
function counted(waypoint: FakeWaypoint): string[] {
  const lines = waypoint.metrics().split("\n");
  const shadows = lines.filter((line) => /^(istio_dry_run_|waystone_policy_audited)/.test(line));
  for (const line of shadows) {
    expect(line).toContain('reporter="waypoint"');
    expect(line).toContain('destination_service="reviews.default.svc.cluster.local"');
  }
  return shadows.map((line) =>
    line.replace(
      /^(?:istio_dry_run_|waystone_policy_)(\w+)_total\{.*policy="(.*?)".*\} /,
      "$1 $2 ",
    ),
  );
}

test("a dry run of a DENY denies nothing and counts what it would deny", async () => {
  const waypoint = waypointWith(policy("no-post", "DENY", true, "POST"));
  expect(await send(waypoint, "GET", "POST", "POST")).toBe("");
  expect(counted(waypoint)).toEqual([
    "deny_shadow_allowed  1",
    "deny_shadow_denied shop/no-post 2",
  ]);
});

test("a dry run of an ALLOW lets in what it would not, and is not asked about what is denied", async () => {
  const waypoint = waypointWith(
    policy("read", "ALLOW", true, "GET"),
    policy("no-put", "DENY", false, "PUT"),
  );
  expect(await send(waypoint, "GET", "POST", "PUT")).toBe("HTTP/1.1 403 Forbidden");
  expect(counted(waypoint)).toEqual(["allow_shadow_allowed shop/read 1", "allow_shadow_denied  1"]);
});

test("each AUDIT policy that matches is counted, also of what is denied", async () => {
  const waypoint = waypointWith(
    policy("all", "AUDIT", false),
    policy("writes", "AUDIT", false, "PUT", "POST"),
    policy("tried", "AUDIT", true),
    policy("no-put", "DENY", false, "PUT"),
  );
  await send(waypoint, "GET", "POST", "PUT");
  expect(counted(waypoint)).toEqual(["audited shop/all 3", "audited shop/writes 2"]);
});

test("TCP connections are counted once, without their HTTP attributes", async () => {
  const waypoint = waypointWith(
    policy("read", "ALLOW", true, "GET"),
    policy("any", "AUDIT", false),
  );
  const [stream] = MemoryStream.pair();
  const answer = { accept() {}, refuse: () => stream.reset("refused") };
  const target = waypoint.target(9000);
  new TcpSession(stream, waypoint.connection, waypoint.context, target, answer).start();
  await settle();
  expect(counted(waypoint)).toEqual(["allow_shadow_denied  1", "audited shop/any 1"]);
});

test("without such policies nothing is counted", async () => {
  const waypoint = waypointWith(policy("read", "ALLOW", false, "GET"));
  await send(waypoint, "GET", "POST");
  expect(counted(waypoint)).toEqual([]);
});
