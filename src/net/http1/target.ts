/**
 * The request target and Host (RFC 9112 §3.2): which path, and which authority.
 */
import { HOST } from "./characters.ts";
import type { HeadProblem, Http1Head } from "./head.ts";
import { H } from "./header-names.ts";

const bad = (detail: string, status: HeadProblem["status"] = 400): HeadProblem => ({
  status,
  detail,
});

export function splitTarget(head: Http1Head): HeadProblem | undefined {
  const host = readHost(head);
  if (typeof host !== "string") return host;
  head.authority = host;
  head.isAbsoluteTarget = false;
  const { target } = head;
  if (head.method === "CONNECT") return bad("CONNECT inside a tunnel", 405);
  if (target.charCodeAt(0) === 0x2f) {
    splitQuery(head, target);
    return undefined;
  }
  if (target === "*") {
    head.path = "*";
    head.query = "";
    return head.method === "OPTIONS" ? undefined : bad("asterisk-form without OPTIONS");
  }
  return splitAbsolute(head, target);
}

function splitQuery(head: Http1Head, target: string): void {
  const mark = target.indexOf("?");
  head.path = mark < 0 ? target : target.slice(0, mark);
  head.query = mark < 0 ? "" : target.slice(mark + 1);
}

function splitAbsolute(head: Http1Head, target: string): HeadProblem | undefined {
  const found = /^https?:\/\/([^/?]+)(.*)$/i.exec(target);
  if (found === null) return bad("malformed target");
  const authority = found[1]!;
  if (!isHost(authority)) return bad("malformed authority");
  head.authority = authority;
  head.isAbsoluteTarget = true;
  const rest = found[2]!;
  splitQuery(head, rest.startsWith("/") ? rest : `/${rest}`);
  return undefined;
}

/** The one Host line (RFC 9112 §3.2: more than one, or none in 1.1, is 400). */
function readHost(head: Http1Head): string | HeadProblem {
  let line = -1;
  for (let i = 0; i < head.count; i++) {
    if (head.ids[i] !== H.host) continue;
    if (line >= 0) return bad("more than one Host");
    line = i;
  }
  if (line < 0) return head.minorVersion === 0 ? "" : bad("no Host");
  const host = head.value(line);
  return host === "" || isHost(host) ? host : bad("malformed Host");
}

function isHost(text: string): boolean {
  let isPlain = true;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (HOST[code] !== 1) return false;
    if (code === 0x3a || code === 0x5b || code === 0x5d) isPlain = false;
  }
  if (isPlain) return true;
  const port = /^(?:\[[^\]]*\]|[^:[\]]*)(?::([0-9]*))?$/.exec(text);
  return port !== null && Number(port[1] ?? 0) <= 65_535;
}
