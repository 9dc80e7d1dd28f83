// The charts of latency, throughput and cost, each as data, a drawing and a table.
import { inUsers, latency } from "./answer.js";
import { MUTED, reachable } from "./figure.js";
import { LATENCY, duration, money, moneyRange, number } from "./words.js";

const READING_MS = 180; // a token each 180 ms: 250 words a minute
const WIDE_RANGE = 15; // a wider range than this is drawn on a logarithmic axis

const base = (width, height, more) => ({
  width, height, marginLeft: 54, marginBottom: 42, marginTop: 26, marginRight: 22, style: { background: "none", color: "var(--ink)", fontSize: "12px", fontFamily: "inherit" }, ...more,
});
const grid = { stroke: "var(--grid)", strokeOpacity: 1 };

function scale(values, label) {
  const found = values.filter((value) => value > 0);
  const [low, high] = [Math.min(...found), Math.max(...found)];
  const isWide = high > WIDE_RANGE * low;
  const domain = isWide ? [low / 1.4, high * 1.4] : [0, high * 1.06];
  const shared = { domain, labelArrow: "none", tickFormat: compact };
  return isWide ? { ...shared, label: `${label} (log)`, type: "log", ticks: roundSteps(domain) } : { ...shared, label, ticks: 5 };
}

// 1, 2, 5, 10 … where they are few, else powers of ten.
function roundSteps([low, high]) {
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
  const steps = high > 300 * low ? [1] : [1, 2, 5];
  return powers.flatMap((power) => steps.map((step) => Number(`${step}e${power}`))).filter((value) => value >= low && value <= high);
}

function compact(value) {
  return value >= 10000 ? `${(value / 1000).toLocaleString("en", { maximumSignificantDigits: 3 })}k` : value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

const gridOf = (axis) => Plot.gridY({ ...grid, ticks: axis.ticks });

const lines = (looks, items) => looks.map((look) => Plot.line(items.filter((item) => item.look === look), { x: "x", y: "y", stroke: look.colour, strokeWidth: look.weight, sort: "order" }));
const dots = (items, more = {}) => Plot.dot(items, reachable(items, { x: "x", y: "y", symbol: (item) => item.look.symbol, fill: (item) => (item.hollow ? "var(--paper)" : item.look.colour), stroke: (item) => item.look.colour, r: 4.5, ...more }));
const symbols = { type: "identity" };

// The best configuration by name, where its line is still free of the others: at its last point within saturation.
function named(items, look) {
  const own = items.filter((item) => item.look === look && !item.hollow);
  const last = own.at(-1);
  if (!last) return null;
  const isRight = last.x > 0.7 * Math.max(...items.map((item) => item.x));
  return Plot.text([last], { x: "x", y: "y", text: () => look.name, textAnchor: isRight ? "end" : "start", dy: isRight ? 34 : 14, dx: 8, fill: look.colour, fontWeight: 600, stroke: "var(--paper)", strokeWidth: 4 });
}

function itemsOf(looks, points, make) {
  return looks.flatMap((look) => points(look.cell).map((point) => ({ look, cell: look.cell, ...make(point, look.cell) })).filter((item) => item.x && item.y).sort((a, b) => a.order - b.order));
}

const open = (cell) => (inUsers(cell) ? closed(cell) : cell.points.filter((point) => point.rate_rps !== null && point.valid));
const closed = (cell) => cell.points.filter((point) => point.users !== null && point.valid);

export function latencyAgainstRate({ question, looks }) {
  const says = `p${question.percent} ${LATENCY[question.get]}`;
  const items = itemsOf(looks, open, (point, cell) => {
    const [y, low, high] = latency(point, question.get, question.percent);
    return { x: point.achieved_rps, y, low, high, order: point.achieved_rps, hollow: point.role === "overloaded", says: `${names(looks, cell)}: ${number(point.achieved_rps)} requests/s, ${says} ${number(y)} ms${low && high ? `, 95 % between ${number(low)} and ${number(high)}` : ""}` };
  });
  const best = looks[0]?.standing;
  const tall = scale([...items.map((item) => item.y), question.within_ms], `↑ ${says}, ms`);
  return {
    id: "rate", wide: true, title: "Latency against rate", legend: looks, summary: `${says} against the rate of requests, for ${looks.length} configurations. The limit is ${duration(question.within_ms)}.`,
    caption: looks.every((look) => inUsers(look.cell)) ? "Each point is a number of users at once, at the rate that came of it. Bars are 95 % intervals." : "Requests arrive at this rate whatever became of the earlier ones. Bars are 95 % intervals; hollow points are beyond saturation.",
    absent: items.length ? null : `No valid point with a ${says}.`,
    headers: ["configuration", "requests/s", `${says}, ms`, "from", "to", "n", "note"],
    rows: items.map((item) => [item.look.name, item.x, item.y, item.low, item.high, requests(item), item.hollow ? "beyond saturation" : ""]),
    draw: (width) => Plot.plot(base(width, width < 500 ? 320 : 430, {
      x: { label: "requests per second →", labelArrow: "none", zero: true, nice: true, ticks: 6, tickFormat: compact }, y: tall, symbol: symbols,
      marks: [
        gridOf(tall), Plot.ruleY([question.within_ms], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
        Plot.text([question.within_ms], { y: (limit) => limit, frameAnchor: "left", dx: 4, dy: -8, textAnchor: "start", text: () => `limit: ${duration(question.within_ms)}`, fill: "currentColor" }),
        best?.rate_rps ? Plot.ruleX([best.rate_rps], { stroke: "var(--accent)", strokeOpacity: 0.5 }) : null,
        best?.rate_rps ? Plot.text([best.rate_rps], { x: (rate) => rate, frameAnchor: "top", dy: -16, text: (rate) => number(rate), fill: "var(--accent)", fontWeight: 600 }) : null,
        ...lines(looks, items), Plot.ruleX(items.filter((item) => item.low || item.high), { x: "x", y1: (item) => item.low ?? item.y, y2: (item) => item.high ?? item.y, stroke: (item) => item.look.colour, strokeWidth: 1 }),
        dots(items), named(items, looks[0]),
      ],
    })),
  };
}

function names(looks, cell) {
  return looks.find((look) => look.cell === cell)?.name ?? cell.id;
}

function requests(item) {
  return item.cell.points.find((point) => point.achieved_rps === item.x)?.requests ?? null;
}

export function plane({ looks }) {
  const items = itemsOf(looks, closed, (point, cell) => ({
    x: point.each_p50, y: point.output_tokens_per_s, order: point.users, users: point.users, bound: point.bound_share,
    says: `${names(looks, cell)}: ${point.users} at a time, ${number(point.output_tokens_per_s)} tokens/s, ${number(point.each_p50)} ms a token`,
  }));
  const floor = looks[0]?.cell.bounds?.latency_floor_ms ?? null;
  const tall = scale(items.map((item) => item.y), "↑ output tokens/s");
  const within = [...items.map((item) => item.x), READING_MS, floor].filter(Boolean);
  return {
    id: "plane", title: "Throughput against latency", caption: "Each point is a number of users at once: up is more for all, right is slower for each. The line to stay left of is how fast people read.", legend: looks.slice(0, 2),
    summary: "Output tokens per second against the median time per token, one point for each number of users.", absent: items.length ? null : "No valid closed-loop point.",
    headers: ["configuration", "users", "ms/token", "output tokens/s", "share of the bound, %"], rows: items.map((item) => [item.look.name, item.users, item.x, item.y, item.bound === null ? null : Math.round(100 * item.bound)]),
    draw: (width) => Plot.plot(base(width, 330, {
      x: scale(within, "median ms per token →"), y: tall, symbol: symbols,
      marks: [
        gridOf(tall), Plot.ruleX([READING_MS], { stroke: MUTED, strokeDasharray: "2 3" }), Plot.text([READING_MS], { x: (value) => value, frameAnchor: "top", textAnchor: "end", dx: -5, dy: 6, text: () => "reading speed", fill: MUTED }),
        floor ? Plot.ruleX([floor], { stroke: MUTED }) : null, floor ? Plot.text([floor], { x: (value) => value, frameAnchor: "bottom", textAnchor: "start", dx: 5, dy: -6, text: () => `memory floor ${number(floor)} ms`, fill: MUTED }) : null,
        ...lines(looks, items), dots(items, { r: 4 }), Plot.text(items.filter((item) => item.look === looks[0]), { x: "x", y: "y", text: (item) => String(item.users), dy: -11, fill: MUTED, fontSize: 10 }),
      ],
    })),
  };
}

export function perUser({ looks }) {
  const each = looks.every((look) => look.cell.gpus) ? "GPU" : "machine";
  const items = itemsOf(looks, closed, (point, cell) => ({
    x: point.per_user_tokens_per_s, y: point.output_tokens_per_s && point.output_tokens_per_s / Math.max(1, cell.gpus), order: point.per_user_tokens_per_s,
    says: `${names(looks, cell)}: ${number(point.per_user_tokens_per_s)} tokens/s for a user, ${number(point.output_tokens_per_s / Math.max(1, cell.gpus))} per ${each}`,
  }));
  const tall = scale(items.map((item) => item.y), `↑ output tokens/s per ${each}`);
  return {
    id: "users", title: `Tokens/s per ${each} against tokens/s per user`, caption: "What one user feels, and what the hardware yields. Up and right is better.", legend: looks.slice(0, 2),
    summary: `Output tokens per second of each ${each} against those of one user.`, absent: items.length ? null : "No valid closed-loop point tells a user's speed.",
    headers: ["configuration", "tokens/s per user", `tokens/s per ${each}`], rows: items.map((item) => [item.look.name, item.x, item.y]),
    draw: (width) => Plot.plot(base(width, 330, {
      x: scale(items.map((item) => item.x), "tokens/s per user →"), y: tall, symbol: symbols,
      marks: [gridOf(tall), ...lines(looks, items), dots(items, { r: 4 })],
    })),
  };
}

export function cost({ looks, question }) {
  const inDollars = looks.some((look) => look.standing.usd);
  const items = looks.map((look) => ({ look, cell: look.cell, range: inDollars ? look.standing.usd : look.standing.gpu_seconds && [look.standing.gpu_seconds, look.standing.gpu_seconds] })).filter((item) => item.range);
  for (const item of items) item.says = `${item.look.name}: ${inDollars ? moneyRange(item.range) : `${number(item.range[0])} GPU-seconds`} per million output tokens`;
  const unit = inDollars ? "US dollars" : "GPU-seconds";
  const source = looks.find((look) => look.cell.price_source)?.cell.price_source;
  return {
    id: "cost", title: "Cost per million output tokens", caption: items.length === 0 ? null : `${unit} at the highest rate that keeps the limit; the whole time of the hardware is the output tokens'.${question.price ? ` At ${money(question.price)} an hour, your price.` : source ? ` Prices an hour: ${source}.` : ""}`,
    summary: `${unit} per million output tokens for each configuration.`,
    absent: items.length ? null : "Not known: no configuration keeps the limit, or no price is known for this hardware. Type a price per hour above, or give one to dyno with --prices.",
    headers: ["configuration", `${unit}, from`, "to"], rows: items.map((item) => [item.look.name, ...item.range]),
    draw: (width) => bars(width, items, inDollars ? "US dollars →" : "GPU-seconds →", (item) => (inDollars ? moneyRange(item.range) : number(item.range[0]))),
  };
}

// One row each, its name above its bar: long names and small screens.
export function bars(width, items, label, text) {
  const highest = Math.max(...items.map((item) => item.range[1]));
  return Plot.plot(base(width, 30 + items.length * 44, {
    marginLeft: 6, marginRight: 12, marginTop: 18, marginBottom: 12, x: { domain: [0, highest * 1.02], label: null, axis: null }, y: { domain: items.map((_, index) => index), axis: null, padding: 0.62 }, ariaDescription: label,
    marks: [
      Plot.barX(items, reachable(items, { x1: 0, x2: (item) => item.range[1], y: (_, index) => index, fill: (item) => item.look.colour, fillOpacity: 0.28 })),
      Plot.barX(items, { x1: 0, x2: (item) => item.range[0], y: (_, index) => index, fill: (item) => item.look.colour, pointerEvents: "none" }),
      Plot.text(items, { x: 0, y: (_, index) => index, text: (item) => item.look.name, textAnchor: "start", dy: -17, fontWeight: (item) => (item.look === items[0].look ? 600 : 400) }),
      Plot.text(items, { frameAnchor: "right", y: (_, index) => index, text, textAnchor: "end", dy: -17, fill: MUTED }),
    ],
  }));
}

export function budgetChart({ result, question, names: known }) {
  const items = result.budget.filter((one) => one.best).map((one) => ({ cell: one.best.cell, x: one.within_ms, y: one.best.rate_rps, says: `within ${duration(one.within_ms)}: ${number(one.best.rate_rps)} requests/s by ${known.get(one.best.cell.id)}` }));
  return {
    id: "budget", title: "What the latency budget costs", caption: "The highest rate that any of these configurations keeps, for each limit that clients might accept.",
    summary: items.map((item) => item.says).join("; "), absent: items.length ? null : "No limit on the list is kept by any configuration.",
    headers: ["limit", "requests/s", "configuration"], rows: items.map((item) => [duration(item.x), item.y, known.get(item.cell.id)]),
    draw: (width) => Plot.plot(base(width, 330, {
      x: { type: "log", label: `${LATENCY[question.get]} within →`, tickFormat: (value) => (String(value).match(/^[13]0*$/) ? duration(value) : ""), labelArrow: "none", ticks: items.map((item) => item.x) }, y: { label: "↑ requests/s", labelArrow: "none", zero: true, nice: true, ticks: 5, tickFormat: compact },
      marks: [
        Plot.gridY({ ...grid, ticks: 5 }), Plot.ruleX([question.within_ms], { stroke: "var(--ink)", strokeDasharray: "4 3" }), Plot.line(items, { x: "x", y: "y", curve: "step-after", stroke: "var(--accent)", strokeWidth: 2 }),
        Plot.dot(items, reachable(items, { x: "x", y: "y", r: (item) => (item.x === question.within_ms ? 6 : 4), fill: "var(--accent)" })),
        Plot.text(items.filter((item) => item.x === question.within_ms), { x: "x", y: "y", text: (item) => number(item.y), dy: -14, fontWeight: 600, fill: "var(--accent)", stroke: "var(--paper)", strokeWidth: 4 }),
      ],
    })),
  };
}
