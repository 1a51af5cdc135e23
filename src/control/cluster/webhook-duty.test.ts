/** The API server comes to know the webhook, and goes on knowing it. */
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { Failure } from "../../kit/failure.ts";
import type { Logger } from "../../kit/log.ts";
import { webhookDuty } from "./webhook-duty.ts";

interface Configuration {
  readonly metadata: { readonly resourceVersion: string };
  readonly webhooks: readonly {
    readonly name: string;
    readonly failurePolicy: string;
    readonly clientConfig: { readonly service: object; readonly caBundle?: string };
  }[];
}

const webhook = (name: string) => ({
  name,
  failurePolicy: "Ignore",
  clientConfig: { service: { name: "istiod", namespace: "istio-system" } },
});

const LOOK_MS = 20;
let stop = new AbortController();
afterEach(() => {
  stop.abort();
  stop = new AbortController();
});

function rig(names: readonly string[] | null = ["a", "b"]) {
  let version = 1;
  let listener = () => {};
  const state = {
    rootsPem: "ROOT 1",
    lines: [] as string[],
    troubles: [] as (number | Error)[],
    writes: 0,
    object: (names === null
      ? undefined
      : { metadata: { resourceVersion: "1" }, webhooks: names.map(webhook) }) as
      | Configuration
      | undefined,
    say: () => listener(),
  };
  const trouble = () => {
    const next = state.troubles.shift();
    if (next instanceof Error) throw next;
    return next === undefined
      ? undefined
      : { isRefusal: true as const, status: next, message: "no", retryAfterMs: 0 };
  };
  const client = {
    get: async () => {
      const { object } = state;
      if (object === undefined) {
        return { isRefusal: true as const, status: 404, message: "none", retryAfterMs: 0 };
      }
      return trouble() ?? { body: structuredClone(object) };
    },
    write: async (_kind: string, _path: string, _query: object, body: unknown) => {
      state.writes++;
      const { metadata, webhooks } = body as Configuration;
      if (metadata.resourceVersion !== state.object?.metadata.resourceVersion) {
        return { isRefusal: true as const, status: 409, message: "conflict", retryAfterMs: 0 };
      }
      state.object = { metadata: { resourceVersion: String(++version) }, webhooks };
      return { body: state.object };
    },
  };
  const roots = {
    get rootsPem() {
      return state.rootsPem;
    },
    onRoots: (to: () => void) => {
      listener = to;
      return () => {
        listener = () => {};
      };
    },
  };
  const logger = { warn: (_fields: object, text: string) => state.lines.push(text) };
  const options = { client, roots, lookMs: LOOK_MS, logger: logger as unknown as Logger };
  webhookDuty(options as never).lead(stop.signal);
  return state;
}

const bundles = ({ object }: { object: Configuration | undefined }) =>
  object?.webhooks.map(({ clientConfig }) =>
    Buffer.from(clientConfig.caBundle ?? "", "base64").toString(),
  );

test("each of its webhooks gets the roots and keeps all else; nothing is written twice", async () => {
  const state = rig();
  await expect.poll(() => bundles(state)).toEqual(["ROOT 1", "ROOT 1"]);
  expect(state.object?.webhooks[0]).toMatchObject(webhook("a"));
  await pause(4 * LOOK_MS);
  expect(state.writes).toBe(1);
});

test("other roots are told, and what another hand takes away comes back", async () => {
  const state = rig(["a"]);
  await expect.poll(() => bundles(state)).toEqual(["ROOT 1"]);
  state.rootsPem = "ROOT 1\nROOT 2";
  state.say();
  await expect.poll(() => bundles(state)).toEqual(["ROOT 1\nROOT 2"]);
  state.object = { metadata: { resourceVersion: "77" }, webhooks: [webhook("a")] };
  await expect.poll(() => bundles(state)).toEqual(["ROOT 1\nROOT 2"]);
});

test("where none is installed none is made, and nobody complains", async () => {
  const state = rig(null);
  await pause(3 * LOOK_MS);
  expect([state.writes, state.lines]).toEqual([0, []]);
});

test("what hinders it is said once, and tried again", async () => {
  const state = rig(["a"]);
  await expect.poll(() => bundles(state)).toEqual(["ROOT 1"]);
  const away = new Failure("KUBERNETES_UNAVAILABLE", "away");
  state.troubles.push(403, 403, 403, away, away);
  state.rootsPem = "ROOT 2";
  state.say();
  await expect.poll(() => bundles(state)).toEqual(["ROOT 2"]);
  expect(state.lines.length).toBe(2);
});

test("whoever does not lead any more writes nothing", async () => {
  const state = rig(["a"]);
  await expect.poll(() => bundles(state)).toEqual(["ROOT 1"]);
  stop.abort();
  state.rootsPem = "ROOT 2";
  state.say();
  await pause(3 * LOOK_MS);
  expect(bundles(state)).toEqual(["ROOT 1"]);
});
