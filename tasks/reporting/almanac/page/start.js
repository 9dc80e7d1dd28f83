// How a server starts: phase by phase, cold or warm.
import { MUTED, reachable } from "./figure.js";
import { number } from "./words.js";

const STAGES = {
  environment: "environment",
  download: "pull",
  build: "compile",
  launch: "launch",
  "warm up": "warm up",
};
const ORDER = ["environment", "pull", "weights", "compile", "capture", "launch", "first token", "warm up"];

export function coldStart({ looks }) {
  const items = looks.flatMap((look) =>
    phases(look.cell).map(([phase, seconds]) => ({
      look,
      cell: look.cell,
      phase,
      seconds,
      says: `${look.name}: ${phase} ${number(seconds)} s`,
    })),
  );
  const cold = looks.filter((look) => look.cell.cold_start?.cold).length;
  const known = cold
    ? `${cold} of these starts were cold: weights from the disk, nothing compiled before.`
    : "Whether these starts were cold was not measured.";
  return {
    id: "start",
    title: "Cold start",
    caption: `Seconds until a server is there, phase by phase. ${known}`,
    summary: `Seconds of each phase of the start, for each configuration. ${known}`,
    absent: items.length ? null : "No start was timed.",
    headers: ["configuration", "start", ...ORDER, "known by"],
    rows: looks.map((look) => [
      look.name,
      look.cell.cold_start ? (look.cell.cold_start.cold ? "cold" : "warm") : "",
      ...ORDER.map((phase) => new Map(phases(look.cell)).get(phase) ?? null),
      look.cell.cold_start?.how_known ?? "",
    ]),
    draw: (width) => stacked(width, looks, items, ORDER),
  };
}

// From the ledger of starts where there is one: weights, compilation and capture lie within the time to healthy.
function phases(cell) {
  const start = cell.cold_start;
  if (!start)
    return Object.keys(STAGES)
      .map((stage) => [STAGES[stage], cell.stages_s[stage] ?? 0])
      .filter(([, seconds]) => seconds > 0);
  const inside = [
    ["weights", start.weights_s],
    ["compile", start.compile_s],
    ["capture", start.capture_s],
  ];
  const known = inside.reduce((sum, [, seconds]) => sum + (seconds ?? 0), 0);
  const rest = [
    ["launch", start.healthy_s === undefined ? null : Math.max(0, start.healthy_s - known)],
    [
      "first token",
      start.first_token_s === undefined ? null : Math.max(0, start.first_token_s - (start.healthy_s ?? 0)),
    ],
  ];
  return [["environment", start.environment_s], ["pull", start.pull_s], ...inside, ...rest].filter(
    ([, seconds]) => seconds > 0,
  );
}

function stacked(width, looks, items, order) {
  const rows = looks.filter((look) => items.some((item) => item.look === look));
  return Plot.plot({
    width,
    height: 52 + rows.length * 48,
    marginLeft: 6,
    marginRight: 12,
    marginTop: 18,
    marginBottom: 34,
    style: { background: "none", fontSize: "12px", fontFamily: "inherit" },
    x: { label: "seconds →", labelArrow: "none", nice: true },
    y: { axis: null, padding: 0.74, domain: rows.map((_, index) => index) },
    opacity: { domain: order, range: [0.25, 0.35, 0.5, 0.8, 0.65, 1, 0.6, 0.4], type: "ordinal" },
    marks: [
      Plot.barX(
        items,
        reachable(items, {
          x: "seconds",
          z: "phase",
          y: (item) => rows.indexOf(item.look),
          fill: "var(--accent)",
          fillOpacity: "phase",
          order,
          insetRight: 1.5,
        }),
      ),
      Plot.text(rows, { x: 0, y: (_, index) => index, text: "name", textAnchor: "start", dy: -17 }),
      Plot.text(
        items.filter((item) => item.seconds > 0),
        Plot.stackX({
          x: "seconds",
          z: "phase",
          y: (item) => rows.indexOf(item.look),
          order,
          text: (item) =>
            item === widest(items, item.phase) && item.seconds > 0.12 * longest(rows, items) ? item.phase : "",
          fill: MUTED,
          dy: 17,
          fontSize: 10.5,
        }),
      ),
    ],
  });
}

// Each phase is named once, where it is longest.
function widest(items, phase) {
  return items.filter((item) => item.phase === phase).sort((a, b) => b.seconds - a.seconds)[0];
}

function longest(rows, items) {
  return Math.max(
    ...rows.map((look) => items.filter((item) => item.look === look).reduce((sum, item) => sum + item.seconds, 0)),
  );
}
