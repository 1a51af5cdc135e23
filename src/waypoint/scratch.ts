/**
 * One buffer for heads that are written and sent within a callback: ByteStream.write copies.
 */
let buffer = Buffer.allocUnsafeSlow(64 * 1024);

/** At least `bytes` of room; overwritten by the next call. */
export function scratch(bytes: number): Buffer {
  if (buffer.length < bytes) buffer = Buffer.allocUnsafeSlow(bytes * 2);
  return buffer;
}
