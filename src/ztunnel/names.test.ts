import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { resolveName } from "./names.ts";

test("resolveName() takes the short forms as a client of the namespace means them", () => {
  const snapshot = smallMesh();
  const forms = [
    "reviews",
    "reviews.default",
    "reviews.default.svc",
    "reviews.default.svc.cluster.local",
    "REVIEWS.default.svc.cluster.local.",
  ];
  for (const form of forms) {
    expect(resolveName(snapshot, "default", form)?.name, form).toBe("reviews");
  }
});

test("resolveName() knows no short form across namespaces, and no other names", () => {
  const snapshot = smallMesh();
  expect(resolveName(snapshot, "other", "reviews")).toBeUndefined();
  expect(resolveName(snapshot, "other", "reviews.default")?.name).toBe("reviews");
  for (const name of ["", ".", "nobody", "reviews.default.svc.other.domain", "example.com"]) {
    expect(resolveName(snapshot, "default", name)).toBeUndefined();
  }
});
