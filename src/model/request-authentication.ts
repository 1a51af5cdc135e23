/** RequestAuthentication, as waypoints act on it: whose tokens are verified, with which keys. */
import type { ObjectRef, SourcePosition } from "./object-ref.ts";

/** `spec.jwtRules[]`: one issuer. */
export interface JwtRule {
  readonly issuer: string;
  /** Any of them must be among the token's; none: any will do. */
  readonly audiences: readonly string[];
  /** A JSON Web Key Set (RFC 7517), as text; undefined: there is none, and no token is valid. */
  readonly jwks: string | undefined;
  /** Where `jwks` is fetched from; absent: it stands in the object. */
  readonly keysFrom?: string | undefined;
  /** Where tokens stand. The places of one rule; never all three empty. */
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
  /** The token goes on to the backend. */
  readonly forwardOriginalToken: boolean;
  /** Name of the header that gets the payload (base64url); "" for none. */
  readonly outputPayloadToHeader: string;
  readonly outputClaimToHeaders: readonly { readonly header: string; readonly claim: string }[];
  /** Claims that are lists written with spaces between. */
  readonly spaceDelimitedClaims: readonly string[];
}

export interface RequestAuthentication {
  /** `<namespace>/<name>`. */
  readonly key: string;
  readonly rules: readonly JwtRule[];
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
}
