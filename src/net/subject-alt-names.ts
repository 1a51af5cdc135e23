/**
 * The URI names of a certificate, read from its DER form, and what a workload's name looks like.
 *
 * Node's textual form of subject alternative names quotes what looks odd, and an identity must not
 * depend on undoing that. The walk below knows just the path to the one extension and gives up
 * (no names, so no identity) on anything it does not expect.
 */

const TAG_SEQUENCE = 0x30;
const TAG_BOOLEAN = 0x01;
const TAG_OBJECT_ID = 0x06;
const TAG_OCTET_STRING = 0x04;
/** `[3] EXPLICIT Extensions` of TBSCertificate (RFC 5280 §4.1). */
const TAG_EXTENSIONS = 0xa3;
/** `[6] IMPLICIT IA5String`: uniformResourceIdentifier of GeneralName (RFC 5280 §4.2.1.6). */
const TAG_URI = 0x86;
/** 2.5.29.17, subjectAltName. */
const SUBJECT_ALT_NAME = Buffer.from([0x55, 0x1d, 0x11]);

const SPIFFE = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/;

/** The trust domain of a workload's SPIFFE id; undefined when the URI is not one (as ztunnel). */
export function trustDomainOf(uri: string): string | undefined {
  return SPIFFE.exec(uri)?.[1];
}

/** The SPIFFE ids of workloads in a certificate, in its order. Other names are left out. */
export function spiffeIdsOf(certificate: Buffer): string[] {
  return uriNamesOf(certificate).filter((uri) => trustDomainOf(uri) !== undefined);
}

/** The URI names of a DER certificate; none when it is malformed or says so twice. */
export function uriNamesOf(certificate: Buffer): string[] {
  try {
    return readUriNames(certificate);
  } catch (caught) {
    if (caught instanceof MalformedDer) return [];
    throw caught;
  }
}

class MalformedDer extends Error {}

function readUriNames(certificate: Buffer): string[] {
  const tbs = enter(enter(whole(certificate), TAG_SEQUENCE), TAG_SEQUENCE);
  let names: string[] | undefined;
  for (const field of children(tbs)) {
    if (field.tag !== TAG_EXTENSIONS) continue;
    for (const extension of children(enter(field.content, TAG_SEQUENCE))) {
      const value = subjectAltNameValue(extension);
      if (value === undefined) continue;
      if (names !== undefined) throw new MalformedDer("two subjectAltName extensions");
      names = readNames(value);
    }
  }
  return names ?? [];
}

function subjectAltNameValue(extension: Element): Buffer | undefined {
  if (extension.tag !== TAG_SEQUENCE) throw new MalformedDer("an extension is a SEQUENCE");
  const parts = [...children(extension.content)];
  const [id] = parts;
  const value = parts.at(-1);
  if (id?.tag !== TAG_OBJECT_ID || value?.tag !== TAG_OCTET_STRING || parts.length > 3) {
    throw new MalformedDer("an extension is OID, BOOLEAN, OCTET STRING");
  }
  if (parts.length === 3 && parts[1]!.tag !== TAG_BOOLEAN) throw new MalformedDer("critical");
  return id.content.equals(SUBJECT_ALT_NAME) ? value.content : undefined;
}

function readNames(value: Buffer): string[] {
  const names: string[] = [];
  for (const name of children(enter(value, TAG_SEQUENCE))) {
    if (name.tag !== TAG_URI) continue;
    // Visible ASCII only: a NUL or a line break in an identity is an attack, not a name.
    if (name.content.every((octet) => octet > 0x20 && octet < 0x7f)) {
      names.push(name.content.toString("latin1"));
    }
  }
  return names;
}

interface Element {
  readonly tag: number;
  readonly content: Buffer;
  /** Index behind it. */
  readonly end: number;
}

/** A certificate is one element, and its buffer ends there. */
function whole(bytes: Buffer): Buffer {
  if (readElement(bytes, 0).end !== bytes.length) throw new MalformedDer("bytes behind the end");
  return bytes;
}

/** The content of the first element, which must have this tag. */
function enter(bytes: Buffer, tag: number): Buffer {
  const element = readElement(bytes, 0);
  if (element.tag !== tag) throw new MalformedDer("another tag was expected");
  return element.content;
}

function* children(bytes: Buffer): Generator<Element> {
  for (let position = 0; position < bytes.length; ) {
    const element = readElement(bytes, position);
    yield element;
    position = element.end;
  }
}

function readElement(bytes: Buffer, start: number): Element {
  const tag = bytes[start];
  const first = bytes[start + 1];
  // High tag numbers (0x1f) do not occur on the way to the names.
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) {
    throw new MalformedDer("no element here");
  }
  let position = start + 2;
  let length = first;
  if (first >= 0x80) {
    const octets = first & 0x7f;
    if (octets === 0 || octets > 3 || position + octets > bytes.length) {
      throw new MalformedDer("length");
    }
    length = bytes.readUIntBE(position, octets);
    position += octets;
  }
  const end = position + length;
  if (end > bytes.length) throw new MalformedDer("length beyond the end");
  return { tag, content: bytes.subarray(position, end), end };
}
