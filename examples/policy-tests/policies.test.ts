/** Tests of the shop's policies in vitest: `npx vitest run examples/policy-tests`. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { loadMesh, type TestMesh, type WaystoneMatchers, waystoneMatchers } from "waystone/testing";

declare module "vitest" {
  interface Matchers<T> extends WaystoneMatchers<T> {}
}
expect.extend(waystoneMatchers);

let mesh: TestMesh;
beforeAll(async () => {
  mesh = await loadMesh(dirname(fileURLToPath(import.meta.url)));
});

test("all of the shop may read the cart", () => {
  const result = mesh.request({ from: "shop/web", to: "cart.shop", path: "/items" });
  expect(result).toBeAllowed({ by: "shop/cart#0" });
  expect(result).toReach("cart");
});

test("checkout alone may change it", () => {
  const post = { to: "cart.shop", method: "POST", path: "/items" };
  expect(mesh.request({ from: "shop/checkout", ...post })).toBeAllowed({ by: "cart#1" });
  expect(mesh.request({ from: "shop/web", ...post })).toBeDenied({ by: "default", with: 403 });
});

test("nobody may delete", () => {
  const asked = { from: "shop/checkout", to: "cart.shop", method: "DELETE" };
  expect(mesh.request(asked)).toBeDenied({ by: "no-deletes", with: 403 });
});

test("strangers get nothing", () => {
  expect(mesh.request({ from: "192.0.2.1", to: "cart.shop" })).toBeDenied();
});

test("every rule decides something", () => {
  expect(mesh.uncoveredRules()).toEqual([]);
});
