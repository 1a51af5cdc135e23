import type { Diagnostic } from "../../../src/kit/diagnostic.ts";
export async function partDiagnostics(_t: string, _n: string, _f: unknown): Promise<readonly Diagnostic[]> { throw new Error("part"); }
