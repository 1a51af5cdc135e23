/** What an authorizer is shown of a request's body. */
export interface ShownBody {
  readonly bytes: Buffer;
  /** There is more of it. */
  readonly isPartial: boolean;
}

export const NO_BODY: ShownBody = { bytes: Buffer.alloc(0), isPartial: false };

/** Of one request; what waits must fit into the client's window. */
export const SHOWN_BODY_BYTES_MAX = 32 * 1024;
