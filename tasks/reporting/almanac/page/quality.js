// Speed against quality of the quantizations of a model.
import { MUTED, reachable } from "./figure.js";
import { number } from "./words.js";

export function quality({ looks }) {
  const items = looks.filter((look) => look.cell.quality?.agreement != null).map((look) => itemOf(look));
  const more = items.length ? ` Against ${items[0].cell.quality.reference}.` : "";
  return {
    id: "quality",
    title: "Quality against speed",
    caption: items.length
      ? `The share of positions at which the likeliest token is the reference's, with its 95 % interval.${more} Hollow: past a limit of the experiment.`
      : null,
    summary: items.map((item) => item.says).join("; "),
    absent: items.length
      ? null
      : "Not measured: none of these configurations was compared with a reference. `quality: {}` in an experiment does that.",
    headers: [
      "configuration",
      "tokens/s",
      "agreement, %",
      "perplexity, % above the reference",
      "task accuracy, %",
      "past a limit",
    ],
    rows: looks.filter((look) => look.cell.quality).map(rowOf),
    draw: (width) => drawn(width, items),
  };
}

function itemOf(look) {
  const { agreement, agreement_interval: interval, flags } = look.cell.quality;
  const speed = look.cell.headlines.saturation_output_tokens_per_s ?? look.standing.output_tokens_per_s ?? 0;
  const [low, high] = (interval ?? [agreement, agreement]).map((share) => 100 * share);
  return {
    look,
    cell: look.cell,
    x: speed,
    y: 100 * agreement,
    low,
    high,
    hollow: flags.length > 0,
    says: `${look.name}: ${number(speed)} tokens/s at saturation, ${number(100 * agreement)} % agreement${flags.length ? ", past a limit" : ""}`,
  };
}

function rowOf(look) {
  const found = look.cell.quality;
  const percent = (share) => (share === null || share === undefined ? null : 100 * share);
  return [
    look.name,
    look.cell.headlines.saturation_output_tokens_per_s ?? null,
    percent(found.agreement),
    found.perplexity_ratio ? percent(found.perplexity_ratio - 1) : null,
    percent(found.accuracy),
    found.flags.join("; "),
  ];
}

function drawn(width, items) {
  return Plot.plot({
    width,
    height: 330,
    marginLeft: 54,
    marginBottom: 42,
    marginTop: 26,
    marginRight: 22,
    style: { background: "none", color: "var(--ink)", fontSize: "12px", fontFamily: "inherit" },
    x: { label: "output tokens/s at saturation →", labelArrow: "none", zero: true, nice: true, ticks: 5 },
    y: { label: "↑ agreement with the reference, %", labelArrow: "none", nice: true, ticks: 5 },
    symbol: { type: "identity" },
    marks: [
      Plot.gridY({ stroke: "var(--grid)", strokeOpacity: 1 }),
      Plot.ruleX(items, { x: "x", y1: "low", y2: "high", stroke: (item) => item.look.colour }),
      Plot.dot(
        items,
        reachable(items, {
          x: "x",
          y: "y",
          r: 5,
          symbol: (item) => item.look.symbol,
          fill: (item) => (item.hollow ? "var(--paper)" : item.look.colour),
          stroke: (item) => item.look.colour,
        }),
      ),
      Plot.text(firsts(items), {
        x: "x",
        y: "high",
        text: (item) => item.cell.quantization,
        dy: -9,
        fill: MUTED,
        stroke: "var(--paper)",
        strokeWidth: 3,
      }),
    ],
  });
}

// Each quantization is named once.
function firsts(items) {
  return [...new Map([...items].reverse().map((item) => [item.cell.quantization, item])).values()];
}
