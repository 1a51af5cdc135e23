/** What a worker process can run: the programs of the proxies, each loaded when it is its turn. */
import type { WaypointProgramOptions } from "./waypoint-program.ts";
import type { WorkerProgram } from "./workers/worker.ts";
import type { ZtunnelProgramOptions } from "./ztunnel-program.ts";

export const WORKER_PROGRAMS: Readonly<Record<string, () => Promise<WorkerProgram>>> = {
  async waypoint() {
    const { MeshState } = await import("../agent/mesh-state.ts");
    const { WaypointProgram } = await import("./waypoint-program.ts");
    return (context) =>
      new WaypointProgram(context.options as WaypointProgramOptions, context, new MeshState());
  },
  async ztunnel() {
    const { MeshState } = await import("../agent/mesh-state.ts");
    const { ZtunnelProgram } = await import("./ztunnel-program.ts");
    return (context) =>
      new ZtunnelProgram(context.options as ZtunnelProgramOptions, context, new MeshState());
  },
};
