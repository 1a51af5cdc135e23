/**
 * TLS ClientHellos. Oracle: what was decided of a beginning holds for the whole, and byte by byte
 * the same comes out; what is undecided is shorter than the longest hello there may be; a name
 * that is found is one.
 */
import { CLIENT_HELLO_BYTES_MAX, ClientHelloReader } from "../../../src/net/client-hello.ts";
import { check, checkSame, type Target } from "../target.ts";

/** With the records' heads, of at least one byte each. */
const RECORDS_BYTES_MAX = CLIENT_HELLO_BYTES_MAX * 6;

function run(input: Buffer): string {
  const whole = new ClientHelloReader().read(input);
  for (const end of [1, 5, 6, input.length >> 1, input.length - 1]) {
    const beginning = new ClientHelloReader().read(input.subarray(0, Math.max(0, end)));
    if (beginning !== undefined) checkSame(whole, beginning, `decided after ${end} bytes`);
  }
  const patient = new ClientHelloReader();
  let decided = patient.read(input.subarray(0, 0));
  for (let end = 1; end <= input.length && decided === undefined; end++) {
    decided = patient.read(input.subarray(0, end));
  }
  checkSame(decided, whole, "byte by byte, something else");
  if (whole === undefined) {
    check(input.length < RECORDS_BYTES_MAX, "undecided without end");
    return "more";
  }
  if (whole.kind === "malformed") return "malformed";
  const { serverName } = whole;
  if (serverName === undefined) return "no name";
  check(/^[a-z0-9_.-]+$/.test(serverName), "no host name");
  return `name ${Math.min(4, serverName.split(".").length)}`;
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

const BODY = `0303 ${"07".repeat(32)} 00 0002 1301 01 00`;

export const clientHello: Target = {
  name: "client-hello",
  dictionary: [hex("160301"), hex("01000000"), hex("0000"), hex("000b"), hex("1a1a0000")],
  seeds: () => [
    hex(`160301 002d 01000029 ${BODY}`),
    hex(`160301 0043 0100003f ${BODY} 0014 0000 0010 000e 00 000b 612e6578616d706c652e63`),
    hex("160301 0004 01000029 160301 0002 0303"),
    Buffer.from("GET / HTTP/1.1\r\n"),
  ],
  run,
};
