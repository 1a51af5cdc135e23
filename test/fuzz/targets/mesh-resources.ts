/**
 * Resources as a control plane that is wrong, or none, might send them: the first byte chooses the
 * type, the rest is the message.
 *
 * Oracle. Nothing throws out of the proxy's state. What is refused is named, and leaves no version
 * and no trace in the Snapshot; what is taken is there after the commit of its digest. A revision
 * is read, or refused with an error.
 */
import { MeshState } from "../../../src/agent/mesh-state.ts";
import { ControlPlane } from "../../../src/control/control-plane.ts";
import { MeshResources } from "../../../src/control/serve/mesh-resources.ts";
import { ResourceDigest } from "../../../src/wire/digest.ts";
import { RESOURCE_TYPES } from "../../../src/wire/resource.ts";
import { decodeRevision, encodeRevision } from "../../../src/wire/revision.ts";
import { generateMesh } from "../../support/generated-mesh.ts";
import { check, type Target } from "../target.ts";

const TYPES = Object.values(RESOURCE_TYPES);
const NAME = /it calls itself (.*)$/s;

function run(input: Buffer): string {
  const type = TYPES[(input[0] ?? 0) % TYPES.length]!;
  const bytes = input.subarray(1);
  if (type === RESOURCE_TYPES.revision) return runRevision(bytes);
  const state = new MeshState();
  const stage = (name: string) => state.stage(type, [{ type, name, version: "1", bytes }], []);
  let name = "name";
  let [problem] = stage(name);
  // The name that it gives itself is its right one.
  const own = problem === undefined ? undefined : NAME.exec(problem)?.[1];
  if (own !== undefined) {
    name = own;
    [problem] = stage(name);
  }
  const digest = new ResourceDigest();
  if (problem === undefined) digest.add(type, name, "1");
  else check(problem.startsWith(`${name}: `), "a refusal without its name");
  check(state.versions(type).size === (problem === undefined ? 1 : 0), "a version too many");
  const refusal = state.commit({ id: 7, digest: digest.toString() });
  check(refusal === undefined, `not committed: ${refusal}`);
  check(state.current.revision === 7, "another revision");
  return `${TYPES.indexOf(type)} ${problem?.replace(/[^a-z_ ]/gi, "").slice(0, 40) ?? "taken"}`;
}

function runRevision(bytes: Buffer): string {
  try {
    const { id, digest } = decodeRevision(bytes);
    check(typeof id === "number" && typeof digest === "string", "no revision");
    return `revision ${digest.length > 0} ${id > 0}`;
  } catch (caught) {
    check(caught instanceof Error, "what is thrown is no error");
    return "no revision";
  }
}

function seeds(): Buffer[] {
  const control = new ControlPlane({ enrolment: "label" });
  const { objects } = generateMesh({ services: 1, podsPerService: () => 1 });
  control.apply({ upserted: objects, removed: [] });
  const source = new MeshResources(control);
  const found = TYPES.flatMap((type, index) =>
    [...source.resources(type).values()].map(({ bytes }) =>
      Buffer.concat([Buffer.of(index), bytes]),
    ),
  );
  const revision = encodeRevision(source.revision).bytes;
  const index = TYPES.indexOf(RESOURCE_TYPES.revision);
  return [...found, Buffer.concat([Buffer.of(index), revision])];
}

export const meshResources: Target = {
  name: "mesh-resources",
  dictionary: [
    ...'[] {} null true 0 -1 1e9 "" "key": "rules":[ "type":"exact" __proto__ waystone.v1.Origin'.split(
      " ",
    ),
    "\x0a\x00",
    "\x12\xff\xff\xff\x7f",
    "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
  ],
  seeds,
  run,
};
