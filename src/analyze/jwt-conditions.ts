/**
 * Rules that ask about tokens where no RequestAuthentication verifies any: they see none, so an
 * ALLOW lets nobody in by them.
 */
import type { PolicyTargetReference } from "../api/authorization-policy.ts";
import type { ParsedObject } from "../api/object.ts";
import type { RequestAuthentication } from "../api/request-authentication.ts";
import type { Diagnostic, Remedy } from "../kit/diagnostic.ts";
import { nameOf, namespaceOf } from "../translate/object-names.ts";
import { labelOfKey, type MeshView } from "./mesh-view.ts";
import { type ValueList, valueLists } from "./policy-fields.ts";
import { placesOf } from "./policy-places.ts";
import type { Policy } from "./policy-reach.ts";
import { appendTo, finding, removeField, setField } from "./remedy-text.ts";
import { targetsOf } from "./target-remedies.ts";

type Authentication = ParsedObject<RequestAuthentication>;

/** Of a policy with targets: at a ztunnel there are no tokens anyway. */
export function unverifiedTokens(policy: Policy, mesh: MeshView): readonly Diagnostic[] {
  const lists = [...valueLists(policy)].filter((list) => isAboutToken(list));
  const [first] = lists;
  if (first === undefined) return [];
  const namespace = namespaceOf(policy);
  const { authentications } = mesh.snapshot;
  const bare = targetsOf(policy)
    .map(({ ref }) => ref)
    .filter((ref) => {
      const places = placesOf(ref, namespace, mesh);
      return places.length > 0 && places.every((place) => authentications.get(place) === undefined);
    });
  if (bare.length === 0) return [];
  const where = bare.map((ref) => `${ref.kind} ${ref.name}`).join(", ");
  const message = `${first.name} asks about a token, and no RequestAuthentication verifies tokens at ${where}`;
  const own = mesh.inhabitants("RequestAuthentication", namespace) as readonly Authentication[];
  const remedy = remedyFrom(own, bare) ?? authentication(policy, lists, bare);
  const hint = remedy === undefined ? `${message}: attach one` : message;
  return [finding(policy, "WS0117", hint, first.path, remedy)];
}

function isAboutToken({ name, values }: ValueList): boolean {
  return values.length > 0 && (name === "requestPrincipals" || name.startsWith("request.auth."));
}

/** The only one of the namespace is the one that was meant, if it is attached to something else. */
function remedyFrom(
  own: readonly Authentication[],
  bare: readonly PolicyTargetReference[],
): Remedy | undefined {
  const [object] = own;
  if (object === undefined || own.length > 1) return undefined;
  const { selector, targetRef, targetRefs = [] } = object.value.spec ?? {};
  const path = ["spec", "targetRefs"];
  if (targetRefs.length > 0) return bare.map((ref) => appendTo(object, path, ref));
  if (targetRef !== undefined) {
    return [
      removeField(object, ["spec", "targetRef"]),
      setField(object, path, [targetRef, ...bare]),
    ];
  }
  const targets = setField(object, path, bare);
  return selector === undefined ? [targets] : [removeField(object, ["spec", "selector"]), targets];
}

/** With the issuer that the rules name: its keys are found by OpenID discovery. */
function authentication(
  policy: Policy,
  lists: readonly ValueList[],
  bare: readonly PolicyTargetReference[],
): Remedy | undefined {
  const issuers = [...new Set(lists.flatMap(issuersOf))];
  if (issuers.length === 0) return undefined;
  const [namespace, name] = [namespaceOf(policy), `${nameOf(policy)}-tokens`];
  const value = {
    apiVersion: "security.istio.io/v1",
    kind: "RequestAuthentication",
    metadata: { name, namespace },
    spec: { targetRefs: bare, jwtRules: issuers.map((issuer) => ({ issuer })) },
  };
  const object = labelOfKey("RequestAuthentication", namespace, name);
  return [{ op: "create", object, value }];
}

function issuersOf({ name, values }: ValueList): readonly string[] {
  if (name === "request.auth.claims[iss]") return values.filter((text) => !text.includes("*"));
  if (name !== "requestPrincipals" && name !== "request.auth.principal") return [];
  return values.flatMap((text) => {
    const slash = text.lastIndexOf("/");
    const issuer = text.slice(0, slash);
    return slash > 0 && !issuer.includes("*") ? [issuer] : [];
  });
}
