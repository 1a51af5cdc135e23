/**
 * The head of an HTTP/2 message, as the list that HPACK decoded.
 *
 * What RFC 9113 §8 forbids was refused before (net/http2/headers.ts). Here goes what an HTTP/1.1
 * server could read as something else (§10.3): every value, path and authority is held to the same
 * characters as in an HTTP/1.1 head, so that a list that was accepted can be written down as one.
 */
import { type Framing, HEADER_LINES_MAX, type HeadProblem } from "../net/http1/head.ts";
import { H, knownHeaderId } from "../net/http1/header-names.ts";
import { bad } from "../net/http1/problem.ts";
import { isHost } from "../net/http1/target.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import type { HeadFacts } from "./message-head.ts";

/** Anything but VCHAR, obs-text, SP and HTAB. */
const NO_FIELD = /[^\t\x20-\x7e\x80-\xff]/;
const NO_TARGET = /[^\x21\x22\x24-\x7e]/;
const NOTHING: HeaderList = [];

export class ListHead implements HeadFacts {
  list: HeaderList = NOTHING;
  /** Behind the pseudo headers. */
  start = 0;
  method = "";
  target = "";
  path = "";
  query = "";
  authority = "";
  readonly isAbsoluteTarget = false;
  upgrade = "";
  status = 0;
  framing: Framing = "none";
  /** -1: not said. */
  contentLength = -1;
  headBytes = 0;
  /** Bit n: there is a header whose name has the number n. */
  #present = 0;
  /** Of the headers from `start` on; -1 for a name that nobody here speaks of. */
  readonly ids: number[] = [];
  /** The last authority that was found well-formed; a client mostly has one. */
  #checkedAuthority = "";
  #protocol = "";

  readRequest(list: HeaderList, endStream: boolean): HeadProblem | undefined {
    this.status = 0;
    const problem = this.#read(list);
    if (problem !== undefined) return problem;
    const { method, target, authority } = this;
    if (method === "CONNECT") {
      const problem = this.#readExtendedConnect();
      if (problem !== undefined) return problem;
    }
    if (NO_TARGET.test(target)) return bad("malformed :path");
    if (authority !== this.#checkedAuthority) {
      if (authority !== "" && !isHost(authority)) return bad("malformed :authority");
      this.#checkedAuthority = authority;
    }
    const mark = target.indexOf("?");
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? "" : target.slice(mark + 1);
    if (this.upgrade !== "") this.framing = "none";
    else this.framing = endStream ? "none" : this.contentLength >= 0 ? "length" : "chunked";
    return undefined;
  }

  /** `isConnect`: to an extended CONNECT. */
  readResponse(
    list: HeaderList,
    endStream: boolean,
    method: string,
    isConnect: boolean,
  ): HeadProblem | undefined {
    const problem = this.#read(list);
    if (problem !== undefined) return problem;
    const { status } = this;
    // RFC 8441 §4: any 2xx has done what was asked.
    if (isConnect && status >= 200 && status < 300) {
      this.upgrade = "websocket";
      this.framing = "none";
      return undefined;
    }
    const isBodiless = status < 200 || status === 204 || status === 304 || method === "HEAD";
    if (endStream && !isBodiless && this.contentLength < 0) this.contentLength = 0;
    if (isBodiless || endStream) this.framing = "none";
    else this.framing = this.contentLength >= 0 ? "length" : "chunked";
    return undefined;
  }

  /**
   * RFC 8441 §4: a request for another protocol. For policies and routes it is what it would be in
   * HTTP/1.1, a GET that asks for an upgrade, and so it is for Envoy's.
   */
  #readExtendedConnect(): HeadProblem | undefined {
    const protocol = this.#protocol.toLowerCase();
    if (protocol === "") return bad("CONNECT inside a tunnel", 405);
    // RFC 9220 §3: what is not known is not implemented.
    if (protocol !== "websocket") return bad(`:protocol ${protocol}`, 501);
    this.method = "GET";
    this.upgrade = protocol;
    return undefined;
  }

  #read(list: HeaderList): HeadProblem | undefined {
    const { ids } = this;
    this.list = list;
    this.method = "";
    this.target = "";
    this.authority = "";
    this.upgrade = "";
    this.#protocol = "";
    this.contentLength = -1;
    if (list.length > 2 * HEADER_LINES_MAX) return bad("too many headers", 431);
    let i = 0;
    for (; i < list.length && list[i]!.charCodeAt(0) === 0x3a; i += 2) {
      this.#readPseudo(list[i]!, list[i + 1]!);
    }
    this.start = i;
    let present = 0;
    let bytes = 0;
    let hosts = 0;
    for (let n = 0; i < list.length; i += 2, n++) {
      const value = list[i + 1]!;
      if (NO_FIELD.test(value)) return bad("forbidden character in a header");
      const id = knownHeaderId(list[i]!);
      ids[n] = id;
      if (id >= 0 && id < 32) present |= 1 << id;
      if (id === H.host && ++hosts > 1) return bad("more than one host");
      bytes += list[i]!.length + value.length + 4;
    }
    this.#present = present;
    this.headBytes = bytes;
    if (this.has(H.contentLength)) this.contentLength = Number(this.get(H.contentLength));
    // RFC 9113 §8.3.1: without :authority it is Host.
    if (this.authority === "" && this.has(H.host)) this.authority = this.get(H.host)!;
    return undefined;
  }

  #readPseudo(name: string, value: string): void {
    if (name === ":method") this.method = value;
    else if (name === ":path") this.target = value;
    else if (name === ":authority") this.authority = value;
    else if (name === ":status") this.status = Number(value);
    else if (name === ":protocol") this.#protocol = value;
  }

  has(id: number): boolean {
    if (id >= 0 && id < 32) return ((this.#present >>> id) & 1) === 1;
    return this.get(id) !== undefined;
  }

  get(id: number): string | undefined {
    if (id >= 0 && id < 32 && ((this.#present >>> id) & 1) === 0) return undefined;
    const { list, start, ids } = this;
    const separator = id === H.cookie ? "; " : ",";
    let found: string | undefined;
    for (let i = start, n = 0; i < list.length; i += 2, n++) {
      if (ids[n] !== id) continue;
      if (id === H.contentLength) return list[i + 1]!;
      found = found === undefined ? list[i + 1]! : found + separator + list[i + 1]!;
    }
    return found;
  }

  getByName(name: string): string | undefined {
    const id = knownHeaderId(name);
    if (id >= 0) return this.get(id);
    const { list, start } = this;
    let found: string | undefined;
    for (let i = start; i < list.length; i += 2) {
      if (list[i] !== name) continue;
      found = found === undefined ? list[i + 1]! : `${found},${list[i + 1]!}`;
    }
    return found;
  }
}
