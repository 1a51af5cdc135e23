/**
 * The same policies and requests for Waystone's judgment and for Envoy's JWT and RBAC filters:
 * the same status. `WAYSTONE_SEED` repeats a run, `WAYSTONE_PAIRS` is how many pairs are judged.
 */
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { AuthorizationPolicy } from "../../src/model/rule.ts";
import { DEFAULT_SETTINGS } from "../../src/model/settings.ts";
import { normalizePath, type PathNormalization } from "../../src/net/path.ts";
import { decide } from "../../src/policy/decide.ts";
import type { HttpFacts } from "../../src/policy/facts.ts";
import { Authenticator } from "../../src/policy/jwt/authenticator.ts";
import { forwardedAddress } from "../../src/waypoint/forwarded-for.ts";
import { SETTINGS } from "../policy/arbitraries.ts";
import { countFields, Shares } from "../policy/deciding-fields.ts";
import { HTTP_HOP, request, SERVICE, snapshotOf } from "../policy/mesh.ts";
import { freePorts } from "../support/free-ports.ts";
import { JudgeClient, startJudge } from "./envoy-judge.ts";
import { findEnvoy } from "./envoy-process.ts";
import { Root } from "./identities.ts";
import { FIELDS, type JudgedRequest, judgedRequests, policySets } from "./judged-policies.ts";
import { AUTHENTICATION, tokenOf } from "./judged-tokens.ts";

const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);
const PAIRS = Number(process.env.WAYSTONE_PAIRS ?? 40_000);
const REQUESTS_PER_SET = 40;
const AT_ONCE = 24;
const MODES: readonly PathNormalization[] = ["BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

const envoy = findEnvoy();
if (envoy === undefined) {
  process.stderr.write("differential: policies skipped, no Envoy here\n");
}
const cleanups: (() => void)[] = [];
afterAll(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
});

interface Pair {
  readonly set: number;
  readonly asked: JudgedRequest;
  readonly token: string | undefined;
}

test.skipIf(envoy === undefined)(
  "policies decide as Envoy's filters do",
  { timeout: 600_000 },
  async () => {
    const ports = await freePorts(3);
    const portOf = (port: number) => ports[[80, 8080, 9090].indexOf(port)]!;
    const modes = new Map(ports.map((port, i) => [port, MODES[i]!]));
    const count = Math.ceil(PAIRS / REQUESTS_PER_SET);
    const sets = fc.sample(policySets(portOf), { seed: SEED, numRuns: count });
    const asked = fc.sample(judgedRequests(portOf), { seed: SEED, numRuns: PAIRS });
    const pairs = asked.map((one, i): Pair => {
      return { set: i % count, asked: one, token: tokenOf(one, Date.now()) };
    });
    const envoySays = await askEnvoy(sets, pairs, modes);
    const shares = new Shares();
    const others: object[] = [];
    const statuses = new Map<string, number>();
    const waystone = new Judge(sets, modes);
    pairs.forEach((pair, i) => {
      const { status, facts } = waystone.judge(pair);
      if (facts) countFields(sets[pair.set]!, facts, waystone.settings, shares);
      const both = `${envoySays[i]} ${status}`;
      statuses.set(both, (statuses.get(both) ?? 0) + 1);
      if (status !== envoySays[i]) {
        others.push({ envoy: envoySays[i], waystone: status, ...pair, policies: sets[pair.set] });
      }
    });
    const decided = FIELDS.map((name) => `${name} ${shares.decided(name)}`).join(", ");
    process.stderr.write(
      `policies, seed ${SEED}: ${pairs.length} pairs, ${others.length} differ; Envoy's and Waystone's ` +
        `${[...statuses].map(([both, n]) => `${both}: ${n}`).join(", ")}; decided by ${decided}\n`,
    );
    expect(others.slice(0, 2)).toEqual([]);
    for (const name of FIELDS) {
      expect(shares.decided(name), `${name} decides`).toBeGreaterThanOrEqual(
        (500 * PAIRS) / 40_000,
      );
    }
  },
);

async function askEnvoy(
  sets: readonly (readonly AuthorizationPolicy[])[],
  pairs: readonly Pair[],
  ports: ReadonlyMap<number, PathNormalization>,
): Promise<number[]> {
  const root = await Root.make();
  const server = await root.issue("spiffe://td/ns/default/sa/judge");
  const target = { isTcp: false, ...SETTINGS };
  const end = await startJudge(envoy!, { sets, target, ports, rootPem: root.pem, server });
  cleanups.push(end);
  const ids = [...new Set(pairs.map(({ asked }) => asked.sourceIdentity))];
  const clients = new Map(
    await Promise.all(
      ids.map(async (id) => [id, id === undefined ? undefined : await root.issue(id)] as const),
    ),
  );
  const client = new JudgeClient();
  cleanups.push(() => client.end());
  const statuses: number[] = [];
  let next = 0;
  const one = async () => {
    for (let i = next++; i < pairs.length; i = next++) {
      const { asked, set, token } = pairs[i]!;
      const { sourceIdentity, serverName } = asked;
      const isTls = sourceIdentity !== undefined || serverName !== undefined;
      statuses[i] = await client.status({
        source: asked.sourceAddress,
        destination: asked.destinationAddress,
        port: asked.port,
        tls: isTls
          ? { client: clients.get(sourceIdentity), serverName: serverName ?? "" }
          : undefined,
        method: asked.method,
        target: asked.path + (queryOf(asked, token) && `?${queryOf(asked, token)}`),
        headers: ["host", asked.authority, "x-set", String(set), ...headersOf(asked, token).flat()],
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  return statuses;
}

function headersOf({ headers, flaw }: JudgedRequest, token: string | undefined) {
  const own = Object.entries(headers);
  if (token === undefined || flaw === "parameter") return own;
  return [...own, ["authorization", `Bearer ${token}`] as const];
}

function queryOf({ query, flaw }: JudgedRequest, token: string | undefined): string {
  if (token === undefined || flaw !== "parameter") return query;
  return `${query}${query && "&"}access_token=${token}`;
}

/** What a waypoint does, without its wires. */
class Judge {
  readonly settings = { ...DEFAULT_SETTINGS, ...SETTINGS };
  readonly #authenticator = new Authenticator([AUTHENTICATION]);
  readonly #snapshots;
  readonly #modes;

  constructor(
    sets: readonly (readonly AuthorizationPolicy[])[],
    modes: ReadonlyMap<number, PathNormalization>,
  ) {
    this.#modes = modes;
    this.#snapshots = sets.map((set) =>
      snapshotOf({ policies: { [`Service/${SERVICE}`]: set }, settings: SETTINGS }),
    );
  }

  judge({ set, asked, token }: Pair): { status: number; facts?: HttpFacts } {
    const path = normalizePath(asked.path, this.#modes.get(asked.port)!);
    if (path === undefined) return { status: 400 };
    const headers = Object.fromEntries(headersOf(asked, token));
    const facts = request({
      sourceIdentity: asked.sourceIdentity,
      sourceAddress: asked.sourceAddress,
      destinationAddress: asked.destinationAddress,
      destinationPort: asked.port,
      serverName: asked.serverName,
      remoteAddress: forwardedAddress(headers["x-forwarded-for"], 0),
      method: asked.method,
      path,
      query: queryOf(asked, token),
      authority: asked.authority,
      headers,
    });
    const authentication = this.#authenticator.authenticate(facts, Date.now());
    if (!authentication.isPassed) return { status: authentication.status };
    const known = { ...facts, jwt: authentication.jwt };
    const { verdict } = decide(this.#snapshots[set]!, HTTP_HOP, known, 0);
    return { status: verdict.isAllowed ? 200 : 403, facts: known };
  }
}
