/**
 * The access log: a line for each request or connection that ended, in Istio's own form.
 *
 * Never waited for: lines are batched and written beside the data path, and dropped (and counted)
 * when the place they go to cannot keep up.
 */
import { log } from "../kit/log.ts";
import { type AccessLogFormat, compileJsonFormat, compileTextFormat } from "./access-log-format.ts";
import type { AccessRecord } from "./access-record.ts";
import { LineBytes } from "./line-bytes.ts";
import { LineFile } from "./line-file.ts";
import { LineQueue, type LineQueueOptions, type LineSink } from "./line-queue.ts";
import type { MetricRegistry } from "./metrics.ts";

export type { AccessRecord };

export interface AccessLogOptions {
  /** "" turns it off; "/dev/stdout"; else a file that is appended to. */
  readonly file: string;
  readonly encoding: "TEXT" | "JSON";
  /** "" means Istio's default; with JSON, a JSON object of key → format. */
  readonly format: string;
  readonly registry?: MetricRegistry;
  readonly queue?: Omit<LineQueueOptions, "onDrop">;
  /** Where lines go instead of `file`. */
  readonly sink?: LineSink;
}

const LINE_BYTES_KEPT = 64 * 1024;

/** The counter of lines that were lost, by reason. */
export function droppedLines(registry: MetricRegistry) {
  return registry.counter(
    "waystone_access_log_dropped_lines_total",
    "Access-log lines lost because the queue was full (queue_full) or writing failed (write_failed).",
    ["reason"],
  );
}

export class AccessLog {
  readonly isOn: boolean;
  /** What is wrong with the format; each unusable operator prints as "-". */
  readonly problems: readonly string[];
  readonly #format: AccessLogFormat;
  readonly #sink: LineSink;
  readonly #queue: LineQueue | undefined;
  #line = new LineBytes();

  constructor(options: AccessLogOptions) {
    const { file, encoding, format, registry } = options;
    this.isOn = file !== "";
    this.#format = encoding === "JSON" ? compileJsonFormat(format) : compileTextFormat(format);
    this.problems = this.#format.problems;
    this.#sink = options.sink ?? new LineFile(file);
    if (!this.isOn) return;
    const dropped = registry && droppedLines(registry);
    let isFailing = false;
    this.#queue = new LineQueue(this.#sink, {
      ...options.queue,
      onDrop: (lines, reason, error) => {
        dropped?.child([reason]).add(lines);
        if (error === undefined || isFailing) return;
        isFailing = true;
        log("access-log").error({ file, error: error.message }, "cannot write the access log");
      },
    });
  }

  /** Never blocks; the record may be reused as soon as this returns. */
  write(record: AccessRecord): void {
    if (this.#queue === undefined) return;
    const line = this.#line;
    line.reset();
    this.#format.append(line, record);
    this.#queue.push(line);
    // One monstrous line is no reason to keep a monstrous buffer.
    if (line.bytes.length > LINE_BYTES_KEPT) this.#line = new LineBytes();
  }

  /** Resolves when every line written until now is out (or dropped). */
  async flush(): Promise<void> {
    await this.#queue?.flush();
  }

  /** After a rotation: opens the file's name again. */
  reopen(): void {
    this.#sink.reopen();
  }

  /** Writes what is left and lets go of the file; lines after this are dropped. */
  async close(): Promise<void> {
    await this.#queue?.close();
  }
}
