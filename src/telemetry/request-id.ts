/**
 * Request ids: random UUIDs (RFC 9562 §5.4), made in batches.
 *
 * One call for randomness and one for text serve 64 ids; an id is a slice of that text. The batch
 * is small because a slice that somebody keeps keeps the whole text (2 KiB) alive.
 */
import { getRandomValues } from "node:crypto";

const BATCH = 64;
const ID_BYTES = 16;
const ID_CHARACTERS = 36;
const HYPHEN = 0x2d;
const DIGITS = Buffer.from("0123456789abcdef");

const random = Buffer.alloc(BATCH * ID_BYTES);
const characters = Buffer.alloc(BATCH * ID_CHARACTERS);
let text = "";
let used = BATCH;

/** A new version-4 UUID, for `x-request-id`. */
export function newRequestId(): string {
  if (used === BATCH) refill();
  const start = used * ID_CHARACTERS;
  used++;
  return text.substring(start, start + ID_CHARACTERS);
}

function refill(): void {
  getRandomValues(random);
  let position = 0;
  for (let id = 0; id < BATCH; id++) {
    const first = id * ID_BYTES;
    random[first + 6] = (random[first + 6]! & 0x0f) | 0x40; // version 4
    random[first + 8] = (random[first + 8]! & 0x3f) | 0x80; // variant 10
    for (let i = 0; i < ID_BYTES; i++) {
      if (i === 4 || i === 6 || i === 8 || i === 10) characters[position++] = HYPHEN;
      const byte = random[first + i]!;
      characters[position++] = DIGITS[byte >>> 4]!;
      characters[position++] = DIGITS[byte & 0x0f]!;
    }
  }
  text = characters.toString("latin1", 0, position);
  used = 0;
}
