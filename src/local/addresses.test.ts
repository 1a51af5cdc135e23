import net from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { AddressPlan, detectAddressMode, isLoopback4 } from "./addresses.ts";

test("allocate() gives the same address in every run", () => {
  const first = new AddressPlan("addresses").allocate("Service", "default", "reviews");
  const plan = new AddressPlan("addresses");
  plan.allocate("Service", "default", "ratings");
  plan.allocate("Pod", "default", "reviews");
  expect(plan.allocate("Service", "default", "reviews")).toBe(first);
  expect(plan.allocate("Service", "default", "reviews")).toBe(first);
});

test("allocate() gives everything an address of its own in 127.64.0.0/10", () => {
  const plan = new AddressPlan("addresses");
  const seen = new Set<string>();
  for (let i = 0; i < 20_000; i++) {
    const address = plan.allocate("Pod", "default", `pod-${i}`);
    const octets = address.split(".").map(Number);
    expect(octets[0] === 127 && octets[1]! >= 64 && octets[1]! <= 127).toBe(true);
    expect(octets[3]! >= 1 && octets[3]! <= 254).toBe(true);
    seen.add(address);
  }
  expect(seen.size).toBe(20_000);
});

test("release() gives the address back, and the thing gets it again when it returns", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1 }), { maxLength: 20 }), (names) => {
      const plan = new AddressPlan("addresses");
      const before = names.map((name) => plan.allocate("Pod", "a", name));
      for (const name of names) plan.release("Pod", "a", name);
      expect(names.map((name) => plan.allocate("Pod", "a", name))).toEqual(before);
    }),
  );
});

test("plans with different seeds give different addresses", () => {
  const [one, other] = ["a", "b"].map((seed) => new AddressPlan("addresses", seed));
  const addresses = (plan: AddressPlan | undefined) =>
    Array.from({ length: 50 }, (_, i) => plan!.allocate("Pod", "default", `pod-${i}`));
  const seen = new Set(addresses(one));
  expect(addresses(other).filter((address) => seen.has(address))).toEqual([]);
});

test("listenAddress() is the address itself where the system has it", () => {
  const plan = new AddressPlan("addresses");
  expect(plan.listenAddress("127.64.3.4", 80)).toEqual({ host: "127.64.3.4", port: 80 });
  expect(plan.dialAddress("127.64.3.4", 80)).toEqual({ host: "127.64.3.4", port: 80 });
  expect(plan.sourceAddress("127.64.3.4")).toBe("127.64.3.4");
});

test("listenAddress() is a port of 127.0.0.1 where there is no other address", () => {
  const plan = new AddressPlan("ports");
  expect(plan.listenAddress("127.64.3.4", 80)).toEqual({ host: "127.0.0.1", port: 0 });
  plan.bound("127.64.3.4", 80, 40123);
  expect(plan.dialAddress("127.64.3.4", 80)).toEqual({ host: "127.0.0.1", port: 40123 });
  expect(plan.listenAddress("127.64.3.4", 80)).toEqual({ host: "127.0.0.1", port: 40123 });
  expect(plan.sourceAddress("127.64.3.4")).toBeUndefined();
});

test("detectAddressMode() says what a listener on 127.64.0.1 finds", async () => {
  const listens = await new Promise<boolean>((resolve) => {
    const server = net.createServer().once("error", () => resolve(false));
    server.listen(0, "127.64.0.1", () => server.close(() => resolve(true)));
  });
  expect(await detectAddressMode()).toBe(listens ? "addresses" : "ports");
});

test("isLoopback4() knows 127.0.0.0/8", () => {
  expect(isLoopback4("127.10.0.8")).toBe(true);
  expect(isLoopback4("10.0.0.1")).toBe(false);
  expect(isLoopback4("127.0.0.1.example")).toBe(false);
  expect(isLoopback4("::1")).toBe(false);
});
