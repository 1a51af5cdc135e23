/**
 * Small texts from peers: paths, authorities, baggage.
 *
 * Oracles. Paths: the normal form is its own normal form, has no dot segment left however it is
 * spelled, and nothing throws. Authorities: what is accepted is written and read again to the
 * same, and has nothing in it but a host and a port. Baggage: what a source says is what is read.
 */
import { isIP } from "node:net";
import { formatAuthority, parseAuthority } from "../../../src/net/hbone/authority.ts";
import { baggageOf, parseBaggage } from "../../../src/net/hbone/headers.ts";
import { normalizePath, type PathNormalization } from "../../../src/net/path.ts";
import { check, checkSame, type Target } from "../target.ts";

const MODES: readonly PathNormalization[] = ["BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

function runPath(input: Buffer): string {
  const path = `/${input.toString("latin1")}`;
  check(normalizePath(path, "NONE") === path, "NONE has changed it");
  const signature: string[] = [];
  for (const mode of MODES) {
    const normal = normalizePath(path, mode);
    if (normal === undefined) {
      check(/%00|\0|%%|%[0-9a-f]%/i.test(path), `${mode}: refused without a NUL`);
      signature.push("no");
      continue;
    }
    check(normal.startsWith("/"), `${mode}: no slash in front`);
    check(normalizePath(normal, mode) === normal, `${mode}: not its own normal form`);
    const segments = normal.replace(/%2e/gi, ".").replaceAll("\\", "/").split("/");
    const isDotted = segments.some((segment) => /^\.\.?(?:;|$)/.test(segment));
    check(!isDotted, `${mode}: a dot segment is left`);
    if (mode !== "BASE") check(!normal.includes("//"), `${mode}: slashes are not merged`);
    if (mode === "DECODE_AND_MERGE_SLASHES") {
      check(!/%2f|%5c/i.test(normal), `${mode}: an encoded slash is left`);
    }
    const isSame = normal === path;
    signature.push(`${isSame} ${Math.min(5, segments.length)} ${normal.includes("%25")}`);
  }
  return signature.join(",");
}

export const path: Target = {
  name: "path",
  dictionary: [
    ..."/ // . .. ; \\ % %2 %2e %2E %2f %2F %5c %5C %25 %%32e %00 %61 %7e ..; ? # e 5 %c0%af".split(
      " ",
    ),
    "\0",
    "\xe9",
  ],
  seeds: () => [
    ..."a/b/c a/../b ../../a a/..;x=y/b a\\..\\b a%2f..%2fb a/%2e%2e/b a/%%32e%%32e/b".split(" "),
    ..."a//b///c a/. a/.. %41%7e a%00b a/%2%65/b %5c..%5c .;/ ..%5c/".split(" "),
  ],
  run: runPath,
};

function runAuthority(input: Buffer): string {
  const text = input.toString("latin1");
  const authority = parseAuthority(text);
  if (authority === undefined) return `no ${text.includes(":")} ${text.includes("[")}`;
  const { host, port } = authority;
  check(Number.isInteger(port) && port > 0 && port < 65_536, "an impossible port");
  check(/^[a-z0-9_.:A-F-]+$/.test(host), "an impossible host");
  check(isIP(host) > 0 || !/^[0-9.]+$|:/.test(host), "neither an address nor a name");
  checkSame(parseAuthority(formatAuthority(host, port)), authority, "another when written again");
  const isSpelledSo = formatAuthority(host, port).toLowerCase() === text.toLowerCase();
  check(isSpelledSo, "accepted in another spelling");
  return `${isIP(host)} ${String(port).length} ${host.split(".").length}`;
}

export const authority: Target = {
  name: "authority",
  dictionary: ":80 : [ ] [::1] 10.0.0.1 0 00 +80 65535 65536 % %eth0 _ - .. a.b @ / 0x7f 1e3".split(
    " ",
  ),
  seeds: () => [
    ..."10.0.0.1:80 [::1]:8080 [fe80::1%eth0]:80 a.b.svc.cluster.local:1 1.2.3:80 a:0".split(" "),
    ..."a:65535 a:65536 ::1:80 A.B:80 [::ffff:10.0.0.1]:80 a..b:80 -a:80".split(" "),
  ],
  run: runAuthority,
};

function runBaggage(input: Buffer): string {
  const text = input.toString("latin1");
  const read = parseBaggage(text);
  for (const value of Object.values(read)) {
    check(typeof value === "string" && !/[,;]/.test(value), "a separator inside of a value");
    check(value === "" || text.includes(value), "a value that nobody has sent");
  }
  const { clusterId, namespace, workloadName, serviceName, serviceVersion, region, zone } = read;
  const workloadType = read.workloadType.toUpperCase() || "POD";
  check(/^(?:DEPLOYMENT|CRONJOB|POD|JOB)$/.test(workloadType), "an impossible kind of workload");
  const written = baggageOf({
    clusterId,
    namespace,
    workloadType: workloadType as "POD",
    workloadName,
    canonicalName: serviceName,
    canonicalRevision: serviceVersion,
    locality: { region, zone },
  });
  check(/^[\x20-\x7e]*$/.test(written) && !written.includes(";"), "unsafe characters written");
  checkSame(baggageOf(sourceOf(parseBaggage(written))), written, "another when written again");
  const isFilled = [clusterId, namespace, workloadName, serviceName, serviceVersion, region, zone];
  return isFilled.map((value) => (value === "" ? "-" : "x")).join("") + read.workloadType;
}

function sourceOf(read: ReturnType<typeof parseBaggage>): Parameters<typeof baggageOf>[0] {
  return {
    clusterId: read.clusterId,
    namespace: read.namespace,
    workloadType: (read.workloadType.toUpperCase() || "POD") as "POD",
    workloadName: read.workloadName,
    canonicalName: read.serviceName,
    canonicalRevision: read.serviceVersion,
    locality: { region: read.region, zone: read.zone },
  };
}

export const baggage: Target = {
  name: "baggage",
  dictionary: [
    ..."k8s.cluster.name= k8s.namespace.name= k8s.pod.name= k8s.job.name= service.name=".split(" "),
    ..."service.version= cloud.region= cloud.availability_zone= , ; = \t a __proto__=".split(" "),
    " ",
  ],
  seeds: () => [
    "k8s.cluster.name=c,k8s.namespace.name=n,k8s.deployment.name=d,service.name=s,service.version=v1",
    "k8s.pod.name=p;x=y, cloud.region = r ,cloud.availability_zone=z",
    "k8s.job.name=a,k8s.cronjob.name=b,=,,constructor=1",
  ],
  run: runBaggage,
};
