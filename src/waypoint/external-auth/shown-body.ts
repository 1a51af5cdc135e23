/** What an authorizer is shown of a request's body. */
export interface ShownBody {
  readonly bytes: Buffer;
  /** There is more of it. */
  readonly isPartial: boolean;
}

export const NO_BODY: ShownBody = { bytes: Buffer.alloc(0), isPartial: false };
