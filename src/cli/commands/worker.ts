/**
 * `waystone worker`, which no help lists: a process that carries traffic for the one that forked
 * it. What it runs comes over the channel between them; without one there is nothing to do.
 */
import { WORKER_PROGRAMS } from "../../process/worker-programs.ts";
import { runWorker } from "../../process/workers/worker.ts";
import { usageError } from "../command-error.ts";

export async function worker(): Promise<number> {
  if (process.send === undefined || process.env.WAYSTONE_WORKER === undefined) {
    throw usageError("workers are started by --workers, not by hand");
  }
  await runWorker(WORKER_PROGRAMS);
  return 0;
}
