// The charts of load points: latency against rate, throughput against latency, the user's speed against the hardware's.
import { inUsers, latency } from "./answer.js";
import { base, closed, compact, dots, gridOf, itemsOf, lines, named, open, scale, symbols } from "./axes.js";
import { MUTED } from "./figure.js";
import { LATENCY, duration, number } from "./words.js";

const READING_MS = 180; // a token each 180 ms: 250 words a minute

export function latencyAgainstRate({ question, looks }) {
  const says = `p${question.percent} ${LATENCY[question.get]}`;
  const items = itemsOf(looks, open, (point, cell) => {
    const [y, low, high] = latency(point, question.get, question.percent);
    return {
      x: point.achieved_rps,
      y,
      low,
      high,
      order: point.achieved_rps,
      hollow: point.role === "overloaded",
      says: `${names(looks, cell)}: ${number(point.achieved_rps)} requests/s, ${says} ${number(y)} ms${low && high ? `, 95 % between ${number(low)} and ${number(high)}` : ""}`,
    };
  });
  const tall = scale([...items.map((item) => item.y), question.within_ms], `↑ ${says}, ms`);
  return {
    id: "rate",
    wide: true,
    title: "Latency against rate",
    legend: looks,
    summary: `${says} against the rate of requests, for ${looks.length} configurations. The limit is ${duration(question.within_ms)}.`,
    caption: looks.every((look) => inUsers(look.cell))
      ? "Each point is a number of users at once, at the rate that came of it. Bars are 95 % intervals."
      : "Requests arrive at this rate whatever became of the earlier ones. Bars are 95 % intervals; hollow points are beyond saturation.",
    absent: items.length ? null : `No valid point with a ${says}.`,
    headers: ["configuration", "requests/s", `${says}, ms`, "from", "to", "n", "note"],
    rows: items.map((item) => [
      item.look.name,
      item.x,
      item.y,
      item.low,
      item.high,
      requests(item),
      item.hollow ? "beyond saturation" : "",
    ]),
    draw: (width) =>
      rateDrawing(width, { items, looks, tall, limit: question.within_ms, held: looks[0]?.standing.rate_rps }),
  };
}

function rateDrawing(width, { items, looks, tall, limit, held }) {
  return Plot.plot(
    base(width, width < 500 ? 320 : 430, {
      x: {
        label: "requests per second →",
        labelArrow: "none",
        zero: true,
        nice: true,
        ticks: 6,
        tickFormat: compact,
      },
      y: tall,
      symbol: symbols,
      marks: [
        gridOf(tall),
        Plot.ruleY([limit], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
        Plot.text([limit], {
          y: (value) => value,
          frameAnchor: "left",
          dx: 4,
          dy: -8,
          textAnchor: "start",
          text: () => `limit: ${duration(limit)}`,
          fill: "currentColor",
        }),
        held ? Plot.ruleX([held], { stroke: "var(--accent)", strokeOpacity: 0.5 }) : null,
        held
          ? Plot.text([held], {
              x: (rate) => rate,
              frameAnchor: "top",
              dy: -16,
              text: (rate) => number(rate),
              fill: "var(--accent)",
              fontWeight: 600,
            })
          : null,
        ...lines(looks, items),
        Plot.ruleX(
          items.filter((item) => item.low || item.high),
          {
            x: "x",
            y1: (item) => item.low ?? item.y,
            y2: (item) => item.high ?? item.y,
            stroke: (item) => item.look.colour,
            strokeWidth: 1,
          },
        ),
        dots(items),
        width < 500 ? null : named(items, looks[0]),
      ],
    }),
  );
}

function names(looks, cell) {
  return looks.find((look) => look.cell === cell)?.name ?? cell.id;
}

function requests(item) {
  return item.cell.points.find((point) => point.achieved_rps === item.x)?.requests ?? null;
}

export function plane({ looks }) {
  const items = itemsOf(looks, closed, (point, cell) => ({
    x: point.each_p50,
    y: point.output_tokens_per_s,
    order: point.users,
    users: point.users,
    bound: point.bound_share,
    says: `${names(looks, cell)}: ${point.users} at a time, ${number(point.output_tokens_per_s)} tokens/s, ${number(point.each_p50)} ms a token`,
  }));
  const floor = looks[0]?.cell.bounds?.latency_floor_ms ?? null;
  const tall = scale(
    items.map((item) => item.y),
    "↑ output tokens/s",
  );
  const within = [...items.map((item) => item.x), READING_MS, floor].filter(Boolean);
  return {
    id: "plane",
    title: "Throughput against latency",
    caption:
      "Each point is a number of users at once: up is more for all, right is slower for each. The line to stay left of is how fast people read.",
    legend: looks.slice(0, 2),
    summary: "Output tokens per second against the median time per token, one point for each number of users.",
    absent: items.length ? null : "No valid closed-loop point.",
    headers: ["configuration", "users", "ms/token", "output tokens/s", "share of the bound, %"],
    rows: items.map((item) => [
      item.look.name,
      item.users,
      item.x,
      item.y,
      item.bound === null ? null : Math.round(100 * item.bound),
    ]),
    draw: (width) => planeDrawing(width, { items, looks, tall, wide: scale(within, "median ms per token →"), floor }),
  };
}

function planeDrawing(width, { items, looks, tall, wide, floor }) {
  return Plot.plot(
    base(width, 330, {
      x: wide,
      y: tall,
      symbol: symbols,
      marks: [
        gridOf(tall),
        Plot.ruleX([READING_MS], { stroke: MUTED, strokeDasharray: "2 3" }),
        Plot.text([READING_MS], {
          x: (value) => value,
          frameAnchor: "top",
          textAnchor: "end",
          dx: -5,
          dy: 6,
          text: () => "reading speed",
          fill: MUTED,
        }),
        floor ? Plot.ruleX([floor], { stroke: MUTED }) : null,
        floor
          ? Plot.text([floor], {
              x: (value) => value,
              frameAnchor: "bottom",
              textAnchor: "start",
              dx: 5,
              dy: -6,
              text: () => `memory floor ${number(floor)} ms`,
              fill: MUTED,
            })
          : null,
        ...lines(looks, items),
        dots(items, { r: 4 }),
        Plot.text(
          items.filter((item) => item.look === looks[0]),
          { x: "x", y: "y", text: (item) => String(item.users), dy: -11, fill: MUTED, fontSize: 10 },
        ),
      ],
    }),
  );
}

export function perUser({ looks }) {
  const each = looks.every((look) => look.cell.gpus) ? "GPU" : "machine";
  const items = itemsOf(looks, closed, (point, cell) => ({
    x: point.per_user_tokens_per_s,
    y: point.output_tokens_per_s && point.output_tokens_per_s / Math.max(1, cell.gpus),
    order: point.per_user_tokens_per_s,
    says: `${names(looks, cell)}: ${number(point.per_user_tokens_per_s)} tokens/s for a user, ${number(point.output_tokens_per_s / Math.max(1, cell.gpus))} per ${each}`,
  }));
  const tall = scale(
    items.map((item) => item.y),
    `↑ output tokens/s per ${each}`,
  );
  return {
    id: "users",
    title: `Tokens/s per ${each} against tokens/s per user`,
    caption: "What one user feels, and what the hardware yields. Up and right is better.",
    legend: looks.slice(0, 2),
    summary: `Output tokens per second of each ${each} against those of one user.`,
    absent: items.length ? null : "No valid closed-loop point tells a user's speed.",
    headers: ["configuration", "tokens/s per user", `tokens/s per ${each}`],
    rows: items.map((item) => [item.look.name, item.x, item.y]),
    draw: (width) =>
      Plot.plot(
        base(width, 330, {
          x: scale(
            items.map((item) => item.x),
            "tokens/s per user →",
          ),
          y: tall,
          symbol: symbols,
          marks: [gridOf(tall), ...lines(looks, items), dots(items, { r: 4 })],
        }),
      ),
  };
}
