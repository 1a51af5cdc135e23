/**
 * House rules as a check: who may import whom, how long things may be, what may not be called.
 *
 * `node tools/tidy.mjs` prints every breach with the rule's reason and exits 1 when there is one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Which folders of src/ a folder may import from (itself always). ARCHITECTURE.md draws the same. */
export const LAYERS = {
  kit: [],
  api: ["kit"],
  model: ["kit"],
  net: ["kit"],
  policy: ["kit", "model"],
  translate: ["kit", "model", "api"],
  telemetry: ["kit", "model"],
  wire: ["kit", "model"],
  analyze: ["kit", "model", "api", "policy", "translate"],
  agent: ["kit", "model", "net", "policy", "telemetry", "wire"],
  control: ["kit", "model", "api", "net", "translate", "telemetry", "wire", "agent", "analyze"],
  ztunnel: ["kit", "model", "net", "policy", "telemetry", "agent"],
  waypoint: ["kit", "model", "net", "policy", "telemetry", "agent", "wire"],
  local: [
    "kit",
    "model",
    "api",
    "net",
    "policy",
    "telemetry",
    "translate",
    "agent",
    "control",
    "ztunnel",
    "waypoint",
  ],
  testing: ["kit", "model", "policy", "local"],
  process: [
    "kit",
    "model",
    "api",
    "net",
    "policy",
    "telemetry",
    "wire",
    "agent",
    "control",
    "ztunnel",
    "waypoint",
  ],
  cli: [
    "kit",
    "model",
    "api",
    "net",
    "policy",
    "telemetry",
    "translate",
    "agent",
    "control",
    "local",
    "process",
  ],
};

/** Calls that are banned in src/, and what to do instead. */
const BANNED = [
  [
    /\bconsole\.(log|error|warn)\(/,
    "print through cli/output or log through kit/log",
    /^src\/(cli|kit)\//,
  ],
  [/\bprocess\.exit\(/, "set process.exitCode and let the loop end", /^src\/cli\/main\.ts$/],
  [
    /from "node:http2"/,
    "the data path's HTTP/2 is net/http2 (DESIGN D3)",
    /^src\/(control\/serve\/|agent\/grpc-|local\/echo)/,
  ],
  [/\beval\(|new Function\(/, "never build code from data", /^$/],
];

const LINES_MAX = 400;
const FUNCTION_LINES_MAX = 70;
const COLUMNS_MAX = 100;

const GENERATED = new Set(["src/api/schemas", "src/wire/gen"]);

/** All .ts files under a folder, what is generated left out. */
function sources(folder) {
  const found = [];
  for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (!GENERATED.has(path) && entry.name !== "node_modules") found.push(...sources(path));
    } else if (entry.name.endsWith(".ts")) found.push(path);
  }
  return found;
}

function importBreaches(path, text) {
  const folder = path.split("/")[1];
  if (path.endsWith(".test.ts") || path.split("/").length < 3) return [];
  const allowed = LAYERS[folder];
  if (allowed === undefined) return [`${path}: folder ${folder} is not in the table of layers`];
  const breaches = [];
  for (const [, target] of text.matchAll(/from "(\.[^"]+)"|import\("(\.[^"]+)"\)/g)) {
    if (target === undefined) continue;
    const to = normalize(join(dirname(path), target)).split("/")[1];
    if (to !== folder && !allowed.includes(to)) {
      breaches.push(`${path}: imports ${to}, which ${folder} may not (tools/tidy.mjs, LAYERS)`);
    }
  }
  return breaches;
}

/** Functions by indentation: biome has formatted the file, so a body ends at its own indentation. */
function longFunctions(path, lines) {
  const breaches = [];
  const opens =
    /^(\s*)(?:export )?(?:async )?(?:(?:static |override |private |readonly )*[#\w]+\(.*|function\b.*|.*=> )\{$/;
  for (let i = 0; i < lines.length; i++) {
    const found = opens.exec(lines[i]);
    if (!found || /^\s*(if|for|while|switch|test|describe|class|interface)\b/.test(lines[i]))
      continue;
    const close = `${found[1]}}`;
    let end = i + 1;
    while (end < lines.length && !lines[end].startsWith(close)) end++;
    if (end - i + 1 > FUNCTION_LINES_MAX) {
      breaches.push(
        `${path}:${i + 1}: a function of ${end - i + 1} lines (at most ${FUNCTION_LINES_MAX})`,
      );
    }
  }
  return breaches;
}

function sizeBreaches(path, text) {
  const lines = text.split("\n");
  const breaches = [];
  const isTest = path.endsWith(".test.ts") || path.startsWith("test/");
  if (!isTest && lines.length > LINES_MAX + 1) {
    breaches.push(`${path}: ${lines.length} lines (at most ${LINES_MAX}); split it by noun`);
  }
  lines.forEach((line, index) => {
    if (line.length > COLUMNS_MAX && !/https?:\/\/|["`]/.test(line)) {
      breaches.push(`${path}:${index + 1}: ${line.length} columns (at most ${COLUMNS_MAX})`);
    }
  });
  return isTest ? breaches : [...breaches, ...longFunctions(path, lines)];
}

function bannedCalls(path, text) {
  if (!path.startsWith("src/") || path.endsWith(".test.ts")) return [];
  return BANNED.filter(([pattern, , except]) => pattern.test(text) && !except.test(path)).map(
    ([pattern, instead]) => `${path}: ${pattern} is banned: ${instead}`,
  );
}

/** Every breach of the house rules in the checkout. */
export function breaches() {
  return [...sources("src"), ...sources("test"), ...sources("tools")].flatMap((path) => {
    const text = readFileSync(join(ROOT, path), "utf8");
    const layer = path.startsWith("src/") ? importBreaches(path, text) : [];
    return [...layer, ...sizeBreaches(path, text), ...bannedCalls(path, text)];
  });
}

if (process.argv[1] && relative(process.argv[1], fileURLToPath(import.meta.url)) === "") {
  const found = breaches();
  for (const breach of found) process.stderr.write(`${breach}\n`);
  process.stderr.write(found.length ? `tidy: ${found.length} breaches\n` : "tidy: ok\n");
  process.exitCode = found.length ? 1 : 0;
}
