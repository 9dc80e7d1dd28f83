// What became of time: how a server starts, what releases changed, and what failed.
import { standing } from "./answer.js";
import { h } from "./dom.js";
import { MUTED, reachable } from "./figure.js";
import { matches } from "./question.js";
import { names as namesOf, number, title } from "./words.js";

const STAGES = { environment: "environment", download: "pull", build: "compile", launch: "launch", "warm up": "warm up" };
const ORDER = ["environment", "pull", "weights", "compile", "capture", "launch", "first token", "warm up"];
const MARK = { measured: "●", invalid: "◐", failed: "✕", unsupported: "–", interrupted: "…", stand_in: "◇" };
const VERDICT = { improved: "▲", regressed: "▼", equivalent: "=", undecided: "?", void: "∅" };
const MOST_ROWS = 40;

export function coldStart({ looks }) {
  const items = looks.flatMap((look) => phases(look.cell).map(([phase, seconds]) => ({ look, cell: look.cell, phase, seconds, says: `${look.name}: ${phase} ${number(seconds)} s` })));
  const cold = looks.filter((look) => look.cell.cold_start?.cold).length;
  const known = cold ? `${cold} of these starts were cold: weights from the disk, nothing compiled before.` : "Whether these starts were cold was not measured.";
  return {
    id: "start", title: "Cold start", caption: `Seconds until a server is there, phase by phase. ${known}`, summary: `Seconds of each phase of the start, for each configuration. ${known}`,
    absent: items.length ? null : "No start was timed.", headers: ["configuration", "start", ...ORDER, "known by"],
    rows: looks.map((look) => [look.name, look.cell.cold_start ? (look.cell.cold_start.cold ? "cold" : "warm") : "", ...ORDER.map((phase) => new Map(phases(look.cell)).get(phase) ?? null), look.cell.cold_start?.how_known ?? ""]), draw: (width) => stacked(width, looks, items, ORDER),
  };
}

// From the ledger of starts where there is one: weights, compilation and capture lie within the time to healthy.
function phases(cell) {
  const start = cell.cold_start;
  if (!start) return Object.keys(STAGES).map((stage) => [STAGES[stage], cell.stages_s[stage] ?? 0]).filter(([, seconds]) => seconds > 0);
  const inside = [["weights", start.weights_s], ["compile", start.compile_s], ["capture", start.capture_s]];
  const known = inside.reduce((sum, [, seconds]) => sum + (seconds ?? 0), 0);
  const rest = [["launch", start.healthy_s === undefined ? null : Math.max(0, start.healthy_s - known)], ["first token", start.first_token_s === undefined ? null : Math.max(0, start.first_token_s - (start.healthy_s ?? 0))]];
  return [["environment", start.environment_s], ["pull", start.pull_s], ...inside, ...rest].filter(([, seconds]) => seconds > 0);
}

function stacked(width, looks, items, order) {
  const rows = looks.filter((look) => items.some((item) => item.look === look));
  return Plot.plot({
    width, height: 52 + rows.length * 48, marginLeft: 6, marginRight: 12, marginTop: 18, marginBottom: 34, style: { background: "none", fontSize: "12px", fontFamily: "inherit" },
    x: { label: "seconds →", labelArrow: "none", nice: true }, y: { axis: null, padding: 0.74, domain: rows.map((_, index) => index) },
    opacity: { domain: order, range: [0.25, 0.35, 0.5, 0.8, 0.65, 1, 0.6, 0.4], type: "ordinal" },
    marks: [
      Plot.barX(items, reachable(items, { x: "seconds", z: "phase", y: (item) => rows.indexOf(item.look), fill: "var(--accent)", fillOpacity: "phase", order, insetRight: 1.5 })),
      Plot.text(rows, { x: 0, y: (_, index) => index, text: "name", textAnchor: "start", dy: -17 }),
      Plot.text(items.filter((item) => item.seconds > 0), Plot.stackX({ x: "seconds", z: "phase", y: (item) => rows.indexOf(item.look), order, text: (item) => (item === widest(items, item.phase) && item.seconds > 0.12 * longest(rows, items) ? item.phase : ""), fill: MUTED, dy: 17, fontSize: 10.5 })),
    ],
  });
}

// Each phase is named once, where it is longest.
function widest(items, phase) {
  return items.filter((item) => item.phase === phase).sort((a, b) => b.seconds - a.seconds)[0];
}

function longest(rows, items) {
  return Math.max(...rows.map((look) => items.filter((item) => item.look === look).reduce((sum, item) => sum + item.seconds, 0)));
}

// Capacity under the limit, release by release: the same configuration but for the engine's version.
export function releases({ data, question }) {
  const cells = data.cells.filter((cell) => cell.points.length && cell.state === "measured" && matches(cell, question, { but: ["engine_version"] }));
  const standings = cells.map((cell) => standing(cell, question)).filter((one) => one.rate_rps !== null);
  const groups = d3.group(standings, (one) => `${one.cell.engine} · ${one.cell.quantization} ${one.cell.flags.join(" ")}`.trim());
  const several = [...groups].filter(([, list]) => new Set(list.map((one) => one.cell.engine_version)).size > 1).slice(0, 9);
  const items = several.flatMap(([name, list]) => list.map((one) => ({ name, cell: one.cell, version: one.cell.engine_version, y: one.rate_rps, says: `${name} ${one.cell.engine_version}: ${number(one.rate_rps)} requests/s` })));
  for (const item of items) item.side = sideOf(item, items);
  return {
    id: "releases", title: "Releases over time", caption: "The rate that keeps the limit, release by release. Each compares single campaigns; a verdict needs interleaved launches: dyno compare.", summary: items.map((item) => item.says).join("; "),
    absent: items.length ? null : "Only one release of each engine was measured for this question.", headers: ["configuration", "version", "requests/s"], rows: items.map((item) => [item.name, item.version, item.y]),
    draw: (width) => smallMultiples(width, items),
  };
}

function smallMultiples(width, items) {
  return Plot.plot({
    width, height: 72 + 56 * new Set(items.map((item) => item.name)).size, marginLeft: 6, marginRight: 40, marginTop: 14, marginBottom: 36, style: { background: "none", fontSize: "12px", fontFamily: "inherit" },
    x: { type: "linear", domain: [0, 1.04 * Math.max(...items.map((item) => item.y))], label: "requests/s →", labelArrow: "none" }, y: { axis: null, domain: [-1, 1] }, fy: { label: null, axis: null, padding: 0.3, domain: [...new Set(items.map((item) => item.name))] },
    marks: [
      Plot.gridX({ stroke: "var(--grid)", strokeOpacity: 1 }), Plot.line(items, { x: "y", y: () => 0, fy: "name", z: "name", stroke: MUTED, sort: "version" }),
      Plot.dot(items, reachable(items, { x: "y", y: () => 0, fy: "name", r: 5, fill: (item) => (item.version === newest(items, item.name) ? "var(--accent)" : "var(--paper)"), stroke: "var(--accent)" })),
      ...["end", "middle", "start"].map((side) => Plot.text(items.filter((item) => item.side === side), { x: "y", y: () => 0, fy: "name", text: "version", dy: 15, dx: { end: 6, middle: 0, start: -6 }[side], textAnchor: side, fontSize: 10.5, fill: (item) => (item.version === newest(items, item.name) ? "var(--ink)" : "var(--muted)") })),
      Plot.text([...new Set(items.map((item) => item.name))].map((name) => ({ name })), { fy: "name", text: "name", frameAnchor: "top-left", dy: -2, textAnchor: "start" }),
    ],
  });
}

// Labels of neighbours stay apart: the slowest release has its own to the left, the fastest to the right.
function sideOf(item, items) {
  const rates = items.filter((one) => one.name === item.name).map((one) => one.y);
  return item.y === Math.max(...rates) ? "start" : item.y === Math.min(...rates) ? "end" : "middle";
}

function newest(items, name) {
  return items.filter((item) => item.name === name).map((item) => item.version).sort(byVersion).at(-1);
}

function byVersion(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

export function verdicts({ data, question }) {
  const engines = data.changes.filter((change) => change.change !== null && (question.engine === "any" || change.engine === question.engine)).slice(-24);
  const items = engines.map((change) => ({ ...change, name: `${change.engine} ${change.from} → ${change.to}`, row: `${change.metric} at ${change.at}${change.workload ? `, ${change.workload}` : ""}`, percent: 100 * change.change }));
  return {
    id: "verdicts", title: "Verdicts on releases", caption: "Relative change with its interval, from interleaved launches. Between the lines a change is too small to matter.", summary: items.map((item) => `${item.name}, ${item.row}: ${item.verdict}`).join("; "),
    absent: items.length ? null : "No releases were compared here: dyno compare does, on interleaved launches.", headers: ["releases", "figure", "verdict", "change, %", "from, %", "to, %", "launches"],
    rows: items.map((item) => [item.name, `${item.system}, ${item.row}`, item.verdict, item.percent, 100 * item.low, 100 * item.high, item.launches]), draw: (width) => forest(width, items),
  };
}

function forest(width, items) {
  const reach = 1.1 * Math.max(...items.map((item) => Math.max(Math.abs(item.low ?? 0), Math.abs(item.high ?? 0), item.margin) * 100));
  const good = (item) => (item.verdict === "improved" ? "var(--good)" : item.verdict === "regressed" ? "var(--bad)" : "var(--muted)");
  return Plot.plot({
    width, height: 60 + items.length * 54, marginLeft: 6, marginRight: 6, marginTop: 16, marginBottom: 36, style: { background: "none", fontSize: "12px", fontFamily: "inherit" },
    x: { domain: [-reach, reach], label: "change, % →", labelArrow: "none", tickFormat: (value) => (value > 0 ? `+${value}` : String(value).replace("-", "−")) }, y: { type: "point", axis: null, padding: 0.6, domain: items.map((_, index) => index) },
    marks: [
      Plot.ruleX([0], { stroke: "var(--rule)" }), Plot.ruleX([-1, 1], { x: (side) => side * items[0].margin * 100, stroke: "var(--rule)", strokeDasharray: "2 3" }),
      Plot.ruleY(items, { x1: (item) => 100 * item.low, x2: (item) => 100 * item.high, y: (_, index) => index, stroke: good, strokeWidth: 2 }), Plot.dot(items, { x: "percent", y: (_, index) => index, r: 4.5, fill: good }),
      Plot.text(items, { frameAnchor: "left", y: (_, index) => index, text: (item) => `${VERDICT[item.verdict]} ${item.verdict}: ${item.name}`, textAnchor: "start", dy: -13, fill: good }), Plot.text(items, { frameAnchor: "right", y: (_, index) => index, text: (item) => item.row, textAnchor: "end", dy: 13, fill: MUTED, fontSize: 10.5 }),
    ],
  });
}

// Every cell of the model on the hardware: what was measured, and what failed for which reason.
export function matrix({ data, question }, pick) {
  const cells = data.cells.filter((cell) => matches(cell, question, { but: ["in", "out"] }));
  const workloads = [...new Map(cells.map((cell) => [cell.workload, cell])).keys()];
  const one = [...new Map(cells.map((cell) => [cell.variant, cell])).values()];
  const known = namesOf(one.map((cell) => ({ ...cell, workload: "" })));
  const failing = (variant) => cells.filter((cell) => cell.variant === variant.variant && cell.state !== "measured").length;
  const rows = one.sort((a, b) => failing(b) - failing(a)).slice(0, MOST_ROWS);
  const at = new Map(cells.map((cell) => [`${cell.variant} ${cell.workload}`, cell]));
  const caption = `${cells.length} cells${one.length > rows.length ? `; ${rows.length} of ${one.length} configurations, those that fail first` : ""}. ${key(cells)}`;
  return h("figure", { id: "matrix", class: "wide", "aria-labelledby": "matrix-title" },
    h("h3", { id: "matrix-title" }, "What was measured, and what failed"), h("p", { class: "quiet" }, caption),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Matrix of cells" }, h("table", { class: "matrix" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "configuration"), workloads.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((variant) => h("tr", {}, h("th", { scope: "row" }, known.get(variant.id)), workloads.map((name) => square(at.get(`${variant.variant} ${name}`), pick))))))));
}

function square(cell, pick) {
  if (!cell) return h("td", { class: "empty" }, h("span", { class: "for-readers" }, "not asked"));
  const why = cell.failure_class ? cell.failure_class.replaceAll("_", " ") : cell.state === "measured" ? (cell.grade ? `grade ${cell.grade}` : "measured") : cell.state.replace("_", "-");
  return h("td", {}, h("button", { type: "button", class: `square ${cell.state}`, title: `${title(cell)}: ${why}${cell.cause ? `: ${cell.cause}` : ""}`, onclick: () => pick(cell.id) }, h("span", { "aria-hidden": "true" }, MARK[cell.state]), " ", why));
}

function key(cells) {
  const states = [...new Set(cells.map((cell) => cell.state))];
  return states.map((state) => `${MARK[state]} ${state.replace("_", "-")} (${cells.filter((cell) => cell.state === state).length})`).join(", ");
}
