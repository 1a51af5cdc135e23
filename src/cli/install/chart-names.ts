/**
 * What the objects of an installation have in common: names, labels, the image.
 */
import {
  APP_VERSION,
  byMode,
  type ChartNode,
  NAMESPACE,
  RELEASE,
  type Reference,
  ref,
  text,
} from "./chart-node.ts";

type Mapping = { readonly [key: string]: ChartNode };

/** Of the Deployment and what goes with it. */
export const NAME = "waystone";

/** Istio's ztunnel and CNI look for istiod. */
export const SERVICE: Reference = byMode("istiod", "waystone");

/** Of objects outside of the installation's namespace: another mode may be there, too. */
export const MODE_NAME = text`waystone-${ref("mode")}`;

export const IMAGE = text`${ref("image.repository")}:${ref("image.tag", APP_VERSION)}`;

/** The file of `--waypoint-settings`. */
export const SETTINGS_MAP = "waystone-waypoints";
export const SETTINGS_FILE = "settings.yaml";

/** Says of every object whose installation it belongs to: `waystone uninstall` goes by it. */
export const INSTALLATION_LABEL = "waystone.io/installed-in";

export const SELECTOR: Mapping = {
  "app.kubernetes.io/name": "waystone",
  "app.kubernetes.io/instance": text`${RELEASE}`,
};

export function labels(own: Mapping = {}): Mapping {
  return {
    ...SELECTOR,
    "app.kubernetes.io/version": text`${APP_VERSION}`,
    [INSTALLATION_LABEL]: text`${NAMESPACE}`,
    ...own,
  };
}

/** Of an object in the installation's namespace. */
export function metadata(name: ChartNode, own: Mapping = {}): Mapping {
  return { name, namespace: text`${NAMESPACE}`, labels: labels(own) };
}
