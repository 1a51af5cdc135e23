/**
 * What all certificates of the mesh have in common: algorithms, serial numbers, and the library
 * that writes them.
 */
import { randomBytes } from "node:crypto";

/** Clocks of a cluster differ a little: a certificate is valid somewhat before it was signed. */
export const BACKDATE_MS = 120_000;

export const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
export const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;

/** The X.509 library loads slowly (158 ms), and most commands need none. */
export async function loadX509() {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

export type X509 = Awaited<ReturnType<typeof loadX509>>;

/** 127 random bits, positive, of constant length (RFC 5280 §4.1.2.2 allows up to 20 octets). */
export function newSerialNumber(): string {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial.toString("hex");
}
