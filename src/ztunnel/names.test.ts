import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { lookUpName, resolveName } from "./names.ts";

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

test("a search domain behind a known name changes nothing, and says which name was meant", () => {
  const snapshot = smallMesh();
  const fqdn = "reviews.default.svc.cluster.local";
  for (const asked of ["reviews.default.svc.cluster.local.default.svc.cluster.local", "Reviews"]) {
    expect(lookUpName(snapshot, "default", asked)?.service.hostname, asked).toBe(fqdn);
  }
  const searched = lookUpName(snapshot, "other", `reviews.default.other.svc.cluster.local`);
  expect(searched?.canonicalName).toBe(fqdn);
  expect(lookUpName(snapshot, "other", "reviews")).toBeUndefined();
  expect(lookUpName(snapshot, undefined, fqdn)?.canonicalName).toBeUndefined();
  expect(lookUpName(snapshot, undefined, `${fqdn}.svc.cluster.local`)).toBeUndefined();
});
