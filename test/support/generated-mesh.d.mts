import type { ParsedObject } from "../../src/api/object.ts";

export interface MeshShape {
  readonly services: number;
  readonly podsPerService: (service: number) => number;
}

/** Objects by the number of their service, as they are or changed. */
export interface GeneratedMesh {
  readonly objects: readonly ParsedObject[];
  route(service: number, change?: { readonly weights: readonly number[] }): ParsedObject;
  pod(service: number, index: number, change?: { readonly isReady: boolean }): ParsedObject;
  policy(service: number, change?: { readonly path: string }): ParsedObject;
  service(service: number, change?: { readonly copy: number }): ParsedObject;
  namespace(service: number, change?: { readonly usesWaypoint: boolean }): ParsedObject;
  /** The waypoint in front of it. */
  gateway(service: number): string;
  serviceKey(service: number): string;
}

export function generateMesh(shape: MeshShape): GeneratedMesh;
