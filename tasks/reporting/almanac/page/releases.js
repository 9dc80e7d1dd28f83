// What releases changed: the capacity of each, and the verdicts of comparisons.
import { standing } from "./answer.js";
import { MUTED, reachable } from "./figure.js";
import { matches } from "./question.js";
import { number } from "./words.js";

const VERDICT = { improved: "▲", regressed: "▼", equivalent: "=", undecided: "?", void: "∅" };

// Capacity under the limit, release by release: the same configuration but for the engine's version.
export function releases({ data, question }) {
  const cells = data.cells.filter(
    (cell) => cell.points.length && cell.state === "measured" && matches(cell, question, { but: ["engine_version"] }),
  );
  const standings = cells.map((cell) => standing(cell, question)).filter((one) => one.rate_rps !== null);
  const groups = d3.group(standings, (one) =>
    `${one.cell.engine} · ${one.cell.quantization} ${one.cell.flags.join(" ")}`.trim(),
  );
  const several = [...groups]
    .filter(([, list]) => new Set(list.map((one) => one.cell.engine_version)).size > 1)
    .slice(0, 9);
  const items = several.flatMap(([name, list]) =>
    list.map((one) => ({
      name,
      cell: one.cell,
      version: one.cell.engine_version,
      y: one.rate_rps,
      says: `${name} ${one.cell.engine_version}: ${number(one.rate_rps)} requests/s`,
    })),
  );
  for (const item of items) item.side = sideOf(item, items);
  return {
    id: "releases",
    title: "Releases over time",
    caption:
      "The rate that keeps the limit, release by release. Each compares single campaigns; a verdict needs interleaved launches: dyno compare.",
    summary: items.map((item) => item.says).join("; "),
    absent: items.length ? null : "Only one release of each engine was measured for this question.",
    headers: ["configuration", "version", "requests/s"],
    rows: items.map((item) => [item.name, item.version, item.y]),
    draw: (width) => smallMultiples(width, items),
  };
}

function smallMultiples(width, items) {
  return Plot.plot({
    width,
    height: 72 + 56 * new Set(items.map((item) => item.name)).size,
    marginLeft: 6,
    marginRight: 40,
    marginTop: 14,
    marginBottom: 36,
    style: { background: "none", fontSize: "12px", fontFamily: "inherit" },
    x: {
      type: "linear",
      domain: [0, 1.04 * Math.max(...items.map((item) => item.y))],
      label: "requests/s →",
      labelArrow: "none",
    },
    y: { axis: null, domain: [-1, 1] },
    fy: { label: null, axis: null, padding: 0.3, domain: [...new Set(items.map((item) => item.name))] },
    marks: [
      Plot.gridX({ stroke: "var(--grid)", strokeOpacity: 1 }),
      Plot.line(items, { x: "y", y: () => 0, fy: "name", z: "name", stroke: MUTED, sort: "version" }),
      Plot.dot(
        items,
        reachable(items, {
          x: "y",
          y: () => 0,
          fy: "name",
          r: 5,
          fill: (item) => (item.version === newest(items, item.name) ? "var(--accent)" : "var(--paper)"),
          stroke: "var(--accent)",
        }),
      ),
      ...["end", "middle", "start"].map((side) =>
        Plot.text(
          items.filter((item) => item.side === side),
          {
            x: "y",
            y: () => 0,
            fy: "name",
            text: "version",
            dy: 15,
            dx: { end: 2, middle: 0, start: -2 }[side],
            textAnchor: side,
            fontSize: 10.5,
            fill: (item) => (item.version === newest(items, item.name) ? "var(--ink)" : "var(--muted)"),
          },
        ),
      ),
      Plot.text(
        [...new Set(items.map((item) => item.name))].map((name) => ({ name })),
        { fy: "name", text: "name", frameAnchor: "top-left", dy: -2, textAnchor: "start" },
      ),
    ],
  });
}

// Labels of neighbours stay apart: the slowest release has its own to the left, the fastest to the right.
function sideOf(item, items) {
  const rates = items.filter((one) => one.name === item.name).map((one) => one.y);
  return item.y === Math.max(...rates) ? "start" : item.y === Math.min(...rates) ? "end" : "middle";
}

function newest(items, name) {
  return items
    .filter((item) => item.name === name)
    .map((item) => item.version)
    .sort(byVersion)
    .at(-1);
}

function byVersion(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

export function verdicts({ data, question }) {
  const engines = data.changes
    .filter((change) => change.change !== null && (question.engine === "any" || change.engine === question.engine))
    .slice(-24);
  const items = engines.map((change) => ({
    ...change,
    name: `${change.engine} ${change.from} → ${change.to}`,
    row: `${change.metric} at ${change.at}${change.workload ? `, ${change.workload}` : ""}`,
    percent: 100 * change.change,
  }));
  return {
    id: "verdicts",
    title: "Verdicts on releases",
    caption:
      "Relative change with its interval, from interleaved launches. Between the lines a change is too small to matter.",
    summary: items.map((item) => `${item.name}, ${item.row}: ${item.verdict}`).join("; "),
    absent: items.length ? null : "No releases were compared here: dyno compare does, on interleaved launches.",
    headers: ["releases", "figure", "verdict", "change, %", "from, %", "to, %", "launches"],
    rows: items.map((item) => [
      item.name,
      `${item.system}, ${item.row}`,
      item.verdict,
      item.percent,
      100 * item.low,
      100 * item.high,
      item.launches,
    ]),
    draw: (width) => forest(width, items),
  };
}

function forest(width, items) {
  const reach =
    1.1 *
    Math.max(...items.map((item) => Math.max(Math.abs(item.low ?? 0), Math.abs(item.high ?? 0), item.margin) * 100));
  const good = (item) =>
    item.verdict === "improved" ? "var(--good)" : item.verdict === "regressed" ? "var(--bad)" : "var(--muted)";
  return Plot.plot({
    width,
    height: 60 + items.length * 54,
    marginLeft: 6,
    marginRight: 6,
    marginTop: 16,
    marginBottom: 36,
    style: { background: "none", fontSize: "12px", fontFamily: "inherit" },
    x: {
      domain: [-reach, reach],
      label: "change, % →",
      labelArrow: "none",
      tickFormat: (value) => (value > 0 ? `+${value}` : String(value).replace("-", "−")),
    },
    y: { type: "point", axis: null, padding: 0.6, domain: items.map((_, index) => index) },
    marks: [
      Plot.ruleX([0], { stroke: "var(--rule)" }),
      Plot.ruleX([-1, 1], { x: (side) => side * items[0].margin * 100, stroke: "var(--rule)", strokeDasharray: "2 3" }),
      Plot.ruleY(items, {
        x1: (item) => 100 * item.low,
        x2: (item) => 100 * item.high,
        y: (_, index) => index,
        stroke: good,
        strokeWidth: 2,
      }),
      Plot.dot(items, { x: "percent", y: (_, index) => index, r: 4.5, fill: good }),
      Plot.text(items, {
        frameAnchor: "left",
        y: (_, index) => index,
        text: (item) => `${VERDICT[item.verdict]} ${item.verdict}: ${item.name}`,
        textAnchor: "start",
        dy: -13,
        fill: good,
      }),
      Plot.text(items, {
        frameAnchor: "right",
        y: (_, index) => index,
        text: (item) => item.row,
        textAnchor: "end",
        dy: 13,
        fill: MUTED,
        fontSize: 10.5,
      }),
    ],
  });
}
