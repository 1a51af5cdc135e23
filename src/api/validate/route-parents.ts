/** What all routes of the Gateway API have: parents, named rules, backends. */
import type { FieldPath } from "../object.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { unique } from "./uniqueness.ts";

interface ParentRef {
  readonly group?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name: string;
  readonly sectionName?: string;
  readonly port?: number;
}

interface BackendRef {
  readonly group?: string;
  readonly kind?: string;
  readonly port?: number;
}

const GATEWAY_GROUP = "gateway.networking.k8s.io";

export function* routeProblems(route: unknown): Problems {
  for (const { path, value } of each<readonly ParentRef[]>(route, "spec.parentRefs")) {
    yield* parentProblems(value, path);
  }
  for (const { path, value } of each<readonly { name?: string }[]>(route, "spec.rules")) {
    const named = (name: string) => `a rule of the name ${name}`;
    yield* unique(value, path, ({ name }) => name, named, ["name"]);
  }
  for (const { path, value } of each<BackendRef>(route, "spec.rules[].backendRefs[]")) {
    yield* backendProblems(value, path);
  }
}

/** One parent may be named several times, each time another part of it. */
function* parentProblems(refs: readonly ParentRef[], path: FieldPath): Problems {
  const parts = new Map<string, number>();
  const shapes = new Map<string, [index: number, shape: string]>();
  for (const [i, ref] of refs.entries()) {
    const { group = GATEWAY_GROUP, kind = "Gateway", namespace = "", name } = ref;
    const { sectionName = "", port = 0 } = ref;
    const parent = [group, kind, namespace, name].join("\0");
    const shape = `${sectionName === ""} ${port === 0}`;
    const same = parts.get(`${parent}\0${sectionName}\0${port}`);
    const other = shapes.get(parent);
    if (same !== undefined) {
      yield problem([...path, i], `names the same parent as item ${same}: remove one of the two`);
    } else if (other !== undefined && other[1] !== shape) {
      const both = "both have a sectionName, a port, or both";
      yield problem([...path, i], `names the parent of item ${other[0]}, too; then ${both}`);
    }
    parts.set(`${parent}\0${sectionName}\0${port}`, same ?? i);
    if (other === undefined) shapes.set(parent, [i, shape]);
  }
}

/** A Service is reached at a port; what other kinds need is theirs to say. */
export function* backendProblems(ref: BackendRef, path: FieldPath): Problems {
  const { group = "", kind = "Service", port } = ref;
  if (group === "" && kind === "Service" && port === undefined) {
    yield problem([...path, "port"], "is required to reach a Service");
  }
}
