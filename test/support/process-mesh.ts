/**
 * The mesh of examples/processes at addresses of a test's own, so that tests can run beside one
 * another and beside a person's.
 */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";

const EXAMPLE = new URL("../../examples/processes/", import.meta.url);
const EXAMPLE_GROUP = "127.81.0.";

export interface MeshAddresses {
  /** `127.x.y.`, in the place of the example's. */
  readonly group: string;
  readonly client: string;
  readonly echo: string;
  readonly waypoints: readonly [string, string];
  readonly echoService: string;
  readonly controlPlane: string;
}

/** Addresses that other tests of this run and of others do not have. */
export function meshAddresses(): MeshAddresses {
  const draw = (count: number) => Math.floor(Math.random() * count);
  const group = `127.${130 + draw(100)}.${draw(255)}.`;
  return {
    group,
    client: `${group}1`,
    echo: `${group}2`,
    waypoints: [`${group}3`, `${group}4`],
    echoService: `${group}11`,
    controlPlane: `${group}21`,
  };
}

/** The example without its policy; a waypoint's Pod that is not ready is on its way out. */
export async function manifests(
  { group }: MeshAddresses,
  areReady: readonly [boolean, boolean] = [true, true],
): Promise<string> {
  const texts = ["mesh.yaml", "waypoint.yaml"].map((file) => readExample(file));
  const documents = (await Promise.all(texts)).join("---\n").split(/^---$/m);
  const changed = documents.map((text) => {
    const pod = /^ {2}name: wp-([01])$/m.exec(text);
    const isReady = pod === null || areReady[Number(pod[1]) as 0 | 1];
    return isReady ? text : text.replace('status: "True"', 'status: "False"');
  });
  return changed.join("---").replaceAll(EXAMPLE_GROUP, group);
}

/** The example's policy for another path. */
export async function denyPath(path: string): Promise<string> {
  return (await readExample("policy.yaml")).replace("/secret", path);
}

function readExample(file: string): Promise<string> {
  return readFile(new URL(file, EXAMPLE), "utf8");
}

/** The application: tells who reached it. */
export async function startEcho(at: MeshAddresses): Promise<Server> {
  const server = createServer((request, response) => {
    const { remoteAddress } = request.socket;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ path: request.url, remoteAddress }));
  });
  await new Promise<void>((resolve) => server.listen(8080, at.echo, resolve));
  return server;
}
