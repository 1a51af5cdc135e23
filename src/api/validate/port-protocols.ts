/** The protocols that ports of Istio's kinds name, in any case of letters. */
interface Protocol {
  readonly isHttp?: true;
  readonly isTls?: true;
  readonly isTcp?: true;
}

const PROTOCOLS: Readonly<Record<string, Protocol>> = {
  tcp: { isTcp: true },
  udp: {},
  grpc: { isHttp: true },
  "grpc-web": { isHttp: true },
  http: { isHttp: true },
  http_proxy: { isHttp: true },
  http2: { isHttp: true },
  https: { isTls: true, isTcp: true },
  tls: { isTls: true, isTcp: true },
  mongo: { isTcp: true },
  redis: { isTcp: true },
  mysql: { isTcp: true },
  doublehbone: {},
};

/** Undefined: there is none of that name. */
export function protocolOf(name: string | undefined): Protocol | undefined {
  const key = (name ?? "").toLowerCase();
  return Object.hasOwn(PROTOCOLS, key) ? PROTOCOLS[key] : undefined;
}
