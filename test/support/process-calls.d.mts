export function answerCalls(
  operations: Readonly<Record<string, (argument: never) => unknown>>,
): void;

export class CalledProcess {
  constructor(path: string, execArgv?: readonly string[]);
  readonly ended: Promise<void>;
  readonly pid: number;
  call<Result = unknown>(
    operation: string,
    argument?: unknown,
    timeoutMs?: number,
  ): Promise<Result>;
  end(): Promise<void>;
}
