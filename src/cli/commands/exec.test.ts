import { expect, test } from "vitest";
import { proxyEnvironment } from "./exec.ts";

test("proxyEnvironment() sets every name in both cases and exempts nothing", () => {
  const environment = proxyEnvironment("socks5h://a:b@127.0.0.1:1080");
  for (const name of ["all_proxy", "http_proxy", "https_proxy"]) {
    expect(environment[name]).toBe("socks5h://a:b@127.0.0.1:1080");
    expect(environment[name.toUpperCase()]).toBe("socks5h://a:b@127.0.0.1:1080");
  }
  expect(environment["no_proxy"]).toBe("");
  expect(environment["NO_PROXY"]).toBe("");
});
