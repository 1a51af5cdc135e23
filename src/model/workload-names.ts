/**
 * Which workload a person means by `NAME` or `namespace/NAME`: the Pod of that name, or one whose
 * owner (Deployment, StatefulSet …) has it, or one whose application has it (canonical name).
 */
export interface NamedWorkload {
  readonly namespace: string;
  readonly name: string;
  /** Of what owns it: the Deployment. */
  readonly workloadName: string;
  /** Of the application: label `app` and its like. */
  readonly canonicalName: string;
}

export function isMeant(wanted: string, workload: NamedWorkload): boolean {
  return rankOf(wanted, workload) > 0;
}

/** How directly the workload is meant: 3 by its own name, 0 not at all. */
function rankOf(wanted: string, workload: NamedWorkload): number {
  const slash = wanted.indexOf("/");
  if (slash >= 0 && wanted.slice(0, slash) !== workload.namespace) return 0;
  const name = wanted.slice(slash + 1);
  if (name === workload.name) return 3;
  if (name === workload.workloadName) return 2;
  return name === workload.canonicalName ? 1 : 0;
}

/** All that are meant; a Pod's own name beats its owner's, and that the application's. */
export function findMeant<T extends NamedWorkload>(wanted: string, all: Iterable<T>): T[] {
  let best = 1;
  let meant: T[] = [];
  for (const workload of all) {
    const rank = rankOf(wanted, workload);
    if (rank > best) meant = [];
    if (rank < best) continue;
    best = rank;
    meant.push(workload);
  }
  return meant;
}

/** The shortest name that means this workload, or its siblings under one owner, and no other. */
export function shortName<T extends NamedWorkload>(workload: T, all: readonly T[]): string {
  const { workloadName, namespace } = workload;
  const isAlone = findMeant(workloadName, all).every((other) => other.namespace === namespace);
  return isAlone ? workloadName : `${namespace}/${workloadName}`;
}
