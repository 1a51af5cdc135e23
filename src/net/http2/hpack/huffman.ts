/**
 * Huffman decoding (RFC 7541 §5.2) by a table of nibbles: two look-ups a byte, no bit loop.
 *
 * The code's tree is unrolled into states. From a state, four bits lead to the next state and may
 * complete one symbol (the shortest code has five bits, so never two). An entry is
 * `next << 16 | flags << 8 | symbol`.
 */
import { latin1 } from "../../../kit/bytes.ts";
import { HUFFMAN_CODES } from "./huffman-codes.ts";

const EMITS = 1;
const FAILS = 2;
const EOS = 256;

interface Node {
  children: (Node | number | undefined)[];
  index: number;
  /** Bits on the way from the root, all ones: padding may end here (at most 7 of them). */
  isPadding: boolean;
}

function buildTree(): Node[] {
  const root: Node = { children: [], index: 0, isPadding: true };
  const nodes = [root];
  HUFFMAN_CODES.forEach(([code, bits], symbol) => {
    let node = root;
    for (let bit = bits - 1; bit > 0; bit--) {
      const way = (code >>> bit) & 1;
      let child = node.children[way];
      if (child === undefined) {
        const depth = bits - bit;
        const isPadding = node.isPadding && way === 1 && depth <= 7;
        child = { children: [], index: nodes.length, isPadding };
        nodes.push(child);
        node.children[way] = child;
      }
      node = child as Node;
    }
    node.children[code & 1] = symbol;
  });
  return nodes;
}

function buildTable(nodes: readonly Node[]): Int32Array {
  const table = new Int32Array(nodes.length * 16);
  for (const node of nodes) {
    for (let nibble = 0; nibble < 16; nibble++) {
      table[node.index * 16 + nibble] = step(node, nodes[0]!, nibble);
    }
  }
  return table;
}

function step(from: Node, root: Node, nibble: number): number {
  let node = from;
  let entry = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const child = node.children[(nibble >> bit) & 1];
    if (child === undefined || child === EOS) return FAILS << 8;
    if (typeof child === "number") {
      entry = (EMITS << 8) | child;
      node = root;
    } else node = child;
  }
  return (node.index << 16) | entry;
}

const NODES = buildTree();
const TABLE = buildTable(NODES);
const IS_PADDING = Uint8Array.from(NODES, (node) => (node.isPadding ? 1 : 0));

let scratch = Buffer.allocUnsafeSlow(16 * 1024);

/** The text of `bytes[start..end)`, one character a byte; `undefined` when it is not valid. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string | undefined {
  // The shortest code has 5 bits: at most 8/5 symbols a byte.
  const room = Math.ceil(((end - start) * 8) / 5);
  if (scratch.length < room) scratch = Buffer.allocUnsafeSlow(room);
  let state = 0;
  let length = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    for (let half = 4; half >= 0; half -= 4) {
      const entry = TABLE[state * 16 + ((byte >> half) & 15)]!;
      if (entry & (FAILS << 8)) return undefined;
      if (entry & (EMITS << 8)) scratch[length++] = entry & 255;
      state = entry >>> 16;
    }
  }
  return IS_PADDING[state] === 1 ? latin1(scratch, 0, length) : undefined;
}
