/**
 * A generated mesh that changes: one object at a time, of the kinds below, each different from what
 * it was. What stands here after all changes is what a fresh build would be made of.
 */
export class ChangingMesh {
  #mesh;
  #shape;
  #objects = new Map();
  #isUnready = new Set();
  #added = new Set();
  #turn = 0;

  constructor(mesh, shape) {
    this.#mesh = mesh;
    this.#shape = shape;
    for (const object of mesh.objects) this.#objects.set(idOf(object), object);
  }

  get objects() {
    return [...this.#objects.values()];
  }

  /** The batch of one change; `number` says of what. */
  change(kind, number) {
    const batch = this.#batch(kind, number % this.#shape.services);
    for (const object of batch.upserted) this.#objects.set(idOf(object), object);
    for (const object of batch.removed) this.#objects.delete(idOf({ ...object, value: undefined }));
    return batch;
  }

  #batch(kind, i) {
    const mesh = this.#mesh;
    const turn = ++this.#turn;
    const one = (object) => ({ upserted: [object], removed: [] });
    const { podsPerService: pods } = this.#shape;
    switch (kind) {
      case "readiness": {
        const isReady = this.#isUnready.delete(i);
        if (!isReady) this.#isUnready.add(i);
        return one(mesh.pod(i, 0, { isReady }));
      }
      case "pod": {
        const isThere = this.#added.delete(i);
        if (!isThere) this.#added.add(i);
        const pod = mesh.pod(i, pods);
        return isThere ? { upserted: [], removed: [nameOf(pod)] } : one(pod);
      }
      case "route":
        return one(mesh.route(i, { weights: [1, turn + 1] }));
      case "policy":
        return one(mesh.policy(i, { path: `/api/${turn}/*` }));
      case "service":
        return one(mesh.service(i, { copy: turn }));
      default:
        throw new Error(`no change is called ${kind}`);
    }
  }
}

function nameOf({ kind, value }) {
  const { namespace = "", name } = value.metadata;
  return { kind, namespace, name };
}

function idOf(object) {
  const { kind, namespace, name } = object.value === undefined ? object : nameOf(object);
  return `${kind}/${namespace}/${name}`;
}
