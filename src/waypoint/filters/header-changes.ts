/**
 * RequestHeaderModifier and ResponseHeaderModifier (Gateway API, HTTPHeaderFilter). What is removed
 * goes first, then what is set, then what is added, as Envoy does it: a header may be removed and
 * set in one filter.
 */
import type { HeaderModifier } from "../../model/route.ts";
import { H, ownHeaderId } from "../../net/http1/header-names.ts";
import { type HeadEdits, isFieldValue } from "../../net/http1/rewrite.ts";

interface Header {
  readonly id: number;
  readonly name: string;
  readonly value: string;
}

export class HeaderChanges {
  readonly #removed: readonly number[];
  readonly #set: readonly Header[];
  readonly #added: readonly Header[];
  /** Of a request: `Host` is set by setting the authority, which is what it stands for. */
  readonly #authority: string | undefined;

  constructor({ set, add, remove }: HeaderModifier) {
    this.#removed = remove.filter((name) => name !== "host").map(ownHeaderId);
    this.#set = set.flatMap(headerOf);
    this.#added = add.flatMap(headerOf);
    this.#authority = set.find(({ name }) => name === "host")?.value;
  }

  apply(edits: HeadEdits): void {
    for (let i = 0; i < this.#removed.length; i++) edits.remove(this.#removed[i]!);
    for (let i = 0; i < this.#set.length; i++) edits.set(this.#set[i]!.id, this.#set[i]!.value);
    for (let i = 0; i < this.#added.length; i++) {
      edits.add(this.#added[i]!.id, this.#added[i]!.value);
    }
    if (this.#authority !== undefined) edits.replaceAuthority(this.#authority);
  }
}

/** What cannot be written is left out; its author was told when it was translated. */
function headerOf({ name, value }: { name: string; value: string }): Header[] {
  if (name === "host" || !isFieldValue(value)) return [];
  const id = ownHeaderId(name);
  return id === H.host ? [] : [{ id, name, value }];
}
