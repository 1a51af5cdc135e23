/** The same in node:test: `node --test examples/policy-tests/policies.node.mjs`. */
import { dirname } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assertAllowed, assertDenied, assertReaches, loadMesh } from "waystone/testing";

const mesh = await loadMesh(dirname(fileURLToPath(import.meta.url)));

test("all of the shop may read the cart", () => {
  const result = mesh.request({ from: "shop/web", to: "cart.shop", path: "/items" });
  assertAllowed(result, { by: "shop/cart#0" });
  assertReaches(result, "cart");
});

test("checkout alone may change it", () => {
  const post = { to: "cart.shop", method: "POST", path: "/items" };
  assertAllowed(mesh.request({ from: "shop/checkout", ...post }), { by: "cart#1" });
  assertDenied(mesh.request({ from: "shop/web", ...post }), { by: "default", with: 403 });
});

test("nobody may delete", () => {
  const asked = { from: "shop/checkout", to: "cart.shop", method: "DELETE" };
  assertDenied(mesh.request(asked), { by: "no-deletes", with: 403 });
});
