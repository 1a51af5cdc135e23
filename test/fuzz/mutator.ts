/** Makes inputs from inputs: a few small changes each, all drawn from one seeded source. */
import type { Random } from "./random.ts";

export const INPUT_BYTES_MAX = 4096;

const NUMBERS = [0, 1, 2, 8, 9, 10, 13, 15, 16, 31, 32, 61, 62, 63, 64, 127, 128, 254, 255];

type Change = (input: Buffer, random: Random, other: Buffer, tokens: readonly Buffer[]) => Buffer;

const flip: Change = (input, random) => {
  const copy = Buffer.from(input);
  const at = random.below(copy.length);
  if (copy.length > 0) copy[at] = copy[at]! ^ (1 << random.below(8));
  return copy;
};

const setNumber: Change = (input, random) => {
  const copy = Buffer.from(input);
  const at = random.below(copy.length);
  const isNear = random.below(3) === 0;
  const value = isNear ? (copy[at] ?? 0) + random.below(9) - 4 : random.pick(NUMBERS);
  if (copy.length > 0) copy[at] = value & 255;
  return copy;
};

const setByte: Change = (input, random) => {
  const copy = Buffer.from(input);
  if (copy.length > 0) copy[random.below(copy.length)] = random.below(256);
  return copy;
};

const insert: Change = (input, random) => {
  const at = random.below(input.length + 1);
  const count = 1 + random.below(random.pick([1, 4, 40]));
  const byte = random.below(256);
  const added = Buffer.alloc(count, byte);
  return Buffer.concat([input.subarray(0, at), added, input.subarray(at)]);
};

const remove: Change = (input, random) => {
  const at = random.below(input.length);
  const count = 1 + random.below(random.pick([1, 4, Math.max(1, input.length - at)]));
  return Buffer.concat([input.subarray(0, at), input.subarray(at + count)]);
};

/** A run of the input once more, somewhere else. */
const repeat: Change = (input, random) => {
  const at = random.below(input.length);
  const run = input.subarray(at, at + 1 + random.below(random.pick([4, 40, 400])));
  const to = random.below(input.length + 1);
  return Buffer.concat([input.subarray(0, to), run, input.subarray(to)]);
};

const token: Change = (input, random, _other, tokens) => {
  if (tokens.length === 0) return input;
  const at = random.below(input.length + 1);
  const added = random.pick(tokens);
  const behind = random.below(2) === 0 ? at : at + added.length;
  return Buffer.concat([input.subarray(0, at), added, input.subarray(behind)]);
};

/** The beginning of one and the end of another. */
const crossOver: Change = (input, random, other) =>
  Buffer.concat([
    input.subarray(0, random.below(input.length + 1)),
    other.subarray(random.below(other.length + 1)),
  ]);

/** A run of another input in the middle of this one. */
const splice: Change = (input, random, other) => {
  const from = random.below(other.length);
  const run = other.subarray(from, from + 1 + random.below(random.pick([8, 64, 512])));
  const at = random.below(input.length + 1);
  return Buffer.concat([input.subarray(0, at), run, input.subarray(at)]);
};

const CHANGES: readonly Change[] = [
  ...[flip, setNumber, setByte, insert, remove, repeat, token, token, crossOver, splice],
];

export function mutate(
  input: Buffer,
  other: Buffer,
  tokens: readonly Buffer[],
  random: Random,
): Buffer {
  let result = input;
  const rounds = 1 << random.below(4);
  for (let round = 0; round < rounds; round++) {
    result = random.pick(CHANGES)(result, random, other, tokens);
  }
  return Buffer.from(result.subarray(0, INPUT_BYTES_MAX));
}
