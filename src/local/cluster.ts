/**
 * The small Kubernetes of a laptop: given the objects of the files it adds what controllers would
 * (Pods, waypoints, addresses, namespaces, the waypoints' GatewayClass), so that the control plane
 * sees the same objects as it would in a cluster.
 *
 * Pure and incremental: a change in, the change that follows from it out. It costs what it
 * touches: each declared object is a *source* with *products* (itself, filled in, and what is made
 * for it). Where several want to make the same object the declared one wins, then the oldest.
 *
 * A namespace that objects name and no file declares is created enrolled in the mesh
 * (`istio.io/dataplane-mode: ambient`), so that manifests without their namespace work as they
 * are; a declared one is as it is declared.
 */
import { isDeepStrictEqual } from "node:util";
import type { KubeObject, ObjectChange, ObjectKey, ParsedObject } from "../api/object.ts";
import { Configuration } from "../control/configuration.ts";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import { nameOf, namespaceOf } from "../translate/object-names.ts";
import type { GatewayClassFacts } from "../translate/surroundings.ts";
import { isWaypointClass } from "../translate/waypoints.ts";
import { type AddressPlan, isLoopback4 } from "./addresses.ts";
import {
  hasOwnAddresses,
  POD_OWNERS,
  podsOf,
  record,
  runningStatus,
  undeclaredNamespace,
  waypointClass,
  waypointObjects,
  waypointStatus,
} from "./controllers.ts";

export interface ClusterOptions {
  readonly addresses: AddressPlan;
  readonly clusterDomain: string;
}

/** What one source makes, by key. */
type Products = ReadonlyMap<string, ParsedObject>;

interface Source {
  readonly declared: ParsedObject;
  products: Products;
}

export class Cluster {
  readonly #addresses: AddressPlan;
  readonly #clusterDomain: string;
  readonly #sources = new Map<string, Source>();
  /** Sources that make an object, oldest first. */
  readonly #makers = new Map<string, Set<string>>();
  /** What the control plane has been told. */
  readonly #current = new Map<string, ParsedObject>();
  /** How many declared objects stand in a namespace. */
  readonly #population = new Map<string, number>();
  /** The GatewayClasses that are declared. */
  #classes: ReadonlyMap<string, GatewayClassFacts> = new Map();
  #hasStarted = false;

  constructor(options: ClusterOptions) {
    this.#addresses = options.addresses;
    this.#clusterDomain = options.clusterDomain;
  }

  apply(change: ObjectChange): ObjectChange {
    const touched = new Set<string>();
    if (!this.#hasStarted) {
      this.#hasStarted = true;
      this.#replaceSource("GatewayClass//", synthetic(waypointClass(), "GatewayClass"), touched);
    }
    for (const key of change.removed) this.#removeSource(keyText(key), touched);
    for (const object of change.upserted) {
      this.#replaceSource(keyText(keyOf(object)), object, touched);
    }
    if (change.removed.some(isClass) || change.upserted.some((o) => o.kind === "GatewayClass")) {
      this.#renewClasses(touched);
    }
    return this.#settle(touched);
  }

  #replaceSource(key: string, declared: ParsedObject, touched: Set<string>): void {
    const previous = this.#sources.get(key);
    if (previous === undefined) this.#count(declared, 1, touched);
    else if (previous.declared.value === declared.value) {
      // It has moved in its file and says the same: so does all that was made of it.
      const { products } = previous;
      const own = products.get(key);
      const moved = new Map(products);
      if (own !== undefined) moved.set(key, withValue(declared, own.value));
      this.#sources.set(key, { declared, products: moved });
      touched.add(key);
      return;
    }
    this.#makeProducts(key, declared, touched);
  }

  #makeProducts(key: string, declared: ParsedObject, touched: Set<string>): void {
    const previous = this.#sources.get(key);
    const products = this.#products(declared);
    for (const product of previous?.products.keys() ?? []) {
      if (!products.has(product)) this.#makers.get(product)?.delete(key);
      touched.add(product);
    }
    for (const product of products.keys()) {
      let makers = this.#makers.get(product);
      if (makers === undefined) {
        makers = new Set();
        this.#makers.set(product, makers);
      }
      makers.add(key);
      touched.add(product);
    }
    this.#sources.set(key, { declared, products });
  }

  #removeSource(key: string, touched: Set<string>): void {
    const source = this.#sources.get(key);
    if (source === undefined) return;
    this.#sources.delete(key);
    this.#count(source.declared, -1, touched);
    for (const product of source.products.keys()) {
      this.#makers.get(product)?.delete(key);
      touched.add(product);
    }
  }

  /** Keeps one undeclared Namespace for as long as something stands in it. */
  #count(object: ParsedObject, difference: number, touched: Set<string>): void {
    const namespace = namespaceOf(object);
    if (namespace === "") return;
    const before = this.#population.get(namespace) ?? 0;
    const after = before + difference;
    const key = `Namespace (undeclared)/${namespace}`;
    if (after === 0) this.#population.delete(namespace);
    else this.#population.set(namespace, after);
    if (before === 0) {
      const made = synthetic(undeclaredNamespace(namespace), "Namespace");
      this.#replaceSource(key, made, touched);
    } else if (after === 0) this.#removeSource(key, touched);
  }

  /** Which classes are waypoints' follows from the GatewayClasses; all Gateways look again. */
  #renewClasses(touched: Set<string>): void {
    const classes = new Map<string, GatewayClassFacts>();
    for (const { declared } of this.#sources.values()) {
      if (declared.kind !== "GatewayClass") continue;
      const name = nameOf(declared);
      const controllerName = String(record(declared.value.spec).controllerName);
      classes.set(name, { name, controllerName, waypointFor: undefined });
    }
    if (isDeepStrictEqual(classes, this.#classes)) return;
    this.#classes = classes;
    for (const [key, source] of [...this.#sources]) {
      if (source.declared.kind === "Gateway") this.#makeProducts(key, source.declared, touched);
    }
  }

  /** What is different now among the objects that were touched. */
  #settle(touched: ReadonlySet<string>): ObjectChange {
    const upserted: ParsedObject[] = [];
    const removed: ObjectKey[] = [];
    for (const key of touched) {
      const before = this.#current.get(key);
      const now = this.#winner(key);
      if (now === undefined) {
        this.#makers.delete(key);
        if (before === undefined) continue;
        this.#current.delete(key);
        removed.push(keyOf(before));
        this.#release(before);
      } else if (this.#sources.has(key) ? before !== now : !isSame(before, now)) {
        this.#current.set(key, now);
        upserted.push(now);
      }
    }
    return { upserted, removed };
  }

  #winner(key: string): ParsedObject | undefined {
    const declared = this.#sources.get(key);
    if (declared !== undefined) return declared.products.get(key);
    for (const maker of this.#makers.get(key) ?? []) {
      return this.#sources.get(maker)?.products.get(key);
    }
    return undefined;
  }

  #products(declared: ParsedObject): Products {
    const products = new Map<string, ParsedObject>();
    const add = (object: ParsedObject) => products.set(keyText(keyOf(object)), object);
    add(this.#filledIn(declared));
    const made = POD_OWNERS.has(declared.kind)
      ? podsOf(withNamespace(declared))
      : declared.kind === "Gateway" && this.#isManagedWaypoint(declared.value)
        ? waypointObjects(withNamespace(declared))
        : [];
    for (const value of made) add(this.#filledIn(derived(value, declared)));
    return products;
  }

  /** The object with what its controller writes into it: addresses and status. */
  #filledIn(object: ParsedObject): ParsedObject {
    const { value } = object;
    const namespace = namespaceOf(object);
    const address = () => this.#addresses.allocate(object.kind, namespace, nameOf(object));
    switch (object.kind) {
      case "Service":
        return hasVirtualIp(value) ? withSpec(object, virtualIps(value, address())) : object;
      case "Pod": {
        const status = runningStatus(address(), value.status);
        const spec = record(value.spec);
        const { serviceAccountName = "default" } = spec;
        return withValue(object, { ...value, spec: { ...spec, serviceAccountName }, status });
      }
      case "ServiceEntry":
        return withSpec(object, { addresses: [address()] });
      case "Gateway": {
        if (!this.#isManagedWaypoint(value)) return object;
        const { name } = value.metadata;
        const hostname = `${name}.${namespace}.svc.${this.#clusterDomain}`;
        const front = this.#addresses.allocate("Service", namespace, name);
        const status = waypointStatus(hostname, front, value.status);
        return withValue(object, { ...value, status });
      }
      default:
        return object;
    }
  }

  /** True when a waypoint has to be made for this Gateway; one with addresses has its own. */
  #isManagedWaypoint(gateway: KubeObject): boolean {
    const name = String(record(gateway.spec).gatewayClassName);
    return isWaypointClass(name, this.#classes.get(name)) && !hasOwnAddresses(gateway);
  }

  #release(object: ParsedObject): void {
    this.#addresses.release(object.kind, namespaceOf(object), nameOf(object));
  }
}

/** The configuration of files, with what this cluster adds. */
export function localConfiguration(
  paths: readonly string[],
  addresses: AddressPlan,
): Configuration {
  const { clusterDomain } = DEFAULT_SETTINGS;
  const cluster = new Cluster({ addresses, clusterDomain });
  return new Configuration(paths, (change) => cluster.apply(change));
}

function hasVirtualIp(service: KubeObject): boolean {
  const spec = record(service.spec);
  return spec.clusterIP !== "None" && spec.type !== "ExternalName";
}

/** The plan's address first; one of the file stays beside it if it can be listened on. */
function virtualIps(service: KubeObject, address: string): Record<string, unknown> {
  const spec = record(service.spec);
  const listed = Array.isArray(spec.clusterIPs) ? spec.clusterIPs : [];
  const declared = [spec.clusterIP, ...listed].filter(
    (ip): ip is string => typeof ip === "string" && isLoopback4(ip),
  );
  return { clusterIP: address, clusterIPs: [...new Set([address, ...declared])] };
}

function withSpec(object: ParsedObject, fields: Record<string, unknown>): ParsedObject {
  const { value } = object;
  return withValue(object, { ...value, spec: { ...record(value.spec), ...fields } });
}

function withValue(object: ParsedObject, value: KubeObject): ParsedObject {
  return { ...object, value, positionOf: (path) => object.positionOf(path) };
}

/** An object that was made for another one: where it stands is where that one stands. */
function derived(value: KubeObject, source: ParsedObject): ParsedObject {
  const { position } = source;
  return { value, position, positionOf: () => position, kind: value.kind as ParsedObject["kind"] };
}

function synthetic(value: KubeObject, kind: ParsedObject["kind"]): ParsedObject {
  const position = { file: "", line: 1, column: 1 };
  return { value, position, positionOf: () => position, kind };
}

function withNamespace(object: ParsedObject): KubeObject {
  const { value } = object;
  return { ...value, metadata: { ...value.metadata, namespace: namespaceOf(object) } };
}

function keyOf(object: ParsedObject): ObjectKey {
  return { kind: object.kind, namespace: namespaceOf(object), name: nameOf(object) };
}

function keyText(key: ObjectKey): string {
  return `${key.kind}/${key.namespace}/${key.name}`;
}

function isClass(key: ObjectKey): boolean {
  return key.kind === "GatewayClass";
}

/** Made objects that say the same are the same. Declared ones may have moved within. */
function isSame(before: ParsedObject | undefined, now: ParsedObject): boolean {
  return (
    before !== undefined &&
    before.position.file === now.position.file &&
    before.position.line === now.position.line &&
    isDeepStrictEqual(before.value, now.value)
  );
}
