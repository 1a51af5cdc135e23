import { expect, test } from "vitest";
import { rolledOut } from "./rollout.ts";

const READY = {
  metadata: { generation: 2 },
  spec: { replicas: 2 },
  status: { observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2 },
};

type Answer = Awaited<ReturnType<Parameters<typeof rolledOut>[0]["client"]["get"]>>;

const deployment = (status: object): Answer => ({
  body: { ...READY, status: { ...READY.status, ...status } },
});

function wait(answers: readonly (() => Answer)[], timeoutMs = 5_000): Promise<void> {
  let asked = 0;
  const get = async () => answers[Math.min(asked++, answers.length - 1)]!();
  return rolledOut({ client: { get }, namespace: "n", name: "d", timeoutMs, lookMs: 5 });
}

test("rolledOut() waits until all Pods are new and available", async () => {
  await wait([
    () => {
      throw new Error("connection refused");
    },
    () => ({ isRefusal: true, status: 404, message: "not found", retryAfterMs: 0 }),
    () => deployment({ observedGeneration: 1 }),
    () => deployment({ updatedReplicas: 1 }),
    () => deployment({ replicas: 3 }),
    () => deployment({ availableReplicas: 1 }),
    () => deployment({}),
  ]);
});

test.each<[status: object, reason: string]>([
  [{ observedGeneration: 1 }, "it was not looked at"],
  [{ updatedReplicas: 1 }, "1 of 2 Pods are new"],
  [{ replicas: 3 }, "1 old Pods are to end"],
  [{ availableReplicas: 0 }, "0 of 2 Pods are available"],
])("rolledOut() gives up in time, and says that %j is the reason", async (status, reason) => {
  await expect(wait([() => deployment(status)], 40)).rejects.toThrow(
    `Deployment n/d is not ready after 0.04 s: ${reason}`,
  );
});
