import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type BaggageSource,
  baggageOf,
  forwardedFor,
  newTraceparent,
  parseBaggage,
} from "./headers.ts";

const SOURCE: BaggageSource = {
  clusterId: "Kubernetes",
  namespace: "default",
  workloadType: "DEPLOYMENT",
  workloadName: "reviews-v1",
  canonicalName: "reviews",
  canonicalRevision: "v1",
  locality: { region: "r1", zone: "r1-a" },
};

describe("baggageOf()", () => {
  test("describes a source as ztunnel does", () => {
    expect(baggageOf(SOURCE)).toBe(
      "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=reviews-v1," +
        "service.name=reviews,service.version=v1,cloud.region=r1,cloud.availability_zone=r1-a",
    );
  });

  test("leaves out what is empty", () => {
    const bare = { ...SOURCE, canonicalRevision: "", locality: undefined, clusterId: "" };
    expect(baggageOf({ ...bare, workloadType: "POD" })).toBe(
      "k8s.namespace.name=default,k8s.pod.name=reviews-v1,service.name=reviews",
    );
  });

  test("lets no value end its member or its line", () => {
    const text = baggageOf({ ...SOURCE, workloadName: "a,service.name=b;c\r\nd e" });
    expect(parseBaggage(text)).toMatchObject({
      workloadName: "a_service.name=b_c__d_e",
      serviceName: "reviews",
    });
    expect(text).toMatch(/^[\x21-\x7e]+$/);
  });
});

describe("parseBaggage()", () => {
  test("reads what baggageOf() writes", () => {
    expect(parseBaggage(baggageOf(SOURCE))).toEqual({
      clusterId: "Kubernetes",
      namespace: "default",
      workloadType: "deployment",
      workloadName: "reviews-v1",
      serviceName: "reviews",
      serviceVersion: "v1",
      region: "r1",
      zone: "r1-a",
    });
  });

  test("skips what it does not know, spaces and properties; the first of two counts", () => {
    const text = " x=1 ,, k8s.namespace.name = a ;p=1, broken,k8s.namespace.name=b,k8s.job.name=j";
    expect(parseBaggage(text)).toMatchObject({
      namespace: "a",
      workloadType: "job",
      workloadName: "j",
      clusterId: "",
    });
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => typeof parseBaggage(text) === "object"));
  });
});

describe("forwardedFor()", () => {
  test("names the client, and the host when there is one", () => {
    expect(forwardedFor("10.0.0.1:5000", undefined)).toBe('for="10.0.0.1:5000"');
    expect(forwardedFor("[::1]:80", "reviews.default")).toBe('for="[::1]:80";host=reviews.default');
  });
});

describe("newTraceparent()", () => {
  test("is 55 characters of W3C form, another one each time", () => {
    const all = Array.from({ length: 1000 }, newTraceparent);
    for (const traceparent of all) {
      expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    }
    expect(new Set(all).size).toBe(1000);
  });
});
