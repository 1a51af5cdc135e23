/** Where an API server asks whether it may store an object: `POST /validate`, by TLS. */
import { jsonResponse, textResponse } from "../../agent/admin-routes.ts";
import { AdminServer } from "../../agent/admin-server.ts";
import type { AdmissionReviews } from "./admission-reviews.ts";
import type { ServerIdentity } from "./server-certificate.ts";

/** The object as it is to be and as it was, of 3 MiB at most each, and what is around them. */
const BODY_BYTES_MAX = 8 * 1024 * 1024;
/** An API server waits for 30 s at most. */
const TIMEOUT_MS = 30_000;

export function createWebhookServer(
  reviews: Pick<AdmissionReviews, "answer">,
  tls: () => ServerIdentity,
): AdminServer {
  const server = new AdminServer({
    name: "webhook",
    bodyBytesMax: BODY_BYTES_MAX,
    timeoutMs: TIMEOUT_MS,
    tls,
  });
  server.addRoute({
    method: "POST",
    path: "/validate",
    description: "an AdmissionReview, answered",
    handler: async ({ body }) => {
      const answer = await reviews.answer(body);
      if (answer !== undefined) return jsonResponse(answer);
      return textResponse("the body is no AdmissionReview of admission.k8s.io/v1\n", 400);
    },
  });
  return server;
}
