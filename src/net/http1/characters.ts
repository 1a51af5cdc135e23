/** Which bytes may stand where in an HTTP/1.1 head (RFC 9110 §5.5, §5.6.2; RFC 3986). */
function table(isAllowed: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (isAllowed(byte) ? 1 : 0));
}

const isAlphanumeric = (byte: number) =>
  (byte >= 0x30 && byte <= 0x39) ||
  (byte >= 0x41 && byte <= 0x5a) ||
  (byte >= 0x61 && byte <= 0x7a);

/** tchar */
export const TOKEN = table(
  (byte) => isAlphanumeric(byte) || "!#$%&'*+-.^_`|~".includes(String.fromCharCode(byte)),
);

/** VCHAR, obs-text, SP and HTAB: no other control characters. */
export const FIELD = table((byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f));

/** Request targets: visible ASCII; a fragment is never sent (RFC 9112 §3.2). */
export const TARGET = table((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x23);

/** Names and IPv4 addresses: reg-name (RFC 3986 §3.2.2) without percent-encoding. */
export const HOST = table(
  (byte) => isAlphanumeric(byte) || "-._~!$&'()*+,;=".includes(String.fromCharCode(byte)),
);

/** Hexadecimal digit → value, 255 for others. */
export const HEX = Uint8Array.from({ length: 256 }, (_, byte) => {
  const digit = "0123456789abcdef".indexOf(String.fromCharCode(byte).toLowerCase());
  return digit < 0 ? 255 : digit;
});
