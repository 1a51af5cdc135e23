/** For what can only be false if we are wrong. Ends the connection or process; never swallowed. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The value, which cannot be undefined unless we are wrong. */
export function must<T>(value: T | undefined | null, message: string): T {
  if (value === undefined || value === null) throw new AssertionError(message);
  return value;
}

class AssertionError extends Error {
  override readonly name = "AssertionError";
}
