/**
 * The worker processes of src/process/processes.test.ts: the proxies' programs as built, with the
 * snapshots of files (the arguments) in the place of the wire. Needs `npm run build`.
 */
import { Configuration } from "../../dist/control/configuration.js";
import { WaypointProgram } from "../../dist/process/waypoint-program.js";
import { runWorker } from "../../dist/process/workers/worker.js";
import { ZtunnelProgram } from "../../dist/process/ztunnel-program.js";

const configuration = new Configuration(process.argv.slice(2));
await configuration.load();
const source = configuration.control;
const state = {
  get current() {
    return source.current;
  },
  subscribe: (listener) => source.subscribe(listener),
  types: [],
  versions: () => new Map(),
  stage: () => [],
  commit: () => undefined,
};

await runWorker({
  waypoint: async () => (context) => new WaypointProgram(context.options, context, state),
  ztunnel: async () => (context) => new ZtunnelProgram(context.options, context, state),
});
configuration.close();
