import { once } from "node:events";
import net from "node:net";
import tls from "node:tls";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { HOUR_MS, idOf, TestMesh } from "../../test/support/identities.ts";
import { Failure } from "../kit/failure.ts";
import { acceptTls, connectTls, makeTlsIdentity, type TlsIdentity, type TlsPeer } from "./tls.ts";

let mesh: TestMesh;
let otherMesh: TestMesh;
let server: TlsIdentity;
let client: TlsIdentity;

beforeAll(async () => {
  mesh = await TestMesh.make();
  otherMesh = await TestMesh.make();
  server = await mesh.identity("server");
  client = await mesh.identity("client");
});

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface Acceptor {
  readonly port: number;
  /** The outcomes of handshakes, in order. */
  next(): Promise<TlsPeer | Failure>;
}

/** A listener whose sockets go through acceptTls. */
async function listen(
  options: { identity?: TlsIdentity; trustDomains?: string[]; timeoutMs?: number } = {},
): Promise<Acceptor> {
  const { identity = server, trustDomains = ["cluster.local"], timeoutMs = 2000 } = options;
  const outcomes: (TlsPeer | Failure)[] = [];
  const waiting: ((outcome: TlsPeer | Failure) => void)[] = [];
  const listener = net.createServer((socket) => {
    cleanups.push(() => socket.destroy());
    acceptTls(socket, { identity, trustDomains, handshakeTimeoutMs: timeoutMs }, (outcome) => {
      const waiter = waiting.shift();
      if (waiter) waiter(outcome);
      else outcomes.push(outcome);
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  cleanups.push(() => listener.close());
  return {
    port: (listener.address() as net.AddressInfo).port,
    next: () =>
      new Promise((resolve) => {
        const outcome = outcomes.shift();
        if (outcome) resolve(outcome);
        else waiting.push(resolve);
      }),
  };
}

function dial(
  port: number,
  options: { identity?: TlsIdentity; expected?: string[]; timeoutMs?: number } = {},
): Promise<TlsPeer | Failure> {
  const { identity = client, expected = [idOf("server")], timeoutMs = 2000 } = options;
  return new Promise((resolve) => {
    connectTls({ host: "127.0.0.1", port, identity, expected, timeoutMs }, (outcome) => {
      if (!(outcome instanceof Failure)) cleanups.push(() => outcome.socket.destroy());
      resolve(outcome);
    });
  });
}

/** A client that is not ours. */
function dialForeign(port: number, options: tls.ConnectionOptions): tls.TLSSocket {
  const socket = tls.connect({
    port,
    host: "127.0.0.1",
    ca: server.rootsPem,
    checkServerIdentity: () => undefined,
    ALPNProtocols: ["h2"],
    ...options,
  });
  socket.on("error", () => {});
  cleanups.push(() => socket.destroy());
  return socket;
}

function peerOf(outcome: TlsPeer | Failure): TlsPeer {
  if (outcome instanceof Failure) throw outcome;
  return outcome;
}

describe("acceptTls() and connectTls()", () => {
  test("know one another and pass bytes both ways", async () => {
    const acceptor = await listen();
    const [accepted, connected] = await Promise.all([acceptor.next(), dial(acceptor.port)]);
    expect(peerOf(accepted).peer).toBe(idOf("client"));
    expect(peerOf(connected).peer).toBe(idOf("server"));
    const { socket } = peerOf(connected);
    expect(socket.getProtocol()).toBe("TLSv1.3");
    expect(socket.getCipher().name).toBe("TLS_AES_128_GCM_SHA256");
    expect(socket.alpnProtocol).toBe("h2");
    socket.write("ping");
    expect(String((await once(peerOf(accepted).socket, "data"))[0])).toBe("ping");
    peerOf(accepted).socket.write("pong");
    expect(String((await once(socket, "data"))[0])).toBe("pong");
  });

  test("send no server name", async () => {
    const listener = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (hello) => {
        listener.emit("hello", hello);
        socket.destroy();
      });
    });
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    cleanups.push(() => listener.close());
    const hello = once(listener, "hello");
    const outcome = dial((listener.address() as net.AddressInfo).port);
    const [bytes] = (await hello) as [Buffer];
    expect(extensionsOf(bytes)).not.toContain(0);
    expect(extensionsOf(bytes)).toContain(16);
    expect(await outcome).toMatchObject({ code: "UPSTREAM_TLS_FAILED" });
  });

  test("tell many simultaneous clients apart", async () => {
    const acceptor = await listen();
    const accounts = ["a", "b", "c", "d", "e"];
    const identities = await Promise.all(accounts.map((account) => mesh.identity(account)));
    const dialled = await Promise.all(
      identities.map(async (identity) => {
        const { socket } = peerOf(await dial(acceptor.port, { identity }));
        return [identity.spiffeId, socket.localPort] as const;
      }),
    );
    const accepted = await Promise.all(accounts.map(() => acceptor.next()));
    const seen = accepted.map(peerOf).map(({ peer, socket }) => [peer, socket.remotePort]);
    expect(seen.sort()).toEqual(dialled.sort());
  });
});

/** The extension types of a ClientHello (RFC 8446 §4.1.2). */
function extensionsOf(record: Buffer): number[] {
  let position = 5 + 4 + 2 + 32;
  position += 1 + record[position]!;
  position += 2 + record.readUInt16BE(position);
  position += 1 + record[position]!;
  const end = position + 2 + record.readUInt16BE(position);
  const types: number[] = [];
  for (position += 2; position < end; position += 4 + record.readUInt16BE(position + 2)) {
    types.push(record.readUInt16BE(position));
  }
  return types;
}

describe("acceptTls() refuses", () => {
  test("a client without a certificate", async () => {
    const acceptor = await listen();
    dialForeign(acceptor.port, {});
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
    expect(failure.message).toMatch(/sent no certificate/);
  });

  test("an expired certificate", async () => {
    const acceptor = await listen();
    const expired = await mesh.identity("client", { ageMs: 2 * HOUR_MS });
    dialForeign(acceptor.port, { cert: expired.certificatePem, key: expired.keyPem });
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
    expect(failure.message).toMatch(/CERT_HAS_EXPIRED/);
  });

  test("a certificate of another CA", async () => {
    const acceptor = await listen();
    const other = await otherMesh.identity("client");
    dialForeign(acceptor.port, { cert: other.certificatePem, key: other.keyPem });
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
    expect(failure.message).toMatch(/not accepted: (UNABLE_TO|CERT_SIGNATURE)/);
  });

  test("an identity of another trust domain, unless that is accepted too", async () => {
    const identity = await mesh.identity("client", { trustDomain: "other.example" });
    const strict = await listen();
    void dial(strict.port, { identity });
    const failure = (await strict.next()) as Failure;
    expect(failure.code).toBe("TLS_PEER_REFUSED");
    expect(failure.message).toContain("spiffe://other.example/ns/default/sa/client");
    const lenient = await listen({ trustDomains: ["cluster.local", "other.example"] });
    void dial(lenient.port, { identity });
    expect(peerOf(await lenient.next()).peer).toBe(idOf("client", "other.example"));
  });

  test("TLS 1.2", async () => {
    const acceptor = await listen();
    const { certificatePem: cert, keyPem: key } = client;
    dialForeign(acceptor.port, { cert, key, maxVersion: "TLSv1.2" });
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
    expect(failure.message).toMatch(/version|protocol/i);
  });

  test("a client that offers only ChaCha20", async () => {
    const acceptor = await listen();
    const { certificatePem: cert, keyPem: key } = client;
    dialForeign(acceptor.port, { cert, key, ciphers: "TLS_CHACHA20_POLY1305_SHA256" });
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
    expect(failure.message).toMatch(/cipher/);
  });

  test("other application protocols, and none", async () => {
    const acceptor = await listen();
    const { certificatePem: cert, keyPem: key } = client;
    dialForeign(acceptor.port, { cert, key, ALPNProtocols: ["http/1.1"] });
    expect(((await acceptor.next()) as Failure).message).toMatch(/application protocol/i);
    dialForeign(acceptor.port, { cert, key, ALPNProtocols: [] });
    expect(((await acceptor.next()) as Failure).message).toMatch(/did not offer ALPN h2/);
  });

  test("a client that says nothing, and one that leaves", async () => {
    const acceptor = await listen({ timeoutMs: 50 });
    const silent = net.connect(acceptor.port, "127.0.0.1");
    cleanups.push(() => silent.destroy());
    const closed = once(silent, "close");
    expect(((await acceptor.next()) as Failure).message).toMatch(/within 50 ms/);
    await closed;
    const leaver = net.connect(acceptor.port, "127.0.0.1", () => leaver.resetAndDestroy());
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
  });

  test("a client that speaks no TLS, and one that stops half way", async () => {
    const acceptor = await listen({ timeoutMs: 200 });
    const plain = net.connect(acceptor.port, "127.0.0.1", () =>
      plain.write("GET / HTTP/1.1\r\n\r\n"),
    );
    plain.on("error", () => {});
    cleanups.push(() => plain.destroy());
    expect(((await acceptor.next()) as Failure).code).toBe("TLS_HANDSHAKE_FAILED");
    const half = net.connect(acceptor.port, "127.0.0.1", () =>
      half.write("\x16\x03\x01\x01\x00\x01"),
    );
    cleanups.push(() => half.destroy());
    expect(((await acceptor.next()) as Failure).message).toMatch(/within 200 ms/);
  });

  test("a socket that is gone already", async () => {
    const socket = new net.Socket();
    socket.destroy();
    const outcome = new Promise((resolve) => {
      const options = { identity: server, trustDomains: [], handshakeTimeoutMs: 100 };
      acceptTls(socket, options, resolve);
    });
    expect(await outcome).toMatchObject({ code: "TLS_HANDSHAKE_FAILED" });
  });

  test("to resume a session", async () => {
    const acceptor = await listen();
    const { certificatePem: cert, keyPem: key } = client;
    const sessions: Buffer[] = [];
    const first = dialForeign(acceptor.port, { cert, key });
    first.on("session", (session) => sessions.push(session));
    peerOf(await acceptor.next()).socket.write("x");
    await once(first, "data");
    const session = sessions[0] ?? first.getSession();
    const again = dialForeign(acceptor.port, { cert, key, ...(session && { session }) });
    expect(peerOf(await acceptor.next()).peer).toBe(idOf("client"));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(again.isSessionReused()).toBe(false);
  });
});

describe("connectTls() refuses", () => {
  test("a server that is somebody else", async () => {
    const acceptor = await listen();
    const expected = [idOf("reviews"), idOf("ratings")];
    const failure = (await dial(acceptor.port, { expected })) as Failure;
    expect(failure.code).toBe("UPSTREAM_TLS_FAILED");
    expect(failure.message).toContain(`the server is ${idOf("server")}, expected ${expected[0]}`);
    expect(((await dial(acceptor.port, { expected: [] })) as Failure).code).toBe(failure.code);
  });

  test("an expired certificate and one of another CA", async () => {
    const expired = await mesh.identity("server", { ageMs: 2 * HOUR_MS });
    const old = (await dial((await listen({ identity: expired })).port)) as Failure;
    expect(old.code).toBe("UPSTREAM_TLS_FAILED");
    expect(old.message).toMatch(/expired/);
    const foreign = await otherMesh.identity("server");
    const other = (await dial((await listen({ identity: foreign })).port)) as Failure;
    expect(other.code).toBe("UPSTREAM_TLS_FAILED");
  });

  test("a server that does not choose h2, and one that speaks TLS 1.2", async () => {
    const { certificatePem: cert, keyPem: key } = server;
    for (const options of [{}, { ALPNProtocols: ["h2"], maxVersion: "TLSv1.2" as const }]) {
      const foreign = tls.createServer({ cert, key, ...options });
      foreign.on("tlsClientError", () => {});
      foreign.listen(0, "127.0.0.1");
      await once(foreign, "listening");
      cleanups.push(() => foreign.close());
      const outcome = await dial((foreign.address() as net.AddressInfo).port);
      expect(outcome).toMatchObject({ code: "UPSTREAM_TLS_FAILED" });
    }
  });

  test("a server that accepts and says nothing, and one that is not there", async () => {
    const silent = net.createServer((socket) => cleanups.push(() => socket.destroy()));
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as net.AddressInfo;
    const failure = (await dial(port, { timeoutMs: 60 })) as Failure;
    expect(failure.code).toBe("UPSTREAM_CONNECT_TIMEOUT");
    expect(failure.message).toMatch(/no TLS handshake within 60 ms/);
    silent.close();
    for (const cleanup of cleanups.splice(0)) cleanup();
    await once(silent, "close");
    const absent = (await dial(port)) as Failure;
    expect(absent.code).toBe("UPSTREAM_CONNECT_FAILED");
    expect(absent.message).toMatch(/ECONNREFUSED/);
  });

  test("nothing when it is aborted: no callback, and no connection left", async () => {
    const closed: string[] = [];
    const silent = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.on("close", () => closed.push("closed"));
      socket.resume();
    });
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    cleanups.push(() => silent.close());
    const { port } = silent.address() as net.AddressInfo;
    const options = { host: "127.0.0.1", port, identity: client, expected: [], timeoutMs: 2000 };
    let calls = 0;
    const early = connectTls(options, () => calls++);
    early.abort();
    const late = connectTls(options, () => calls++);
    await once(silent, "connection");
    await new Promise((resolve) => setTimeout(resolve, 20));
    late.abort();
    await expect.poll(() => closed.length).toBeGreaterThanOrEqual(1);
    expect(calls).toBe(0);
    const count = await new Promise((resolve) => silent.getConnections((_e, n) => resolve(n)));
    expect(count).toBe(0);
  });
});

/** A root, and leaves with any names and usages under it. */
async function makeIssuer() {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const makeKeys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const rootKeys = await makeKeys();
  const notBefore = new Date(Date.now() - HOUR_MS);
  const notAfter = new Date(Date.now() + HOUR_MS);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    keys: rootKeys,
    name: "O=test",
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return async (uris: string[], usages: ("serverAuth" | "clientAuth")[]): Promise<TlsIdentity> => {
    const keys = await makeKeys();
    const names = uris.map((value) => ({ type: "url" as const, value }));
    const leaf = await x509.X509CertificateGenerator.create({
      publicKey: keys.publicKey,
      issuer: root.subjectName,
      signingKey: rootKeys.privateKey,
      signingAlgorithm: algorithm,
      notBefore,
      notAfter,
      extensions: [
        new x509.ExtendedKeyUsageExtension(usages.map((usage) => x509.ExtendedKeyUsage[usage])),
        new x509.SubjectAlternativeNameExtension(names, true),
      ],
    });
    const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
    return makeTlsIdentity({
      certificatePem: leaf.toString("pem"),
      keyPem: x509.PemConverter.encode(pkcs8, "PRIVATE KEY"),
      rootsPem: root.toString("pem"),
    });
  };
}

describe("the certificate itself", () => {
  test("must be meant for the role it is used in", async () => {
    const issue = await makeIssuer();
    const both = await issue([idOf("server")], ["serverAuth", "clientAuth"]);
    const onlyServer = await issue([idOf("client")], ["serverAuth"]);
    const onlyClient = await issue([idOf("server")], ["clientAuth"]);
    const acceptor = await listen({ identity: both });
    void dial(acceptor.port, { identity: onlyServer });
    const failure = (await acceptor.next()) as Failure;
    expect(failure.code).toBe("TLS_HANDSHAKE_FAILED");
    expect(failure.message).toContain("INVALID_PURPOSE");
    const wrong = await listen({ identity: onlyClient });
    const refused = (await dial(wrong.port, { identity: both })) as Failure;
    expect(refused.code).toBe("UPSTREAM_TLS_FAILED");
    expect(refused.message).toMatch(/purpose/);
  });

  test("may carry several names: the first SPIFFE id is the peer, any may be expected", async () => {
    const issue = await makeIssuer();
    const uris = ["https://example.com", idOf("first", "old.example"), idOf("second")];
    const identity = await issue(uris, ["serverAuth", "clientAuth"]);
    const acceptor = await listen({ identity });
    const connected = peerOf(await dial(acceptor.port, { identity, expected: [idOf("second")] }));
    expect(connected.peer).toBe(idOf("second"));
    expect(peerOf(await acceptor.next()).peer).toBe(idOf("first", "old.example"));
  });
});

describe("makeTlsIdentity()", () => {
  test("knows whose the certificate is and how long it lasts", () => {
    expect(server.spiffeId).toBe(idOf("server"));
    expect(server.notAfterMs - server.notBeforeMs).toBe(HOUR_MS + 120_000);
  });

  test("refuses parts that do not belong together", () => {
    const { certificatePem, keyPem, rootsPem } = server;
    for (const parts of [
      { certificatePem, keyPem: client.keyPem, rootsPem },
      { certificatePem, keyPem, rootsPem: "" },
      { certificatePem: rootsPem, keyPem, rootsPem },
      { certificatePem: "garbage", keyPem, rootsPem },
      { certificatePem, keyPem, rootsPem, spiffeId: idOf("somebody") },
    ]) {
      expect(() => makeTlsIdentity(parts)).toThrow(
        expect.objectContaining({ code: "CERTIFICATE_UNAVAILABLE" }),
      );
    }
  });
});
