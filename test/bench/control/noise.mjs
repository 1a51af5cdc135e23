/** How unsteady the machine is just now: the same work, timed over and over. */
const ROUNDS = 40;
const STEPS = 5_000_000;

function work() {
  let sum = 0;
  for (let i = 0; i < STEPS; i++) sum = (sum * 31 + i) | 0;
  return sum;
}

export function machineNoise() {
  const tookMs = [];
  for (let i = 0; i < ROUNDS; i++) {
    const startMs = performance.now();
    work();
    tookMs.push(performance.now() - startMs);
  }
  // The first rounds run before the compiler has seen them.
  const sorted = tookMs.slice(5).sort((a, b) => a - b);
  return { medianMs: sorted[sorted.length >> 1], worstMs: sorted.at(-1) };
}
