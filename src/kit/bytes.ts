/** Text out of bytes, one character a byte. */

interface Latin1Slicer {
  latin1Slice(start: number, end: number): string;
}

const hasSlice = typeof (Buffer.prototype as Partial<Latin1Slicer>).latin1Slice === "function";

/**
 * `bytes[start..end)` as latin1. `Buffer.latin1Slice` is what `toString("latin1")` ends in, less
 * the look-up of the encoding's name, which is a third of the cost for a short string.
 */
export const latin1: (bytes: Buffer, start: number, end: number) => string = hasSlice
  ? (bytes, start, end) => (bytes as unknown as Latin1Slicer).latin1Slice(start, end)
  : (bytes, start, end) => bytes.toString("latin1", start, end);
