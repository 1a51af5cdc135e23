/**
 * The Prometheus text format 0.0.4, line by line: names, labels, numbers.
 *
 * Knows nothing of registries. Label values may be anything; what the format gives a meaning
 * (backslash, quote, line feed) is escaped.
 */

/** What one child of a family has to say; structurally a Counter, Gauge or Histogram. */
export type Exposable =
  | { readonly value: number }
  | { readonly bounds: Float64Array; readonly counts: Float64Array; readonly sum: number };

export function escapeHelp(text: string): string {
  return text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n");
}

function escapeLabelValue(value: string): string {
  if (!/[\\"\n]/.test(value)) return value;
  return value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}

/** `a="1",b="2"`: without braces, since a bucket puts one more label behind it. */
export function labelBlock(names: readonly string[], values: readonly string[]): string {
  return names.map((name, i) => `${name}="${escapeLabelValue(values[i]!)}"`).join(",");
}

/** A float as Go's parser reads it. */
function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}

/** All lines of one child. */
export function exposeChild(name: string, labels: string, child: Exposable): string {
  if ("value" in child) {
    return `${name}${labels && `{${labels}}`} ${formatNumber(child.value)}\n`;
  }
  const prefix = labels && `${labels},`;
  let text = "";
  let total = 0;
  child.counts.forEach((count, i) => {
    total += count;
    const bound = i < child.bounds.length ? formatNumber(child.bounds[i]!) : "+Inf";
    text += `${name}_bucket{${prefix}le="${bound}"} ${total}\n`;
  });
  const block = labels && `{${labels}}`;
  return `${text}${name}_sum${block} ${formatNumber(child.sum)}\n${name}_count${block} ${total}\n`;
}
