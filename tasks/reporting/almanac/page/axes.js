// What the charts of points share: scales, grid, lines, dots, and which points are drawn.
import { inUsers } from "./answer.js";
import { reachable } from "./figure.js";

const WIDE_RANGE = 15; // a wider range than this is drawn on a logarithmic axis

export const base = (width, height, more) => ({
  width,
  height,
  marginLeft: 54,
  marginBottom: 42,
  marginTop: 26,
  marginRight: 22,
  style: { background: "none", color: "var(--ink)", fontSize: "12px", fontFamily: "inherit" },
  ...more,
});
export const grid = { stroke: "var(--grid)", strokeOpacity: 1 };

export function scale(values, label) {
  const found = values.filter((value) => value > 0);
  const [low, high] = [Math.min(...found), Math.max(...found)];
  const isWide = high > WIDE_RANGE * low;
  const domain = isWide ? [low / 1.4, high * 1.4] : [0, high * 1.06];
  const shared = { domain, labelArrow: "none", tickFormat: compact };
  return isWide
    ? { ...shared, label: `${label} (log)`, type: "log", ticks: roundSteps(domain) }
    : { ...shared, label, ticks: 5 };
}

// 1, 2, 5, 10 … where they are few, else powers of ten.
function roundSteps([low, high]) {
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  const steps = high > 300 * low ? [1] : [1, 2, 5];
  return powers
    .flatMap((power) => steps.map((step) => Number(`${step}e${power}`)))
    .filter((value) => value >= low && value <= high);
}

export function compact(value) {
  return value >= 10000
    ? `${(value / 1000).toLocaleString("en", { maximumSignificantDigits: 3 })}k`
    : value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

export const gridOf = (axis) => Plot.gridY({ ...grid, ticks: axis.ticks });

export const lines = (looks, items) =>
  looks.map((look) =>
    Plot.line(
      items.filter((item) => item.look === look),
      { x: "x", y: "y", stroke: look.colour, strokeWidth: look.weight, sort: "order" },
    ),
  );
export const dots = (items, more = {}) =>
  Plot.dot(
    items,
    reachable(items, {
      x: "x",
      y: "y",
      symbol: (item) => item.look.symbol,
      fill: (item) => (item.hollow ? "var(--paper)" : item.look.colour),
      stroke: (item) => item.look.colour,
      r: 4.5,
      ...more,
    }),
  );
export const symbols = { type: "identity" };

// The best configuration by name, where its line is still free of the others: at its last point within saturation.
export function named(items, look) {
  const own = items.filter((item) => item.look === look && !item.hollow);
  const last = own.at(-1);
  if (!last) return null;
  const isRight = last.x > 0.7 * Math.max(...items.map((item) => item.x));
  return Plot.text([last], {
    x: "x",
    y: "y",
    text: () => look.name,
    textAnchor: isRight ? "end" : "start",
    dy: isRight ? 34 : 14,
    dx: 8,
    fill: look.colour,
    fontWeight: 600,
    stroke: "var(--paper)",
    strokeWidth: 4,
  });
}

export function itemsOf(looks, points, make) {
  return looks.flatMap((look) =>
    points(look.cell)
      .map((point) => ({ look, cell: look.cell, ...make(point, look.cell) }))
      .filter((item) => item.x && item.y)
      .sort((a, b) => a.order - b.order),
  );
}

export const open = (cell) =>
  inUsers(cell) ? closed(cell) : cell.points.filter((point) => point.rate_rps !== null && point.valid);
export const closed = (cell) => cell.points.filter((point) => point.users !== null && point.valid);
