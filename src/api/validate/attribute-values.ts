/** What values of attributes look like: addresses, ports, accounts, trust domains. */
import { isIP } from "node:net";

const ACCOUNT_LENGTH_MAX = 320;
const PORT_MAX = 65_535;

/** What is wrong with an address or a range of addresses. */
export function addressProblem(text: string): string | undefined {
  if (text === "") return undefined;
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const version = isIP(address);
  const bits = slash < 0 ? "0" : text.slice(slash + 1);
  const isRange = /^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= (version === 6 ? 128 : 32);
  return version !== 0 && isRange && !(slash >= 0 && address.includes("%"))
    ? undefined
    : `${JSON.stringify(text)} is no address and no range such as 10.0.0.0/8`;
}

/** What is wrong with a port in a text. */
export function portProblem(text: string): string | undefined {
  if (text === "") return undefined;
  const isPort = /^\d+$/.test(text) && Number(text) <= PORT_MAX;
  return isPort ? undefined : `${JSON.stringify(text)} is no port`;
}

/** What is wrong with `account` or `namespace/account`. */
export function accountProblem(text: string): string | undefined {
  if (text === "") return undefined;
  if (text.length > ACCOUNT_LENGTH_MAX) return `is longer than ${ACCOUNT_LENGTH_MAX}`;
  return /^[^*/]+(\/[^*/]+)?$/.test(text)
    ? undefined
    : "must be account or namespace/account, without a wildcard";
}

/** What is wrong with a trust domain, or the beginning or end of one. */
export function trustDomainProblem(text: string): string | undefined {
  if (text.includes("/")) return "is the first part of an identity only, without a /";
  return wildcardTextProblem(text);
}

/** What is wrong with a text that may begin or end with a `*`. */
export function wildcardTextProblem(text: string): string | undefined {
  const inner = text.replace(/^\*|\*$/, "");
  return inner.includes("*") ? 'may have one "*", at its beginning or at its end' : undefined;
}
