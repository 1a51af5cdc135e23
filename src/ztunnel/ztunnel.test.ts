/** A ztunnel over loopback: real sockets, real TLS, a snapshot that changes under it. */
import { once } from "node:events";
import type net from "node:net";
import { afterEach, expect, test } from "vitest";
import { l4Policy } from "../../test/support/l4-policies.ts";
import { makeWorkload } from "../../test/support/small-mesh.ts";
import {
  plainSnapshot,
  REVIEWS_KEY,
  REVIEWS_VIP,
  withPolicies,
  ZtunnelMesh,
} from "../../test/support/ztunnel-mesh.ts";
import { Failure } from "../kit/failure.ts";
import { setLogLevel } from "../kit/log.ts";

setLogLevel("silent");

const CLIENT = "127.70.0.2";
const REVIEWS = "127.70.0.1";
const VM = "127.70.0.9";
const STRANGER = "127.70.0.77";

let mesh: ZtunnelMesh;
afterEach(() => mesh.stop());

async function start(authority?: Parameters<typeof ZtunnelMesh.start>[0]): Promise<void> {
  mesh = await ZtunnelMesh.start(authority);
}

/** Says who it is talking to, then what it heard, when the other side has ended. */
function parrot(socket: net.Socket): void {
  let heard = "";
  socket.write(`hello ${socket.remoteAddress}\n`);
  socket.on("data", (bytes) => {
    heard += bytes.toString();
  });
  socket.on("end", () => socket.end(`heard ${heard}`));
}

function text(socket: net.Socket): { all: string; over: Promise<string> } {
  const seen = { all: "", over: Promise.resolve("") };
  socket.on("data", (bytes) => {
    seen.all += bytes.toString();
  });
  seen.over = new Promise((resolve) => {
    socket.once("end", () => resolve(seen.all));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
  });
  return seen;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 5_000;
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Sends a word, half-closes, and gives what came back; or the error. */
async function exchange(from: string, address: string, port: number): Promise<string> {
  const socket = await mesh.captured(from, address, port);
  const { over } = text(socket);
  socket.end("word");
  const answer = await over;
  socket.destroy();
  return answer;
}

/** Nothing is open, and each connection was counted once. */
async function settled(counts: { opened: number; failed: number }): Promise<void> {
  await until("nothing is carried", () => mesh.ztunnel.connectionCount === 0);
  expect(mesh.count("connections_opened")).toBe(counts.opened);
  expect(mesh.count("connections_closed")).toBe(counts.opened);
  expect(mesh.count("connections_failed")).toBe(counts.failed);
}

test("a service's client gets to the application, half-closes and its own address included", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  expect(await exchange(CLIENT, REVIEWS_VIP, 80)).toBe(`hello ${CLIENT}\nheard word`);
  await settled({ opened: 2, failed: 0 });
  for (const reporter of ["source", "destination"]) {
    const labels = {
      reporter,
      source_workload: "client",
      source_principal: "spiffe://cluster.local/ns/default/sa/client",
      destination_service: "reviews.default.svc.cluster.local",
      connection_security_policy: "mutual_tls",
      response_flags: "-",
    };
    // `client` as workloadName comes from the small mesh; both ends agree on who it was.
    expect(mesh.count("connections_opened", labels), reporter).toBe(1);
    expect(mesh.count("received_bytes", labels), reporter).toBe(4);
    expect(mesh.count("sent_bytes", labels), reporter).toBe(`hello ${CLIENT}\nheard word`.length);
  }
});

test("a plain workload and an address of nobody are reached without a tunnel", async () => {
  await start();
  await mesh.app("vm", 7000, parrot);
  expect(await exchange(CLIENT, VM, 7000)).toBe(`hello ${CLIENT}\nheard word`);
  const elsewhere = await mesh.listen(parrot);
  expect(await exchange(CLIENT, "127.0.0.1", elsewhere)).toContain("heard word");
  await settled({ opened: 2, failed: 0 });
  const plain = { reporter: "source", connection_security_policy: "unknown" };
  expect(mesh.count("connections_opened", plain)).toBe(2);
});

test("a captured connection to a listener of ours is never passed through to it", async () => {
  await start();
  let accepted = 0;
  const port: number = await mesh.listen((socket) => {
    accepted++;
    mesh.ztunnel.acceptCaptured(socket, { address: "127.0.0.1", port });
  });
  expect(await text(mesh.connect(port)).over).toBe("ECONNRESET");
  expect(accepted).toBe(1);
  await settled({ opened: 0, failed: 1 });
});

test("what has no way is reset, counted, and can be asked about", async () => {
  await start();
  expect(await exchange(CLIENT, REVIEWS_VIP, 81)).toBe("ECONNRESET");
  await settled({ opened: 0, failed: 1 });
  expect(mesh.count("connections_failed", { reporter: "source", response_flags: "CONNECT" })).toBe(
    1,
  );
  expect(mesh.decisions.recent(2)).toMatchObject([
    {
      proxy: "ztunnel",
      facts: { sourceAddress: CLIENT, destinationAddress: REVIEWS_VIP, destinationPort: 81 },
      payload: { refusal: expect.stringContaining("has no port 81 (it has 80, 9000)") },
    },
  ]);
});

test("a tunnel's authority must be the workload's, and no port of the mesh", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  const name = "reviews.default.svc.cluster.local";
  const statuses: Record<string, number> = {
    [`${REVIEWS}:8080`]: 200,
    // A service's name and port stand for the workload's.
    [`${name}:80`]: 200,
    [`${name}:81`]: 503,
    "other.default.svc.cluster.local:80": 503,
    "127.70.0.3:8080": 400,
    [`${REVIEWS_VIP}:80`]: 400,
    [REVIEWS]: 400,
    [`${REVIEWS}:15001`]: 503,
    [`${REVIEWS}:15006`]: 503,
    [`${REVIEWS}:15008`]: 503,
  };
  for (const [authority, status] of Object.entries(statuses)) {
    expect(await mesh.ask(REVIEWS, authority), authority).toBe(status);
  }
  await settled({ opened: 2, failed: 0 });
});

test("an application that does not listen is 503, and a reset for the client", async () => {
  await start();
  expect(await mesh.ask(REVIEWS, `${REVIEWS}:8080`)).toBe(503);
  expect(await exchange(CLIENT, REVIEWS, 8080)).toBe("ECONNRESET");
  await settled({ opened: 0, failed: 3 });
  expect(mesh.count("connections_failed", { response_flags: "CONNECT" })).toBe(3);
});

test("policy denies with 401, and both ends count a denial", async () => {
  await start();
  let reached = 0;
  await mesh.app("reviews-v1", 8080, () => void reached++);
  mesh.swap(withPolicies(plainSnapshot(), l4Policy("deny", "DENY", { destinationPorts: [8080] })));
  expect(await mesh.ask(REVIEWS, `${REVIEWS}:8080`)).toBe(401);
  expect(await exchange(CLIENT, REVIEWS_VIP, 80)).toBe("ECONNRESET");
  expect(reached).toBe(0);
  await settled({ opened: 0, failed: 3 });
  const denied = { response_flags: "DENY" };
  expect(mesh.count("connections_failed", { ...denied, reporter: "destination" })).toBe(2);
  expect(mesh.count("connections_failed", { ...denied, reporter: "source" })).toBe(1);
  expect(mesh.decisions.recent(3).map((d) => d.payload.flags)).toEqual(["DENY", "DENY"]);
});

test("a policy that is tried denies nothing, and is counted once for a connection", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  const deny = l4Policy("deny", "DENY", { destinationPorts: [8080] });
  mesh.swap(withPolicies(plainSnapshot(), { ...deny, isDryRun: true }));
  expect(await mesh.ask(REVIEWS, `${REVIEWS}:8080`)).toBe(200);
  expect(mesh.registry.expose()).toMatch(
    /istio_dry_run_deny_shadow_denied_total\{reporter="destination",.*policy="default\/deny"\} 1\n/,
  );
});

test("policy about the destination's address reads the authority, whatever the socket says", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  const [address, length] = [Buffer.from([127, 70, 0, 1]), 32];
  const deny = l4Policy("deny", "DENY", { destinationIps: [{ address, length }] as never });
  expect(deny.rules).toHaveLength(1);
  expect(await mesh.ask(REVIEWS, `${REVIEWS}:8080`)).toBe(200);
});

test("who comes in plain text is judged without an identity, and reset", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  expect(await exchange(STRANGER, REVIEWS_VIP, 80)).toBe(`hello ${STRANGER}\nheard word`);
  const onlyClient = l4Policy("allow", "ALLOW", { serviceAccounts: ["default/client"] as never });
  mesh.swap(withPolicies(plainSnapshot(), onlyClient));
  expect(await exchange(STRANGER, REVIEWS_VIP, 80)).toBe("ECONNRESET");
  expect(await exchange(VM, REVIEWS, 8080)).toBe("ECONNRESET");
  await settled({ opened: 1, failed: 2 });
  const plain = { reporter: "destination", connection_security_policy: "unknown" };
  expect(mesh.count("connections_failed", { ...plain, source_principal: "unknown" })).toBe(2);
});

test("a change of policy cuts the connections it forbids and leaves the others", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  await mesh.app("reviews-v1", 9000, parrot);
  const forbidden = text(await mesh.captured(CLIENT, REVIEWS_VIP, 80));
  const other = await mesh.captured(CLIENT, REVIEWS_VIP, 9000);
  const kept = text(other);
  await until("both are greeted", () => forbidden.all !== "" && kept.all !== "");
  mesh.swap(withPolicies(plainSnapshot(), l4Policy("deny", "DENY", { destinationPorts: [8080] })));
  expect(await forbidden.over).toBe("ECONNRESET");
  other.end("still here");
  expect(await kept.over).toContain("heard still here");
  await settled({ opened: 4, failed: 0 });
});

test("policy that changes while the application is dialled counts", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  // One that is open already has been judged again by then; the group is as new as can be.
  const first = text(await mesh.captured(STRANGER, REVIEWS, 8080));
  await until("the first is greeted", () => first.all !== "");
  const second = await mesh.captured(STRANGER, REVIEWS, 8080);
  const before = mesh.ztunnel.connectionCount;
  await until("the second is dialled", () => mesh.ztunnel.connectionCount > before);
  mesh.swap(withPolicies(plainSnapshot(), l4Policy("deny", "DENY", { destinationPorts: [8080] })));
  expect(await text(second).over).toBe("ECONNRESET");
  expect(await first.over).toBe("ECONNRESET");
  await until("nothing is carried", () => mesh.ztunnel.connectionCount === 0);
});

test("a workload that goes takes its connections with it", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  const seen = text(await mesh.captured(CLIENT, REVIEWS, 8080));
  await until("it is greeted", () => seen.all !== "");
  const snapshot = plainSnapshot();
  const left = [...snapshot.workloads.entries()].filter(([, w]) => w.name !== "reviews-v1");
  mesh.swap({ ...snapshot, workloads: new Map(left) });
  expect(await seen.over).toBe("ECONNRESET");
  await settled({ opened: 2, failed: 0 });
});

test("a reset at either end reaches the other", async () => {
  await start();
  const apps: net.Socket[] = [];
  await mesh.app("reviews-v1", 8080, (socket) => {
    apps.push(socket);
    parrot(socket);
  });
  const first = text(await mesh.captured(CLIENT, REVIEWS, 8080));
  await until("the first is greeted", () => first.all !== "");
  apps[0]!.resetAndDestroy();
  expect(await first.over).toBe("ECONNRESET");
  const client = await mesh.captured(CLIENT, REVIEWS, 8080);
  const second = text(client);
  await until("the second is greeted", () => second.all !== "");
  const isClosed = new Promise((resolve) => apps[1]!.once("close", resolve));
  client.resetAndDestroy();
  await isClosed;
  await settled({ opened: 4, failed: 0 });
});

test("without a certificate nothing is opened, and the flag says so", async () => {
  const failing = {
    sign: () => Promise.reject(new Failure("CERTIFICATE_UNAVAILABLE", "the CA is away")),
  };
  await start(failing);
  await mesh.app("reviews-v1", 8080, parrot);
  expect(await exchange(CLIENT, REVIEWS_VIP, 80)).toBe("ECONNRESET");
  await settled({ opened: 0, failed: 1 });
  expect(mesh.count("connections_failed", { response_flags: "IDENTITY_ERROR" })).toBe(1);
});

test("a client that leaves while its certificate is awaited is counted once", async () => {
  let answer = (): void => {};
  const slow = {
    sign: () =>
      new Promise<never>((_, reject) => {
        answer = () => reject(new Failure("CERTIFICATE_UNAVAILABLE", "too late"));
      }),
  };
  const starting = ZtunnelMesh.start(slow);
  const answering = setInterval(() => answer(), 5);
  mesh = await starting;
  clearInterval(answering);
  const vm = { ...mesh.workload("vm"), tunnelProtocol: "HBONE" as const };
  const workloads = new Map([...mesh.snapshot.workloads.entries(), [vm.uid, vm] as const]);
  mesh.swap({ ...mesh.snapshot, workloads });
  const client = await mesh.captured(VM, REVIEWS, 8080);
  await until("it waits", () => mesh.ztunnel.connectionCount === 1);
  client.resetAndDestroy();
  await settled({ opened: 0, failed: 1 });
  answer();
  await new Promise((resolve) => setTimeout(resolve, 20));
  await settled({ opened: 0, failed: 1 });
});

test("a server that proves another identity is TLS_FAILURE, and no byte reaches its application", async () => {
  await start();
  const reached: net.Socket[] = [];
  await mesh.app("reviews-v1", 8080, (socket) => reached.push(socket));
  mesh.misdeliver(REVIEWS, CLIENT);
  expect(await exchange(CLIENT, REVIEWS, 8080)).toBe("ECONNRESET");
  await settled({ opened: 0, failed: 1 });
  expect(mesh.count("connections_failed", { response_flags: "TLS_FAILURE" })).toBe(1);
  expect(reached).toEqual([]);
});

/** `reviews` with a second workload behind it, at an address where nobody listens. */
function withDeadEndpoint(): void {
  const { snapshot } = mesh;
  const dead = makeWorkload("dead", "127.70.0.50");
  const [alive] = snapshot.endpoints.get(REVIEWS_KEY)!;
  const endpoints = [alive!, { ...alive!, workloadUid: dead.uid, address: "127.70.0.50" }];
  mesh.swap({
    ...snapshot,
    workloads: new Map([...snapshot.workloads.entries(), [dead.uid, dead]]),
    endpoints: new Map([...snapshot.endpoints.entries(), [REVIEWS_KEY, endpoints]]),
  });
}

test("an endpoint that cannot be reached costs no connection while there is another", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  withDeadEndpoint();
  for (let i = 0; i < 20; i++) {
    expect(await exchange(CLIENT, REVIEWS_VIP, 80)).toBe(`hello ${CLIENT}\nheard word`);
  }
  await settled({ opened: 40, failed: 0 });
  expect(mesh.value("waystone_ztunnel_dials_moved_total")).toBeGreaterThan(0);
  // Addressed to it, there is no other.
  expect(await exchange(CLIENT, "127.70.0.50", 8080)).toBe("ECONNRESET");
  await settled({ opened: 40, failed: 1 });
});

test("an instance that refuses streams, or drains, costs no connection while there is another", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  withDeadEndpoint();
  let refused = 0;
  const leaving = await mesh.peer("dead", "127.70.0.50", (stream) => {
    refused++;
    stream.reset(refused % 2 === 0 ? "cancel" : "refused");
  });
  const through = () => exchange(CLIENT, REVIEWS_VIP, 80);
  const answers = await Promise.all(Array.from({ length: 20 }, through));
  expect(new Set(answers)).toEqual(new Set([`hello ${CLIENT}\nheard word`]));
  const draining = leaving.drain();
  const more = await Promise.all(Array.from({ length: 20 }, through));
  expect(new Set(more)).toEqual(new Set([`hello ${CLIENT}\nheard word`]));
  await draining;
  expect(refused).toBeGreaterThan(0);
  await settled({ opened: 80, failed: 0 });
  leaving.destroy();
});

test("who is turned away at the tunnel port, and what is carried, is counted", async () => {
  await start();
  let app: net.Socket | undefined;
  await mesh.app("reviews-v1", 8080, (socket) => {
    app = socket;
    parrot(socket);
  });
  expect(await mesh.ask(REVIEWS, `${CLIENT}:8080`)).toBe(400);
  expect(mesh.value('waystone_ztunnel_connects_refused_total{status="400"}')).toBe(1);
  const stranger = mesh.connectTunnel(REVIEWS);
  stranger.end("GET / HTTP/1.1\r\n\r\n");
  await new Promise((resolve) => stranger.once("close", resolve));
  const tls = 'waystone_tls_refused_total{code="TLS_HANDSHAKE_FAILED"}';
  await until("it is counted", () => mesh.value(tls) === 1);
  const client = await mesh.captured(CLIENT, REVIEWS_VIP, 80);
  const seen = text(client);
  await until("it is greeted", () => seen.all !== "" && app !== undefined);
  expect(mesh.value('waystone_ztunnel_connections{state="open"}')).toBe(2);
  expect(mesh.value('waystone_ztunnel_pool{state="streams"}')).toBe(1);
  const deny = l4Policy("deny", "DENY", { destinationPorts: [8080] });
  mesh.swap(withPolicies(mesh.snapshot, deny));
  await seen.over;
  await until("nothing is carried", () => mesh.ztunnel.connectionCount === 0);
  expect(mesh.value('waystone_ztunnel_connections_cut_total{cause="policy"}')).toBe(1);
});

test("beyond the limit connections are refused, and the others are left alone", async () => {
  mesh = await ZtunnelMesh.start(undefined, { maxConnections: 4 });
  await mesh.app("reviews-v1", 8080, parrot);
  const first = text(await mesh.captured(CLIENT, REVIEWS_VIP, 80));
  const second = text(await mesh.captured(CLIENT, REVIEWS_VIP, 80));
  await until("both are greeted", () => first.all !== "" && second.all !== "");
  expect(await exchange(CLIENT, REVIEWS_VIP, 80)).toBe("ECONNRESET");
  expect(mesh.ztunnel.connectionCount).toBe(4);
  expect(mesh.value('waystone_limits_reached_total{limit="connections"}')).toBe(1);
});

/** The replies of a SOCKS5 CONNECT: the code, and the socket behind it. */
async function socks(user: string, host: string, port: number, early = "") {
  const socket = mesh.connect(await mesh.socks());
  const password = "open sesame";
  const name = Buffer.from(host);
  const message = Buffer.concat([
    Buffer.from([5, 1, 2, 1, user.length]),
    Buffer.from(user),
    Buffer.from([password.length]),
    Buffer.from(password),
    Buffer.from([5, 1, 0, 3, name.length]),
    name,
    Buffer.from([port >> 8, port & 255]),
    Buffer.from(early),
  ]);
  const replies: Buffer[] = [];
  const code = new Promise<number | undefined>((resolve) => {
    socket.on("data", (bytes) => {
      replies.push(bytes);
      // Two octets for the method, two for the authentication, ten for the reply.
      const all = Buffer.concat(replies);
      if (all.length >= 14) resolve(all[5]);
    });
    socket.once("close", () => resolve(undefined));
  });
  socket.write(message);
  const body = () => Buffer.concat(replies).subarray(14).toString();
  return { code: await code, socket, body };
}

test("SOCKS5 takes names as the workload means them, and what is sent early arrives", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  for (const user of ["client", "vm"]) {
    const { code, socket, body } = await socks(user, "reviews", 80, "early ");
    expect(code).toBe(0);
    socket.end("and late");
    await once(socket, "end");
    const from = mesh.workload(user).addresses[0];
    expect(body(), user).toBe(`hello ${from}\nheard early and late`);
    socket.destroy();
  }
  await settled({ opened: 3, failed: 0 });
});

test("SOCKS5 says why not: unknown names, ports, applications, headless without endpoints", async () => {
  await start();
  const [notAllowed, hostUnreachable] = [2, 4];
  expect((await socks("client", "nobody.invalid", 80)).code).toBe(hostUnreachable);
  expect((await socks("client", "reviews", 81)).code).toBe(notAllowed);
  // Its application does not listen: 503, which the pool tells as a refusal.
  expect((await socks("client", "reviews", 80)).code).toBe(notAllowed);
  expect((await socks("vm", "reviews", 80)).code).toBe(5);
  const snapshot = plainSnapshot();
  const headless = { ...snapshot.services.get(REVIEWS_KEY)!, addresses: [] };
  const services = new Map([...snapshot.services.entries(), [REVIEWS_KEY, headless] as const]);
  mesh.swap({ ...snapshot, services, endpoints: new Map() });
  expect((await socks("client", "reviews", 80)).code).toBe(hostUnreachable);
  mesh.swap({ ...snapshot, services });
  await mesh.app("reviews-v1", 8080, parrot);
  expect((await socks("client", "reviews", 8080)).code).toBe(0);
});

test("drain waits for plain connections and tunnels alike, and then ends", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  const open = [
    await mesh.captured(CLIENT, REVIEWS, 8080),
    await mesh.captured(STRANGER, REVIEWS, 8080),
  ];
  const seen = open.map(text);
  await until("both are greeted", () => seen.every(({ all }) => all !== ""));
  let isDrained = false;
  const draining = mesh.drain.start(5_000).then(() => {
    isDrained = true;
  });
  for (const [index, socket] of open.entries()) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(isDrained).toBe(false);
    socket.end("bye");
    expect(await seen[index]!.over).toContain("heard bye");
  }
  await draining;
  await settled({ opened: 3, failed: 0 });
});

test("destroy() cuts everything, and nothing stays behind", async () => {
  await start();
  await mesh.app("reviews-v1", 8080, parrot);
  const open = [
    await mesh.captured(CLIENT, REVIEWS, 8080),
    await mesh.captured(STRANGER, REVIEWS, 8080),
  ];
  const seen = open.map(text);
  await until("both are greeted", () => seen.every(({ all }) => all !== ""));
  mesh.ztunnel.destroy();
  for (const { over } of seen) expect(await over).toBe("ECONNRESET");
  await settled({ opened: 3, failed: 0 });
});

test("a client that leaves while it waits ends the dial, and is counted once", async () => {
  await start();
  const snapshot = plainSnapshot();
  // Nobody answers a SYN there: the dial hangs until it is given up.
  const far = makeWorkload("far", "240.0.0.1", { tunnelProtocol: "TCP" });
  const workloads = new Map([...snapshot.workloads.entries(), [far.uid, far] as const]);
  mesh.swap({ ...snapshot, workloads });
  const client = await mesh.captured(CLIENT, REVIEWS, 1234);
  await once(client, "connect");
  client.resetAndDestroy();
  await until("nothing is carried", () => mesh.ztunnel.connectionCount === 0);
  const failed = mesh.count("connections_failed");
  expect(failed).toBeGreaterThanOrEqual(1);
  expect(mesh.count("connections_failed", { reporter: "source" })).toBe(1);
});
