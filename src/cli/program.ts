/**
 * The command line as a tree: commands, their options, and where each one's code lives. Parsing
 * knows nothing of a mesh; the code of a command is imported when it runs.
 */
import { Command, CommanderError } from "commander";
import { describeError, EXIT_USAGE, exitCodeOf } from "./command-error.ts";
import { CLUSTER_OPTIONS } from "./control-plane-options.ts";
import { INSTALL_OPTIONS } from "./install/install-options.ts";
import { OPTIONS } from "./options.ts";
import { type Output, processOutput } from "./output.ts";
import { hostOptions, PROXY_OPTIONS, proxyOptions } from "./proxy-options.ts";
import { version } from "./version.ts";

/** Runs a command line and tells the exit code. */
export async function run(
  args: readonly string[],
  output: Output = processOutput(),
): Promise<number> {
  let exitCode = 0;
  const isVerbose = beforeDashes(args).some((arg) => arg === "-v" || arg === "--verbose");
  const program = buildProgram(output, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (caught) {
    // Commander has already said what it has to say.
    if (caught instanceof CommanderError) return caught.exitCode === 0 ? 0 : EXIT_USAGE;
    output.say(describeError(caught, isVerbose));
    return exitCodeOf(caught);
  }
}

function beforeDashes(args: readonly string[]): readonly string[] {
  const dashes = args.indexOf("--");
  return dashes < 0 ? args : args.slice(0, dashes);
}

type End = (exitCode: number) => void;

/** Exported so that the options of others' command lines can be held against it. */
export function buildProgram(output: Output, end: End): Command {
  const program = new Command("waystone")
    .description("An ambient service mesh: run it, ask it, and find out why.")
    .version(version(), "--version", "print the version")
    .helpCommand(true)
    .enablePositionalOptions();
  addUp(program, output, end);
  addRequest(program, output, end);
  addExplain(program, output, end);
  addDecisions(program, output, end);
  addWhatIf(program, output, end);
  addExec(program, output, end);
  addValidate(program, output, end);
  addStatus(program, output, end);
  addWait(program, output, end);
  addToken(program, output, end);
  addControlPlane(program, output, end);
  addZtunnel(program, output, end);
  addWaypoint(program, output, end);
  addInstall(program, output, end);
  addUninstall(program, output, end);
  addWorker(program, end);
  program
    .command("version")
    .description("print the version")
    .addOption(OPTIONS.output())
    .action((options: { output: string }) => {
      const number = version();
      output.print(options.output === "json" ? JSON.stringify({ version: number }) : number);
    });
  // Copied into the commands by hand: they do not inherit what is set after they are made.
  for (const command of [program, ...program.commands]) {
    command
      .exitOverride()
      .showSuggestionAfterError(true)
      .showHelpAfterError(
        `See 'waystone ${command === program ? "" : `${command.name()} `}--help'.`,
      )
      .configureOutput({
        writeOut: (text) => output.print(text.trimEnd()),
        writeErr: (text) => output.say(text.trimEnd()),
        outputError: (text, write) => write(text.replace(/^error: /, "Error: ")),
      });
    if (command !== program) command.addOption(OPTIONS.verbose());
  }
  return program;
}

function addUp(program: Command, output: Output, end: End): void {
  program
    .command("up")
    .description("run the mesh that the manifests describe, on this machine, until Ctrl-C")
    .addOption(OPTIONS.file())
    .addOption(OPTIONS.workload())
    .addOption(OPTIONS.demo())
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.adminPort())
    .addOption(OPTIONS.metricsPort())
    .addOption(OPTIONS.readinessPort())
    .addOption(OPTIONS.socksPort())
    .addOption(OPTIONS.drainTimeout())
    .addOption(OPTIONS.output())
    .action(async (options) => {
      const { up } = await import("./commands/up.ts");
      end(await up(options, output));
    });
}

function addRequest(program: Command, output: Output, end: End): void {
  program
    .command("request")
    .description("send a request as a workload of the running mesh, and show what decided")
    .argument("[method]", "GET when it is left out")
    .argument("[url]", "http://service:port/path, as the workload would write it")
    .addOption(OPTIONS.from())
    .addOption(OPTIONS.header())
    .addOption(OPTIONS.data())
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.output())
    .action(async (first: string | undefined, second: string | undefined, options) => {
      const { request } = await import("./commands/request.ts");
      end(await request({ first, second, ...options }, output));
    });
}

function addExplain(program: Command, output: Output, end: End): void {
  program
    .command("explain")
    .description("say what would become of a request, and why; exit code 1 when it is denied")
    .argument("[decision]", "the id of a decision that the running mesh has recorded")
    .addOption(OPTIONS.client())
    .addOption(OPTIONS.target())
    .addOption(OPTIONS.method())
    .addOption(OPTIONS.path())
    .addOption(OPTIONS.tcp())
    .addOption(OPTIONS.sni())
    .addOption(OPTIONS.header())
    .addOption(OPTIONS.jwt())
    .addOption(OPTIONS.answer())
    .addOption(OPTIONS.draw())
    .addOption(OPTIONS.file().makeOptionMandatory(false))
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.output().choices(["text", "json", "yaml"]))
    .action(async (decision: string | undefined, options) => {
      const { explain } = await import("./commands/explain.ts");
      end(await explain({ decision, ...options }, output));
    });
}

function addDecisions(program: Command, output: Output, end: End): void {
  program
    .command("decisions")
    .description("list what the running mesh has decided lately, the latest last")
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.output().choices(["text", "json", "yaml"]))
    .action(async (options) => {
      const { decisions } = await import("./commands/decisions.ts");
      end(await decisions(options, output));
    });
}

const WHAT_IF_HELP = `
The manifests are laid over those of the running mesh, as 'kubectl apply' would: an object of the
same kind, namespace and name is replaced, the others stay. With --requests and no mesh running,
they are the whole configuration.

Exit code: 0 nothing would change; 1 something would, or it cannot be said of every request;
65 the manifests have errors; 69 no mesh is running.`;

function addWhatIf(program: Command, output: Output, end: End): void {
  program
    .command("what-if")
    .description("list the recorded requests that other manifests would decide otherwise")
    .addOption(OPTIONS.file())
    .addOption(OPTIONS.requests())
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.output().choices(["text", "json", "yaml"]))
    .addHelpText("after", WHAT_IF_HELP)
    .action(async (options) => {
      const { whatIf } = await import("./commands/what-if.ts");
      end(await whatIf(options, output));
    });
}

function addExec(program: Command, output: Output, end: End): void {
  program
    .command("exec")
    .description("run a command whose traffic enters the running mesh as a workload's")
    .argument("<command...>", "the command and its arguments, behind --")
    .addOption(OPTIONS.as())
    .addOption(OPTIONS.state())
    .passThroughOptions()
    .action(async (command: string[], options) => {
      const { exec } = await import("./commands/exec.ts");
      end(await exec({ command, ...options }, output));
    });
}

function addValidate(program: Command, output: Output, end: End): void {
  program
    .command("validate")
    .description("check manifests without running them; exit code 65 when they have errors")
    .addOption(OPTIONS.file())
    .addOption(OPTIONS.output())
    .action(async (options) => {
      const { validate } = await import("./commands/validate.ts");
      end(await validate(options, output));
    });
}

function addStatus(program: Command, output: Output, end: End): void {
  program
    .command("status")
    .description("show the running mesh's conditions, or which proxies of a cluster enforce what")
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.cluster())
    .addOption(OPTIONS.kubeconfig())
    .addOption(OPTIONS.context())
    .addOption(OPTIONS.monitoringAddress())
    .addOption(OPTIONS.namespace())
    .addOption(OPTIONS.output())
    .action(async (options) => {
      const { status } = await import("./commands/status.ts");
      end(await status(options, output));
    });
}

function addWait(program: Command, output: Output, end: End): void {
  program
    .command("wait")
    .description("wait until every proxy that is to enforce a policy does")
    .argument("<kind/name>", "policy/NAME, requestauthentication/NAME, peerauthentication/NAME")
    .addOption(OPTIONS.waitFor())
    .addOption(OPTIONS.namespace().default("default"))
    .addOption(OPTIONS.waitTimeout())
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.cluster())
    .addOption(OPTIONS.kubeconfig())
    .addOption(OPTIONS.context())
    .addOption(OPTIONS.monitoringAddress())
    .addOption(OPTIONS.output())
    .action(async (target: string, options) => {
      const { wait } = await import("./commands/wait.ts");
      end(await wait(target, options, output));
    });
}

function addToken(program: Command, output: Output, end: End): void {
  program
    .command("token")
    .description("print a token by which a proxy proves to the control plane who it is")
    .argument("<namespace/serviceaccount>", "istio-system/ztunnel, or a waypoint's")
    .addOption(OPTIONS.node())
    .addOption(OPTIONS.pod())
    .addOption(OPTIONS.tokenTtl())
    .addOption(OPTIONS.state())
    .action(async (account: string, options) => {
      const { token } = await import("./commands/token.ts");
      end(await token({ account, ...options }, output));
    });
}

function addControlPlane(program: Command, output: Output, end: End): void {
  const command = program
    .command("control-plane")
    .description("serve manifests, or a cluster's objects, to ztunnels and waypoints")
    .addOption(OPTIONS.file().makeOptionMandatory(false))
    .addOption(OPTIONS.kubernetes())
    .addOption(OPTIONS.kubeconfig())
    .addOption(OPTIONS.context())
    .addOption(OPTIONS.state())
    .addOption(OPTIONS.serveAddress())
    .addOption(OPTIONS.serverName())
    .addOption(OPTIONS.trustedNodeAccounts());
  // Where istiod has them, so that a ztunnel on the same machine can have its own.
  for (const option of hostOptions("127.0.0.1:9876", "0.0.0.0:15014", "0.0.0.0:8080")) {
    command.addOption(option);
  }
  for (const option of Object.values(CLUSTER_OPTIONS)) command.addOption(option());
  command
    .addOption(PROXY_OPTIONS.drainTimeout())
    .addOption(OPTIONS.output())
    .action(async (options) => {
      const { controlPlane } = await import("./commands/control-plane.ts");
      end(await controlPlane(options, output));
    });
}

function addZtunnel(program: Command, output: Output, end: End): void {
  const command = program
    .command("ztunnel")
    .description("run the L4 proxy of a node's workloads, as the control plane configures it")
    .addOption(OPTIONS.node())
    .addOption(PROXY_OPTIONS.socksAddress())
    .addOption(PROXY_OPTIONS.socksPasswordFile())
    .addOption(PROXY_OPTIONS.dnsAddress())
    .addOption(PROXY_OPTIONS.originalSource())
    .addOption(PROXY_OPTIONS.capture());
  for (const option of proxyOptions()) command.addOption(option);
  command.action(async (options) => {
    const { ztunnel } = await import("./commands/ztunnel.ts");
    end(await ztunnel(options, output));
  });
}

const INSTALL_HELP = `
The objects are those of the Helm chart with the same values (docs/reference/chart.md), applied by
server-side apply as the field manager waystone-install. What an earlier run has applied and these
values do not have is removed.`;

function addInstall(program: Command, output: Output, end: End): void {
  program
    .command("install")
    .description("install the control plane in a cluster, or print the manifests for it")
    .addOption(INSTALL_OPTIONS.mode())
    .addOption(INSTALL_OPTIONS.set())
    .addOption(INSTALL_OPTIONS.values())
    .addOption(INSTALL_OPTIONS.namespace())
    .addOption(INSTALL_OPTIONS.dryRun())
    .addOption(INSTALL_OPTIONS.wait())
    .addOption(INSTALL_OPTIONS.timeout())
    .addOption(INSTALL_OPTIONS.forceConflicts())
    .addOption(INSTALL_OPTIONS.kubeconfig())
    .addOption(INSTALL_OPTIONS.context())
    .addHelpText("after", INSTALL_HELP)
    .action(async (options) => {
      const { install } = await import("./commands/install.ts");
      end(await install(options, output));
    });
}

function addUninstall(program: Command, output: Output, end: End): void {
  program
    .command("uninstall")
    .description("remove what 'waystone install' has applied")
    .addOption(INSTALL_OPTIONS.namespace())
    .addOption(INSTALL_OPTIONS.kubeconfig())
    .addOption(INSTALL_OPTIONS.context())
    .action(async (options) => {
      const { uninstall } = await import("./commands/install.ts");
      end(await uninstall(options, output));
    });
}

/** What `--workers` forks; nobody else should run it. */
function addWorker(program: Command, end: End): void {
  program.command("worker", { hidden: true }).action(async () => {
    const { worker } = await import("./commands/worker.ts");
    end(await worker());
  });
}

function addWaypoint(program: Command, output: Output, end: End): void {
  const command = program
    .command("waypoint")
    .description("run an instance of a Gateway's waypoint, as the control plane configures it")
    .argument("<namespace/name>", "of the Gateway")
    .addOption(PROXY_OPTIONS.tunnelAddress())
    .addOption(PROXY_OPTIONS.serviceAccount())
    .addOption(PROXY_OPTIONS.istiod())
    .addOption(PROXY_OPTIONS.controlPlaneIdentity());
  for (const option of proxyOptions()) command.addOption(option);
  command.action(async (gateway: string, options) => {
    const { waypoint } = await import("./commands/waypoint.ts");
    end(await waypoint({ gateway, ...options }, output));
  });
}
