// What it costs: a million tokens in dollars or seconds of the hardware, and a latency limit in requests.
import { base, compact, grid } from "./axes.js";
import { MUTED, reachable } from "./figure.js";
import { LATENCY, duration, money, moneyRange, number } from "./words.js";

export function cost({ looks, question }) {
  const inDollars = looks.some((look) => look.standing.usd);
  const items = looks
    .map((look) => ({
      look,
      cell: look.cell,
      range: inDollars
        ? look.standing.usd
        : look.standing.gpu_seconds && [look.standing.gpu_seconds, look.standing.gpu_seconds],
    }))
    .filter((item) => item.range);
  for (const item of items)
    item.says = `${item.look.name}: ${inDollars ? moneyRange(item.range) : `${number(item.range[0])} GPU-seconds`} per million output tokens`;
  const unit = inDollars ? "US dollars" : "GPU-seconds";
  const source = looks.find((look) => look.cell.price_source)?.cell.price_source;
  return {
    id: "cost",
    title: "Cost per million output tokens",
    caption:
      items.length === 0
        ? null
        : `${unit} at the highest rate that keeps the limit; the whole time of the hardware is the output tokens'.${question.price ? ` At ${money(question.price)} an hour, your price.` : source ? ` Prices an hour: ${source}.` : ""}`,
    summary: `${unit} per million output tokens for each configuration.`,
    absent: items.length
      ? null
      : "Not known: no configuration keeps the limit, or no price is known for this hardware. Type a price per hour above, or give one to dyno with --prices.",
    headers: ["configuration", `${unit}, from`, "to"],
    rows: items.map((item) => [item.look.name, ...item.range]),
    draw: (width) =>
      bars(width, items, inDollars ? "US dollars →" : "GPU-seconds →", (item) =>
        inDollars ? moneyRange(item.range) : number(item.range[0]),
      ),
  };
}

// One row each, its name above its bar: long names and small screens.
function bars(width, items, label, text) {
  const highest = Math.max(...items.map((item) => item.range[1]));
  return Plot.plot(
    base(width, 30 + items.length * 44, {
      marginLeft: 6,
      marginRight: 12,
      marginTop: 18,
      marginBottom: 12,
      x: { domain: [0, highest * 1.02], label: null, axis: null },
      y: { domain: items.map((_, index) => index), axis: null, padding: 0.62 },
      ariaDescription: label,
      marks: [
        Plot.barX(
          items,
          reachable(items, {
            x1: 0,
            x2: (item) => item.range[1],
            y: (_, index) => index,
            fill: (item) => item.look.colour,
            fillOpacity: 0.28,
          }),
        ),
        Plot.barX(items, {
          x1: 0,
          x2: (item) => item.range[0],
          y: (_, index) => index,
          fill: (item) => item.look.colour,
          pointerEvents: "none",
        }),
        Plot.text(items, {
          x: 0,
          y: (_, index) => index,
          text: (item) => item.look.name,
          textAnchor: "start",
          dy: -17,
          fontWeight: (item) => (item.look === items[0].look ? 600 : 400),
        }),
        Plot.text(items, {
          frameAnchor: "right",
          y: (_, index) => index,
          text,
          textAnchor: "end",
          dy: -17,
          fill: MUTED,
        }),
      ],
    }),
  );
}

export function budgetChart({ result, question, names: known }) {
  const items = result.budget
    .filter((one) => one.best)
    .map((one) => ({
      cell: one.best.cell,
      x: one.within_ms,
      y: one.best.rate_rps,
      says: `within ${duration(one.within_ms)}: ${number(one.best.rate_rps)} requests/s by ${known.get(one.best.cell.id)}`,
    }));
  return {
    id: "budget",
    title: "What the latency budget costs",
    caption: "The highest rate that any of these configurations keeps, for each limit that clients might accept.",
    summary: items.map((item) => item.says).join("; "),
    absent: items.length ? null : "No limit on the list is kept by any configuration.",
    headers: ["limit", "requests/s", "configuration"],
    rows: items.map((item) => [duration(item.x), item.y, known.get(item.cell.id)]),
    draw: (width) => budgetDrawing(width, items, question),
  };
}

function budgetDrawing(width, items, question) {
  return Plot.plot(
    base(width, 330, {
      x: {
        type: "log",
        label: `${LATENCY[question.get]} within →`,
        tickFormat: (value) => (String(value).match(width < 500 ? /^10*$/ : /^[13]0*$/) ? duration(value) : ""),
        labelArrow: "none",
        ticks: items.map((item) => item.x),
      },
      y: { label: "↑ requests/s", labelArrow: "none", zero: true, nice: true, ticks: 5, tickFormat: compact },
      marks: [
        Plot.gridY({ ...grid, ticks: 5 }),
        Plot.ruleX([question.within_ms], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
        Plot.line(items, { x: "x", y: "y", curve: "step-after", stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.dot(
          items,
          reachable(items, {
            x: "x",
            y: "y",
            r: (item) => (item.x === question.within_ms ? 6 : 4),
            fill: "var(--accent)",
          }),
        ),
        Plot.text(
          items.filter((item) => item.x === question.within_ms),
          {
            x: "x",
            y: "y",
            text: (item) => number(item.y),
            dy: -14,
            fontWeight: 600,
            fill: "var(--accent)",
            stroke: "var(--paper)",
            strokeWidth: 4,
          },
        ),
      ],
    }),
  );
}
