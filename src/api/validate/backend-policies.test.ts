import { testRefusals } from "../../../test/support/refusals.ts";

const TARGET = "group: '', kind: Service, name: a";
const ROOTS = "caCertificateRefs: [{ group: '', kind: ConfigMap, name: c }]";

const targets = (...list: string[]) =>
  `{ targetRefs: [${list.map((fields) => `{ ${fields} }`).join(", ")}], validation: { hostname: a.b, ${ROOTS} } }`;
const validation = (fields: string) =>
  `{ targetRefs: [{ ${TARGET} }], validation: { hostname: a.b, ${fields} } }`;
const names = (...list: string[]) => validation(`${ROOTS}, subjectAltNames: [${list.join(", ")}]`);

testRefusals("gateway.networking.k8s.io/v1 BackendTLSPolicy", [
  ["two targets", targets(TARGET, "group: '', kind: Service, name: b")],
  ["two sections of a target", targets(`${TARGET}, sectionName: s`, `${TARGET}, sectionName: t`)],
  ["a target twice", targets(TARGET, TARGET), "targetRefs[1].sectionName"],
  [
    "a section twice",
    targets(`${TARGET}, sectionName: s`, `${TARGET}, sectionName: s`),
    "targetRefs[1].sectionName",
  ],
  [
    "a target and a section of it",
    targets(TARGET, `${TARGET}, sectionName: s`),
    "targetRefs[0].sectionName",
  ],
  ["the system's roots", validation("wellKnownCACertificates: System")],
  ["no roots", validation("caCertificateRefs: []"), "validation"],
  [
    "two kinds of roots",
    validation(`${ROOTS}, wellKnownCACertificates: System`),
    "validation.wellKnownCACertificates",
  ],
  ["names", names("{ type: Hostname, hostname: a.b }", "{ type: URI, uri: 'spiffe://a/b' }")],
  [
    "a host name that is not there",
    names("{ type: Hostname }"),
    "validation.subjectAltNames[0].hostname",
  ],
  ["a URI that is not there", names("{ type: URI }"), "validation.subjectAltNames[0].uri"],
  [
    "a URI of type Hostname",
    names("{ type: Hostname, hostname: a.b, uri: 'spiffe://a/b' }"),
    "validation.subjectAltNames[0].uri",
  ],
]);

const policy = (fields: string) => `{ targetRefs: [{ ${TARGET} }], ${fields} }`;
const session = (fields: string) => policy(`sessionPersistence: { ${fields} }`);
const SESSION = "sessionPersistence";

testRefusals("gateway.networking.x-k8s.io/v1alpha1 XBackendTrafficPolicy", [
  ["a target", policy("")],
  ["a target twice", `{ targetRefs: [{ ${TARGET} }, { ${TARGET} }] }`, "targetRefs[1]"],
  [
    "budgets at their ends",
    policy("retryConstraint: { budget: { interval: 1s }, minRetryRate: { interval: 1h } }"),
  ],
  [
    "budgets of an hour and a ms",
    policy("retryConstraint: { budget: { interval: 60m }, minRetryRate: { interval: 1ms } }"),
  ],
  [
    "a budget of 999 ms",
    policy("retryConstraint: { budget: { interval: 999ms } }"),
    "retryConstraint.budget.interval",
  ],
  [
    "a budget and a rate of more than an hour",
    policy("retryConstraint: { budget: { interval: 1h1ms }, minRetryRate: { interval: 1h1ms } }"),
    "retryConstraint.budget.interval",
    "retryConstraint.minRetryRate.interval",
  ],
  [
    "a rate of no time",
    policy("retryConstraint: { minRetryRate: { interval: 0s } }"),
    "retryConstraint.minRetryRate.interval",
  ],
  ["a cookie", session("cookie: { name: c, path: /, lifetimeType: Session }")],
  [
    "a cookie that stays an hour",
    session("type: Cookie, absoluteTimeout: 1h, cookie: { lifetimeType: Permanent }"),
  ],
  [
    "a cookie that stays",
    session("cookie: { lifetimeType: Permanent }"),
    `${SESSION}.absoluteTimeout`,
  ],
  ["a header", session("type: Header, header: { name: h }")],
  ["what releases have", session("sessionName: s, cookieConfig: {}")],
  ["nothing", session(""), `${SESSION}.cookie`],
  ["a header that is not there", session("type: Header"), `${SESSION}.header`],
  ["a header for cookies", session("cookie: {}, header: { name: h }"), `${SESSION}.header`],
  [
    "a cookie for headers",
    session("type: Header, cookie: {}, header: { name: h }"),
    `${SESSION}.cookie`,
  ],
]);
