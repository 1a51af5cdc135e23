/** What `bench:control` prints: a table for each mesh, and what the budgets say to it. */

const ms = (value) => (value === undefined ? "-" : `${value.toFixed(value < 10 ? 1 : 0)} ms`);
const mb = (value) => `${value.toFixed(0)} MiB`;
const bytes = (value) =>
  value < 10_000 ? `${value.toFixed(0)} B` : `${(value / 1024 / 1024).toFixed(2)} MiB`;

function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => String(cell).padEnd(widths[i]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export function meshTable({ services, build, clients }) {
  const { memory } = build;
  const lines = [
    "",
    `${services} services, ${build.objects} objects: ${build.resources} resources of ` +
      `${mb(build.resourcesMb)}`,
    `full build: ${ms(build.graphCpuMs)} of CPU and ${ms(build.encodeCpuMs)} to encode it, ` +
      `${ms(build.tookMs)} on the clock; RSS ${mb(memory.rssMb)}, heap ${mb(memory.heapMb)}`,
    "",
    table([
      ["clients", "join", "in sync after", "server's CPU", "bytes a client", "server's peak"],
      ...clients.flatMap(({ kind, count, joined, rejoined, memory: held }) => [
        [
          `${count} ${kind}`,
          "first",
          ms(joined.tookMs),
          ms(joined.cpuMs),
          bytes(joined.bytesPerClient),
          "",
        ],
        [
          ...[`${count} ${kind}`, "again", ms(rejoined.tookMs), ms(rejoined.cpuMs)],
          ...[bytes(rejoined.bytesPerClient), mb(held.peakMb)],
        ],
      ]),
    ]),
    "",
    table([
      ["clients", "change", "ACK median", "p99", "server's CPU", "bytes a client", "recomputed"],
      ...clients.flatMap(({ kind: proxy, count, changes }) =>
        Object.entries(changes).map(([kind, row]) => [
          ...[`${count} ${proxy}`, kind, ms(row.ackMedianMs), ms(row.ackP99Ms), ms(row.cpuMs)],
          ...[bytes(row.bytesPerClient), `${row.recomputedMax} objects`],
        ]),
      ),
    ]),
  ];
  const [{ paced, silent }] = clients;
  lines.push(
    "",
    `changes at ${paced.perSecond.toFixed(0)} a second: ACK ${ms(paced.ackMedianMs)} (median), ` +
      `${ms(paced.ackP99Ms)} (p99), ${ms(paced.cpuMs)} of CPU each`,
    `a client that never reads, over ${silent.changes} changes: ${silent.heldMb.toFixed(1)} MiB held`,
  );
  return lines.join("\n");
}

/** The rows of the design's budgets that speak of the control plane, for its mesh. */
export function budgetRows(meshes) {
  const large = meshes.find(({ services }) => services === 10_000);
  const rows = [];
  const row = (what, is, max, format) =>
    rows.push({ what, is: format(is), target: format(max), holds: is <= max });
  for (const { services, clients } of meshes) {
    row(`a client that never reads, ${services} services`, clients[0].silent.heldMb, 64, mb);
  }
  if (large === undefined) return rows;
  const { build, clients } = large;
  row(
    "full build, CPU",
    (build.graphCpuMs + build.encodeCpuMs) / 1000,
    10,
    (s) => `${s.toFixed(1)} s`,
  );
  row("control plane's memory (RSS) after it", build.memory.rssMb, 1.1 * 1024, mb);
  const [one] = clients;
  const all = Object.values(one.changes);
  const worst = (field) => Math.max(...all.map((kind) => kind[field]));
  row("one change: objects recomputed", worst("recomputedMax"), 50, (n) => `${n}`);
  row("one change: CPU (median of the worst kind)", worst("cpuMs"), 20, ms);
  row("one change: at the proxy (median of the worst kind)", worst("ackMedianMs"), 20, ms);
  row("changes at 50 a second: at the proxy, p99", one.paced.ackP99Ms, 100, ms);
  return rows;
}
