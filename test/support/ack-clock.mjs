/**
 * When each client's ACK of a revision has come to the server. It listens at the streams themselves,
 * by a wrapper around `onRequest`; clients whose node is called `silent…` are not waited for.
 */
export class AckClock {
  #currentRevision;
  /** What each client enforced when it was heard of last. */
  #streams = new Map();
  /** Changes whose ACKs are awaited, by revision. */
  #awaited = [];
  #timesMs = [];
  #wake = () => {};

  constructor(AdsStream, revisionType, currentRevision) {
    this.#currentRevision = currentRevision;
    const clock = this;
    const { onRequest, close } = AdsStream.prototype;
    AdsStream.prototype.onRequest = function (request) {
      onRequest.call(this, request);
      if (request.typeUrl !== revisionType) return;
      if (request.responseNonce !== "" && request.errorDetail === undefined) clock.#onAck(this);
    };
    AdsStream.prototype.close = function (failure) {
      close.call(this, failure);
      clock.#forget(this);
    };
  }

  #onAck(stream) {
    if (stream.node.startsWith("silent")) return;
    const { enforcedRevision } = stream;
    this.#streams.set(stream, enforcedRevision);
    const nowMs = performance.now();
    for (const change of this.#awaited) {
      if (change.revision > enforcedRevision) break;
      if (change.streams.delete(stream)) this.#timesMs.push(nowMs - change.atMs);
    }
    this.#wakeWhenAnswered();
  }

  #forget(stream) {
    this.#streams.delete(stream);
    for (const { streams } of this.#awaited) streams.delete(stream);
    this.#wakeWhenAnswered();
  }

  #wakeWhenAnswered() {
    while (this.#awaited.length > 0 && this.#awaited[0].streams.size === 0) this.#awaited.shift();
    this.#wake();
  }

  /** A change was made just now that is said to have happened then. */
  expect(atMs) {
    const revision = this.#currentRevision();
    const isBehind = (stream) => stream.enforcedRevision < revision;
    const streams = new Set([...this.#streams.keys()].filter(isBehind));
    if (streams.size > 0) this.#awaited.push({ revision, atMs, streams });
  }

  /** The times to all ACKs since the last call, when the last has come. */
  async answered() {
    while (this.#awaited.length > 0) await this.#woken();
    return this.#timesMs.splice(0);
  }

  async inSync(clients) {
    const count = () => {
      const current = this.#currentRevision();
      let sum = 0;
      for (const enforced of this.#streams.values()) if (enforced === current) sum++;
      return sum;
    };
    while (count() < clients) await this.#woken();
  }

  #woken() {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
