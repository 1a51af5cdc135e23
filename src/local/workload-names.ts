/**
 * Which workload a person means by `NAME` or `namespace/NAME`: the Pod of that name, or one whose
 * owner (Deployment, StatefulSet …) has it.
 */
export interface NamedWorkload {
  readonly namespace: string;
  readonly name: string;
  /** Of what owns it: the Deployment. */
  readonly workloadName: string;
}

export function isMeant(wanted: string, workload: NamedWorkload): boolean {
  const slash = wanted.indexOf("/");
  if (slash >= 0 && wanted.slice(0, slash) !== workload.namespace) return false;
  const name = wanted.slice(slash + 1);
  return name === workload.name || name === workload.workloadName;
}

/** All that are meant; a Pod's own name beats its owner's. */
export function findMeant<T extends NamedWorkload>(wanted: string, all: Iterable<T>): T[] {
  const meant = [...all].filter((workload) => isMeant(wanted, workload));
  const name = wanted.slice(wanted.indexOf("/") + 1);
  const exact = meant.filter((workload) => workload.name === name);
  return exact.length > 0 ? exact : meant;
}

/** The shortest name that means this workload, or its siblings under one owner, and no other. */
export function shortName<T extends NamedWorkload>(workload: T, all: readonly T[]): string {
  const { workloadName, namespace } = workload;
  const isAlone = findMeant(workloadName, all).every((other) => other.namespace === namespace);
  return isAlone ? workloadName : `${namespace}/${workloadName}`;
}
