// A chart in its frame: a heading, the chart, a sentence for screen readers, and its figures as a table.
import { h, table } from "./dom.js";

export const MUTED = "var(--muted)";
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross", "wye"];
const MOST_LINES = 8;

// How configurations are told apart: the best in the accent colour, the next in ink, the rest quiet; each has its symbol.
export function looks(standings, names) {
  const shown = standings.slice(0, MOST_LINES);
  return shown.map((one, index) => ({
    cell: one.cell,
    standing: one,
    name: names.get(one.cell.id),
    symbol: SYMBOLS[index % SYMBOLS.length],
    colour: index === 0 ? "var(--accent)" : index === 1 ? "var(--ink)" : "var(--quiet-series)",
    weight: index < 2 ? 2 : 1.2,
  }));
}

export function figure({ id, title, caption, draw, summary, headers, rows, absent, wide, legend }, pick) {
  const host = h("div", { class: "chart" });
  const frame = h(
    "figure",
    { id, class: wide ? "wide" : null, "aria-labelledby": `${id}-title` },
    h("h3", { id: `${id}-title` }, title),
    caption ? h("p", { class: "quiet" }, caption) : null,
    absent ? h("p", { class: "absent-note" }, absent) : [legend ? legendOf(legend) : null, host],
    summary ? h("p", { class: "for-readers" }, summary) : null,
    rows?.length
      ? h("details", { class: "data" }, h("summary", {}, "These figures as a table"), table(title, headers, rows))
      : null,
  );
  if (!absent && draw) paint(host, draw, summary ?? title, pick);
  return frame;
}

function legendOf(list) {
  return h(
    "ul",
    { class: "legend" },
    list.map((look) => h("li", {}, symbol(look), look.name)),
  );
}

function symbol(look) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", d3.symbol(d3[`symbol${look.symbol[0].toUpperCase()}${look.symbol.slice(1)}`], 42)());
  path.setAttribute("fill", look.colour);
  svg.append(path);
  for (const [name, value] of Object.entries({ viewBox: "-6 -6 12 12", width: 12, height: 12, "aria-hidden": "true" }))
    svg.setAttribute(name, value);
  return svg;
}

// Drawn when it has a width, and again when that changes.
function paint(host, draw, summary, pick) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    const found = Math.round(entry.contentRect.width);
    if (!found || found === width) return;
    width = found;
    const svg = draw(Math.max(280, width));
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", summary);
    hush(svg);
    host.replaceChildren(svg);
    reach(svg, pick);
  }).observe(host);
}

// A reader of screens hears the summary and the points; axes, lines and rules are for the eye.
function hush(svg) {
  for (const group of svg.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
  for (const child of svg.children)
    if (!child.matches("title, style") && !child.querySelector("[data-cell]"))
      child.setAttribute("aria-hidden", "true");
}

// Points are buttons: one stop of the tab key for a chart, arrows from point to point, Enter to open.
function reach(svg, pick) {
  const points = [...svg.querySelectorAll("[data-cell]")];
  points.forEach((point, index) => {
    point.setAttribute("role", "button");
    point.setAttribute("tabindex", index === 0 ? "0" : "-1");
    point.addEventListener("click", () => pick(point.dataset.cell));
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) move(points, index, step, event);
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pick(point.dataset.cell);
      }
    });
  });
}

function move(points, index, step, event) {
  event.preventDefault();
  const next = points[(index + step + points.length) % points.length];
  points[index].setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

// Lets marks of Plot know their cell: `mark` draws `items`, each with `cell` and `says`.
export function reachable(items, options) {
  return {
    ...options,
    ariaLabel: "points",
    render(index, scales, values, dimensions, context, next) {
      const group = next(index, scales, values, dimensions, context);
      [...group.children].forEach((child, at) => {
        const item = items[index[at]];
        child.setAttribute("data-cell", item.cell.id);
        child.setAttribute("aria-label", item.says);
        const tip = document.createElementNS("http://www.w3.org/2000/svg", "title");
        tip.textContent = item.says;
        child.append(tip);
      });
      return group;
    },
  };
}
