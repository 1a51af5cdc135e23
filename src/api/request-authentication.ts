/** RequestAuthentication (Istio security). */
import type { PolicyTargetReference } from "./authorization-policy.ts";
import type { KubeObject } from "./object.ts";

export interface JWTRule {
  readonly issuer?: string;
  readonly audiences?: readonly string[];
  readonly jwksUri?: string;
  /** The field's other spelling. */
  readonly jwks_uri?: string;
  readonly jwks?: string;
  readonly fromHeaders?: readonly { readonly name: string; readonly prefix?: string }[];
  readonly fromParams?: readonly string[];
  readonly fromCookies?: readonly string[];
  readonly forwardOriginalToken?: boolean;
  readonly outputPayloadToHeader?: string;
  readonly outputClaimToHeaders?: readonly { readonly header: string; readonly claim: string }[];
  readonly timeout?: string;
  readonly spaceDelimitedClaims?: readonly string[];
}

export interface RequestAuthentication extends KubeObject {
  readonly kind: "RequestAuthentication";
  readonly spec?: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
    readonly targetRef?: PolicyTargetReference;
    readonly targetRefs?: readonly PolicyTargetReference[];
    readonly jwtRules?: readonly JWTRule[];
  };
}
