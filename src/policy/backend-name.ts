/** `reviews-v1:9080`, with the namespace when it is not that of `from` (a route's key). */
export function backendName(service: string, port: number, from?: string): string {
  const [namespace, hostname = ""] = service.split("/");
  if (hostname.split(".")[1] !== namespace) return `${hostname}:${port}`;
  const name = hostname.split(".")[0]!;
  const isLocal = from === undefined || from.startsWith(`${namespace}/`);
  return isLocal ? `${name}:${port}` : `${name}.${namespace}:${port}`;
}
