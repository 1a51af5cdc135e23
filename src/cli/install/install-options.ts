/**
 * The options of `install` and `uninstall`, in the order of `--help`.
 */
import { Option } from "commander";
import { parseDuration } from "../options.ts";

/** Of both, as commander hands them over. */
export interface AccessOptions {
  readonly namespace?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

export interface InstallOptions extends AccessOptions {
  readonly mode?: "under" | "beside";
  readonly set?: readonly string[];
  readonly values?: readonly string[];
  readonly dryRun?: boolean;
  readonly wait?: boolean;
  readonly timeout: number;
  readonly forceConflicts?: boolean;
}

export const INSTALL_OPTIONS = {
  mode: () =>
    new Option(
      "--mode <mode>",
      "'under': in istiod's place; 'beside': istiod stays; the same as --set mode=",
    ).choices(["under", "beside"]),
  set: () =>
    new Option("--set <name=value>", "set a value, as for helm (repeatable)").argParser(collect),
  values: () =>
    new Option("--values <file>", "a file of values, as for helm (repeatable)").argParser(collect),
  namespace: () =>
    new Option(
      "-n, --namespace <name>",
      "where the control plane runs (default: istio-system, beside istiod waystone-system)",
    ),
  dryRun: () => new Option("--dry-run", "print the manifests; no cluster is asked"),
  wait: () => new Option("--wait", "until the control plane is ready"),
  timeout: () =>
    new Option("--timeout <duration>", "how long --wait waits")
      .argParser(parseDuration)
      .default(300_000, "5m"),
  forceConflicts: () =>
    new Option("--force-conflicts", "take over fields that somebody else looks after"),
  kubeconfig: () => new Option("--kubeconfig <file>", "the kubeconfig to find the cluster by"),
  context: () => new Option("--context <name>", "the kubeconfig's context to use"),
} satisfies Record<string, () => Option>;

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}
