/**
 * The header lines of a head (RFC 9112 §5): where each stands, and the number of its name.
 *
 * The innermost loop of the proxy. Every byte is looked at once; a name that the same line had in
 * the head before is recognised without hashing it.
 */
import { FIELD, TOKEN } from "./characters.ts";
import type { HeadProblem, Http1Head } from "./head.ts";
import { colonAfter, hashByte, internHeader } from "./header-names.ts";
import { bad } from "./problem.ts";

/** Reads the lines behind the start line. `head.ids` still has those of the head before. */
export function parseLines(head: Http1Head): HeadProblem | undefined {
  const { bytes, ids, lineStarts, valueStarts, valueEnds } = head;
  const linesMax = ids.length;
  const stop = head.end - 2;
  let position = head.headersStart;
  let count = 0;
  let present = 0;
  let hasUnnumbered = false;
  while (position < stop) {
    if (count === linesMax) return bad("too many header lines", 431);
    const lineStart = position;
    let id = ids[count]!;
    let colon = colonAfter(bytes, lineStart, id);
    if (colon < 0) {
      colon = endOfName(bytes, lineStart);
      if (bytes[colon] !== 0x3a || colon === lineStart) return bad("malformed header name");
      id = internHeader(bytes, lineStart, colon, nameHash);
    }
    position = colon + 1;
    while (isBlank(bytes[position])) position++;
    const valueStart = position;
    position = endOfValue(bytes, position);
    if (bytes[position] !== 0x0d || bytes[position + 1] !== 0x0a) {
      return bad("malformed header value");
    }
    let valueEnd = position;
    while (valueEnd > valueStart && isBlank(bytes[valueEnd - 1])) valueEnd--;
    if (id < 0) hasUnnumbered = true;
    else if (id < 32) present |= 1 << id;
    ids[count] = id;
    lineStarts[count] = lineStart;
    valueStarts[count] = valueStart;
    valueEnds[count] = valueEnd;
    count++;
    position += 2;
  }
  if (position !== stop || bytes[stop] !== 0x0d) return bad("malformed end of head");
  head.count = count;
  head.present = present;
  head.hasUnnumbered = hasUnnumbered;
  return undefined;
}

/** The hash of the name that `endOfName` went over last. */
let nameHash = 0;

function endOfName(bytes: Buffer, start: number): number {
  let position = start;
  let hash = 0;
  let byte = bytes[position]!;
  while (TOKEN[byte] === 1) {
    hash = hashByte(hash, byte);
    byte = bytes[++position]!;
  }
  nameHash = hash;
  return position;
}

/** Past visible ASCII and SP without the table, which is most of what there is. */
function endOfValue(bytes: Buffer, start: number): number {
  let position = start;
  let byte = bytes[position]!;
  for (;;) {
    while (byte > 0x1f && byte < 0x7f) byte = bytes[++position]!;
    if (FIELD[byte] !== 1) return position;
    byte = bytes[++position]!;
  }
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}
