// Measures the overlay and writes docs/BENCHMARKS.md from it.
//
//   node scripts/bench-report.mjs            measures everything (some 40 minutes), then writes
//   node scripts/bench-report.mjs RUN...     measures only these (names below), and writes with what others found before
//   node scripts/bench-report.mjs --write    only writes
//
// What each run printed stays in TARGET/bench-report/RUN.json, with the machine, the commit and the command. Each run has
// a network namespace of its own where that is allowed, so that its counters see no other traffic.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const binary = join(target, "release", "grapevine");
const results = join(target, "bench-report");

const RUNS = {
  "flow-16": "bench gossip --nodes 16 --phases idle,alone,streams --rest 30 --json",
  "flow-64": "bench gossip --nodes 64 --phases idle,alone,streams --rest 30 --json",
  "flow-128": "bench gossip --nodes 128 --phases idle,alone,streams --rest 60 --json",
  stop: "bench gossip --nodes 16 --phases stop --stop 30 --stop-rate 1000 --json",
  kill: "bench gossip --nodes 64 --phases kill --kill 50 --runs 3 --json",
  split: "bench gossip --nodes 64 --phases split --json",
  newcomer: "bench gossip --nodes 16 --phases newcomer --files 100000 --json",
  difference: "bench gossip --nodes 2 --phases difference --files 1000000 --json",
  versions: "bench gossip --nodes 16 --phases versions --json",
  "simulated-one": "simulate --peers 1000 --scenario one-sender --runs 5 --json",
  "simulated-random": "simulate --peers 1000 --scenario random-senders --runs 5 --json",
  "simulated-kill": "simulate --peers 1000 --scenario kill-50 --runs 5 --json",
};

function measure(name) {
  const words = RUNS[name];
  console.log(`${name}: grapevine ${words}`);
  const own = spawnSync("unshare", ["-rn", "true"]).status === 0;
  const [command, flags] = own
    ? ["unshare", ["-rn", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', binary, ...words.split(" ")]]
    : [binary, words.split(" ")];
  const run = spawnSync(command, flags, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 28 });
  if (run.status !== 0) throw new Error(`${name} ended with ${run.status ?? run.error ?? run.signal}`);
  const git = (...args) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
  const found = {
    command: `grapevine ${words}`,
    machine: `${os.cpus().length} cores (${os.cpus()[0].model.trim()}), Linux ${os.release()}`,
    commit: git("describe", "--always", "--dirty"),
    day: new Date().toISOString().slice(0, 10),
    load: os.loadavg()[0].toFixed(1),
    printed: run.stdout.trim().split("\n").map((line) => JSON.parse(line)),
  };
  writeFileSync(join(results, `${name}.json`), JSON.stringify(found, null, 1));
}

const read = (name) => {
  const file = join(results, `${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
};
const number = (value, digits = 1) => (value == null ? "–" : value.toFixed(digits));
const whole = (value) => (value == null ? "–" : Math.round(value).toLocaleString("en-US"));
const ms = (value) => (value == null ? "–" : value < 10 ? `${value.toFixed(2)} ms` : `${whole(value)} ms`);
const table = (head, rows) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

const cost = (flow) =>
  flow ? `${whole(flow.cost.wire_bytes)}, ${number(flow.cost.control)}, ${number(flow.cost.cpu_us)}` : "–";
const FLOWS = [
  ["last delivery, one sender, p50", (f) => ms(f.one_sender?.last_delivery_ms.p50)],
  ["last delivery, random senders, p50", (f) => ms(f.random_senders?.last_delivery_ms.p50)],
  ["a delivery alone, one sender: bytes on the wire, control messages, µs of CPU", (f) => cost(f.one_sender)],
  ["the same, random senders", (f) => cost(f.random_senders)],
  ["1,000 a second: p50, p99", (f) => `${ms(f.paced?.last_delivery_ms.p50)}, ${ms(f.paced?.last_delivery_ms.p99)}`],
  ["64 in flight: updates a second to all", (f) => whole(f.window?.updates_per_second)],
  ["burst of 10,000: updates a second to all", (f) => whole(f.burst?.updates_per_second)],
  ["a delivery of the burst: bytes, control messages, µs of CPU", (f) => cost(f.burst)],
  ["idle: bytes a second and peer", (f) => whole(f.idle?.wire_bytes)],
  ["private memory a peer, before and after 25,000 updates", (f) => `${whole(f.private_kib)}, ${whole(f.private_kib_after)} KiB`],
  ["lost", (f) => whole(f.lost)],
];

function flows() {
  const found = [16, 64, 128].map((n) => [n, read(`flow-${n}`)?.printed[0]]).filter(([, run]) => run);
  const head = ["peers", ...found.flatMap(([n]) => [`${n}`, "floor"])];
  const rows = FLOWS.map(([what, of]) => [what, ...found.flatMap(([, run]) => [of(run.grapevine), of(run.baseline)])]);
  return table(head, rows);
}

const FAULTS = {
  stop: (f) => [
    `one process stopped for ${f.stop.seconds} s at ${whole(f.stop.per_second)} updates a second`,
    `the others' p99 ${ms(f.stop.before_ms.p99)} before, ${ms(f.stop.meanwhile_ms.p99)} meanwhile; ${whole(f.stop.private_growth_kib)} KiB more; whole after ${ms(f.stop.whole_after_ms)}`,
  ],
  kill: (f) => [
    `${f.kill.killed} of the processes die at once, ${f.kill.runs} times`,
    `slowest update afterwards ${ms(f.kill.last_delivery_ms.max)}; slower than 100 ms until ${ms(f.kill.slow_until_ms)} after; who starts anew knows all after ${ms(f.kill.back_after_ms)}`,
  ],
  split: (f) => [
    `two halves apart for ${f.split.seconds} s, both publishing`,
    `one again ${ms(f.split.merged_after_ms)} after mending; single updates slower than 100 ms until ${ms(f.split.slow_until_ms)} after`,
  ],
  newcomer: (f) => [
    `a newcomer gets ${whole(f.newcomer.files)} files`,
    `${ms(f.newcomer.took_ms)}, ${number(f.newcomer.wire_bytes / f.newcomer.lacked_bytes, 2)} times their bytes`,
  ],
  difference: (f) => [
    `two peers with ${whole(f.difference.files)} files, of which one lacks one`,
    `${ms(f.difference.took_ms)}, ${whole(f.difference.wire_bytes)} bytes with the join`,
  ],
  versions: (f) => [
    `${whole(f.versions.updates)} versions of ${whole(f.versions.files)} files, ${f.versions.window} in flight`,
    `${whole(f.versions.updates_per_second)} a second; resident ${whole(f.versions.before.resident_kib)} KiB a peer before, ${whole(f.versions.after.resident_kib)} after`,
  ],
};

function faults() {
  const found = Object.keys(FAULTS).map((name) => [name, read(name)]).filter(([, run]) => run);
  const rows = found.map(([name, run]) => {
    const figures = run.printed[0].grapevine;
    const [what, came] = FAULTS[name](figures);
    return [what, `\`${run.command.replace(" --json", "")}\``, `${whole(figures.lost)} lost; ${came}`];
  });
  return table(["what happens", "command", "measured"], rows);
}

const span = (values, digits) => {
  const [low, high] = [Math.min(...values).toFixed(digits), Math.max(...values).toFixed(digits)];
  return low === high ? low : `${low} to ${high}`;
};

function simulated() {
  const found = Object.keys(RUNS).filter((name) => name.startsWith("simulated-")).map(read).filter(Boolean);
  const rows = found.map(({ printed }) => [
    printed[0].scenario,
    span(printed.map((run) => run.rmr), 3),
    span(printed.map((run) => run.ldh), 1),
    `${span(printed.map((run) => run.last_delivery_ms.mean), 0)} ms`,
    span(printed.map((run) => run.lost), 0),
  ]);
  return table(["scenario", "redundancy (RMR)", "last hop (LDH)", "last delivery, mean", "lost"], rows);
}

function origin() {
  const found = Object.keys(RUNS).map((name) => [name, read(name)]).filter(([, run]) => run);
  const kinds = new Map();
  for (const [name, run] of found) {
    const where = `${run.machine}; commit ${run.commit}, ${run.day}`;
    kinds.set(where, [...(kinds.get(where) ?? []), name]);
  }
  return [...kinds].map(([where, names]) => `- ${where}: ${names.join(", ")}`).join("\n");
}

function write() {
  const text = `# Benchmarks

Written by \`make bench-report\`; only the newest figures stand here. Every figure is one run on the loopback, one process a
peer, updates of 100 bytes. The *floor* is a bare TCP tree of fan-out 4 in the same run, which parses nothing and repairs
nothing: compare with it, since times alone say more about the machine.

${origin()}

## Spreading

\`grapevine bench gossip --nodes N --phases idle,alone,streams --rest 30\` (128 peers: 60)

${flows()}

## Faults

${faults()}

A split needs a network namespace of its own: \`unshare -rn sh -c "ip link set lo up; grapevine bench gossip …"\`.

## Simulated

1,000 peers, links of 10 to 50 ms, five seeds: \`grapevine simulate --peers 1000 --scenario S --runs 5\`. What the tests hold
of it stands in \`shared/tests/it/overlay.rs\`.

${simulated()}
`;
  writeFileSync(join(root, "docs", "BENCHMARKS.md"), text);
  console.log("docs/BENCHMARKS.md: written");
}

const asked = process.argv.slice(2);
const names = asked.length === 0 ? Object.keys(RUNS) : asked.filter((word) => word !== "--write");
const unknown = names.find((name) => !(name in RUNS));
if (unknown) {
  console.error(`there is no run ${unknown}; there are ${Object.keys(RUNS).join(", ")}`);
  process.exit(2);
}
mkdirSync(results, { recursive: true });
names.forEach(measure);
write();
