/**
 * What a change of the configuration would do, as people read it: requests that change in the
 * same way stand together under what they have in common, alike ones in one line; the sum at the
 * end.
 */
import type { Outcome } from "../agent/replay/outcome.ts";
import type { RecordedRequest } from "../agent/replay/recorded-request.ts";
import type { WhatIfReport } from "../agent/replay/what-if.ts";
import { table } from "./output.ts";
import {
  outcomeText,
  requestText,
  sourceText,
  targetText,
  verdictText,
  wayText,
} from "./recorded-text.ts";

/** Lines of one group that are shown. */
const ROWS_MAX = 12;

export function whatIfText(report: WhatIfReport): string {
  const changes = report.changes.map(({ request, was, wouldBe }) => ({
    request,
    title: changeText(was, wouldBe),
  }));
  const cannotSay = report.cannotSay.map(({ request, was, because }) => ({
    request,
    title: titleText(verdictText(was), `unknown: ${because}`),
  }));
  return [...groupTexts(changes), ...groupTexts(cannotSay), summary(report)].join("\n\n");
}

function titleText(was: string, wouldBe: string): string {
  return `WAS       ${was}\nWOULD BE  ${wouldBe}`;
}

/** What differs: the verdict, or the way, with what an equal text would hide. */
function changeText(was: Outcome, wouldBe: Outcome): string {
  if (was.isAllowed !== wouldBe.isAllowed || !was.isAllowed) {
    // The way of what is denied is of no interest any more.
    return titleText(verdictText(was), turnText(wouldBe));
  }
  const notes: string[] = [];
  if (was.waypoint !== wouldBe.waypoint && wouldBe.waypoint !== undefined) {
    notes.push(`through waypoint ${wouldBe.waypoint}`);
  }
  if (was.route === wouldBe.route && was.handling !== wouldBe.handling) {
    notes.push("with other filters, time-outs or retries");
  }
  const way = (outcome: Outcome) => wayText(outcome) || verdictText(outcome);
  return titleText(way(was), [way(wouldBe), ...notes].join(", "));
}

/** The way only where a route chose it: else the request goes to whom it was meant for. */
function turnText(outcome: Outcome): string {
  const isTold = outcome.route !== undefined || outcome.status === 404;
  return outcome.isAllowed && isTold ? outcomeText(outcome) : verdictText(outcome);
}

interface Titled {
  readonly request: RecordedRequest;
  readonly title: string;
}

/** The largest group first. */
function groupTexts(all: readonly Titled[]): readonly string[] {
  const groups = new Map<string, RecordedRequest[]>();
  for (const { request, title } of all) {
    const group = groups.get(title);
    if (group === undefined) groups.set(title, [request]);
    else group.push(request);
  }
  return [...groups]
    .sort(([, one], [, other]) => other.length - one.length)
    .map(([title, members]) => `${title}\n${indented(rowsText(members))}`);
}

/** Requests that read the same are one row; its id is that of the latest. */
function rowsText(members: readonly RecordedRequest[]): string {
  const rows = new Map<string, { count: number; cells: readonly string[]; id: string }>();
  for (const request of members) {
    const cells = [requestText(request), sourceText(request), targetText(request)];
    const key = cells.join("\n");
    const count = (rows.get(key)?.count ?? 0) + 1;
    rows.set(key, { count, cells, id: request.id });
  }
  const shown = [...rows.values()].sort((one, other) => other.count - one.count);
  const text = table(
    ["COUNT", "REQUEST", "FROM", "TO", "LATEST ID"],
    shown.slice(0, ROWS_MAX).map(({ count, cells, id }) => [String(count), ...cells, id]),
  );
  const more = shown.length - ROWS_MAX;
  return more > 0 ? `${text}\n… and ${more} more like these (-o json lists all)` : text;
}

function indented(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

function summary(report: WhatIfReport): string {
  const { recorded, changes, cannotSay, leftOut } = report;
  const of = `${number(recorded)} recorded ${recorded === 1 ? "request" : "requests"}`;
  if (recorded === 0) return "No request is recorded.";
  const lines = [
    `${changes.length === 0 ? "None" : number(changes.length)} of ${of} would change.`,
  ];
  if (cannotSay.length > 0) lines.push(`Of ${number(cannotSay.length)} it cannot be said.`);
  if (leftOut > 0) {
    const were = leftOut === 1 ? "was" : "were";
    const why = "the configuration that decided about them is no longer kept";
    lines.push(`${number(leftOut)} ${were} left out: ${why}.`);
  }
  return lines.join("\n");
}

/** `1,204`. */
function number(value: number): string {
  return value.toLocaleString("en-US");
}
