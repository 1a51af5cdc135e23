import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { log } from "../../kit/log.ts";
import { MeshCertificateAuthority } from "../certificate-authority.ts";
import { ServerCertificate } from "./server-certificate.ts";

const logger = log("test");
logger.level = "silent";

const HOUR_MS = 3_600_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.useRealTimers();
});

test("it is renewed at half its life, and again after a failure", async () => {
  const directory = await mkdtemp(join(tmpdir(), "server-certificate-"));
  const mesh = await MeshCertificateAuthority.open({ directory, trustDomain: "cluster.local" });
  await rm(directory, { recursive: true });
  let failing = false;
  const made: string[] = [];
  const authority = {
    issueServer: async () => {
      if (failing) throw new Error("no");
      const one = await mesh.issueServer({ names: ["localhost"], ttlMs: HOUR_MS });
      made.push(one.certificatePem);
      return one;
    },
  };
  const server = await ServerCertificate.issue({ authority, names: ["localhost"], log: logger });
  const first = server.current;
  await vi.advanceTimersByTimeAsync(HOUR_MS / 2 - 60_000);
  expect(server.current).toBe(first);
  failing = true;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(server.current).toBe(first);
  failing = false;
  await vi.advanceTimersByTimeAsync(120_000);
  await vi.waitFor(() => expect(made).toHaveLength(2));
  expect(server.current.certPem).toBe(made[1]);
  server.close();
  await vi.advanceTimersByTimeAsync(10 * HOUR_MS);
  expect(made).toHaveLength(2);
});
