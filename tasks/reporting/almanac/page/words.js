// Figures and names as people say them: the same rules as in the reports.

export const LATENCY = { first: "time to first token", each: "time per token", last: "time to last token" };
export const ARRIVES = { first: "first token", each: "each token", last: "last token" };

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return Number(value.toPrecision(digits)).toLocaleString("en", {
    minimumFractionDigits: Math.min(places, 20),
    maximumFractionDigits: Math.min(places, 20),
  });
}

export function duration(ms) {
  return ms >= 1000 ? `${trim(ms / 1000)} s` : `${trim(ms)} ms`;
}

export function money(value) {
  return value === null || value === undefined ? null : `$${number(value, 2)}`;
}

export function moneyRange(range) {
  if (!range) return null;
  return range[0] === range[1] ? money(range[0]) : `${money(range[0])} to ${money(range[1])}`;
}

export function percentChange(to, from) {
  const change = Math.round(100 * (to / from - 1));
  return change === 0 ? "level" : `${change > 0 ? "+" : "−"}${Math.abs(change)} %`;
}

export function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

export function trim(value) {
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 4 });
}

// By id: what tells cells apart, so that no label repeats what all of them share.
export function names(cells) {
  const facts = cells.map((cell) => ({
    engine: `${cell.stand_in ? "STAND-IN of " : ""}${cell.engine} ${cell.engine_version}`,
    quantization: cell.quantization,
    model: cell.model,
    hardware: cell.hardware,
    workload: cell.workload,
    flags: cell.flags.join(" · "),
    campaign: "",
  }));
  const differ = Object.keys(facts[0] ?? {}).filter((key) => new Set(facts.map((fact) => fact[key])).size > 1);
  const kept = differ.length ? differ : ["engine", "quantization"];
  return new Map(
    cells.map((cell, index) => [
      cell.id,
      kept
        .map((key) => facts[index][key])
        .filter(Boolean)
        .join(" · ") || "default",
    ]),
  );
}

export function title(cell) {
  return `${cell.stand_in ? "STAND-IN of " : ""}${cell.engine} ${cell.engine_version} · ${cell.model} · ${cell.quantization} · ${cell.hardware} · ${cell.workload}`;
}
