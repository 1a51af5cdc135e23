/** A text fetched by HTTP: with a limit for everything. */
import http from "node:http";
import https from "node:https";
import type { HostPort } from "../../net/listeners.ts";

export interface TextRequest {
  readonly url: string;
  readonly timeoutMs: number;
  /** Where the host is, if the mesh knows it better than DNS. */
  readonly locate: (hostname: string, port: number) => HostPort | undefined;
}

const TEXT_BYTES_MAX = 1024 * 1024;
const REDIRECTS_MAX = 5;

/** Throws an error whose message is for people. */
export async function fetchText(request: TextRequest): Promise<string> {
  const signal = AbortSignal.timeout(request.timeoutMs);
  try {
    let { url } = request;
    for (let i = 0; i <= REDIRECTS_MAX; i++) {
      const answer = await fetchOnce(url, request, signal);
      if ("text" in answer) return answer.text;
      url = answer.location;
    }
    throw new Error("it redirects without end");
  } catch (caught) {
    if (signal.aborted) throw new Error(`no answer within ${request.timeoutMs} ms`);
    throw caught;
  }
}

type Answer = { readonly text: string } | { readonly location: string };

function fetchOnce(text: string, { locate }: TextRequest, signal: AbortSignal): Promise<Answer> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new Error(`${text} is no http or https URL`);
  }
  const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
  const place = locate(url.hostname, port);
  const options = {
    signal,
    agent: false,
    headers: { accept: "application/json", host: url.host },
    ...(place && { hostname: place.host, port: place.port, servername: url.hostname }),
  };
  return new Promise((resolve, reject) => {
    const client = url.protocol === "https:" ? https : http;
    const request = client.get(url, options, (response) => {
      const { statusCode = 0, headers } = response;
      const { location } = headers;
      if (statusCode >= 300 && statusCode < 400 && location !== undefined) {
        response.resume();
        resolve({ location: new URL(location, url).href });
      } else if (statusCode !== 200) {
        response.resume();
        reject(new Error(`the answer is ${statusCode}`));
      } else readText(response, resolve, reject);
    });
    request.on("error", reject);
  });
}

function readText(
  response: http.IncomingMessage,
  resolve: (answer: Answer) => void,
  reject: (error: Error) => void,
): void {
  const parts: Buffer[] = [];
  let bytes = 0;
  response.on("data", (part: Buffer) => {
    bytes += part.length;
    if (bytes > TEXT_BYTES_MAX) {
      response.destroy(new Error(`the answer is longer than ${TEXT_BYTES_MAX} bytes`));
    } else parts.push(part);
  });
  response.on("error", reject);
  response.on("end", () => resolve({ text: Buffer.concat(parts).toString("utf8") }));
}
