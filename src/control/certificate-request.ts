/**
 * What the CA takes from a certificate request (PKCS #10): the public key, once the sender has
 * proven to hold the private one, and nothing else.
 *
 * The key is looked at before the signature, so that nobody makes the CA compute with one that it
 * would not certify anyway.
 */
import { createPublicKey } from "node:crypto";
import { Failure } from "../kit/failure.ts";
import type { X509 } from "./x509.ts";

/** A request with the largest key that is accepted takes 2 KiB. */
export const REQUEST_BYTES_MAX = 16 * 1024;
const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 4096;
/** Verifying takes time in proportion to the exponent's length; the usual ones are 3 and 65,537. */
const RSA_EXPONENT_MAX = 0xffff_ffffn;
const CURVES: ReadonlyMap<string, string> = new Map([
  ["prime256v1", "P-256"],
  ["secp384r1", "P-384"],
]);

/** Throws CERTIFICATE_REQUEST_INVALID. */
export async function provenKey(x509: X509, csrPem: string) {
  if (csrPem.length > REQUEST_BYTES_MAX) {
    throw invalid(`it has ${csrPem.length} bytes, at most ${REQUEST_BYTES_MAX} are read`);
  }
  let request: InstanceType<typeof x509.Pkcs10CertificateRequest>;
  try {
    request = new x509.Pkcs10CertificateRequest(csrPem);
  } catch (caught) {
    throw invalid("it is not a PKCS #10 request", caught);
  }
  checkKey(Buffer.from(request.publicKey.rawData));
  let isProven: boolean;
  try {
    isProven = await request.verify();
  } catch (caught) {
    throw invalid("its signature cannot be read", caught);
  }
  if (!isProven) throw invalid("its signature does not fit its key");
  return request.publicKey;
}

function checkKey(spki: Buffer): void {
  let key: ReturnType<typeof createPublicKey>;
  try {
    key = createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch (caught) {
    throw invalid("its public key cannot be read", caught);
  }
  const {
    namedCurve = "",
    modulusLength = 0,
    publicExponent = 0n,
  } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "ed25519":
      return;
    case "ec":
      if (CURVES.has(namedCurve)) return;
      throw invalid(
        `its key is on the curve ${namedCurve}, not ${[...CURVES.values()].join(" or ")}`,
      );
    case "rsa":
      if (modulusLength < RSA_BITS_MIN || modulusLength > RSA_BITS_MAX) {
        throw invalid(
          `an RSA key of ${modulusLength} bits; ${RSA_BITS_MIN} to ${RSA_BITS_MAX} are accepted`,
        );
      }
      if (publicExponent > RSA_EXPONENT_MAX)
        throw invalid("the exponent of its RSA key is too large");
      return;
    default:
      throw invalid(`keys of type ${key.asymmetricKeyType} are not accepted`);
  }
}

function invalid(detail: string, cause?: unknown): Failure {
  const text = `the certificate request is refused: ${detail}`;
  return new Failure("CERTIFICATE_REQUEST_INVALID", text, { cause });
}
