// The question: what may be asked, what is asked at first, and which cells it is about.

export const GETS = { first: "first token", each: "each token", last: "last token" };
export const PERCENTS = ["50", "90", "95", "99"];
export const SHOWS = {
  throughput: "highest throughput",
  latency: "lowest latency",
  cheapest: "cheapest",
  every: "every",
};
export const LIMITS_MS = [10, 30, 100, 300, 1000, 3000, 10000, 30000, 60000];
export const ANY = "any";
export const FILTERS = {
  quantization: "Quantization",
  engine_version: "Engine version",
  dataset: "Prompts",
  endpoint: "Endpoint",
  system_prompt: "System prompt",
  prompt_cache: "Prompt cache",
  turns: "Turns",
  answers: "Answers",
  grade: "Grade",
  experiment: "Experiment",
};
const SENTENCE = ["model", "hardware", "engine", "in", "out"];

export function firstQuestion(data) {
  const measured = data.cells.filter((cell) => cell.state === "measured" && cell.points.length);
  const start = most(measured.length ? measured : data.cells, (cell) =>
    JSON.stringify([cell.model, cell.hardware, cell.in, cell.out]),
  );
  const [model, hardware, tokensIn, tokensOut] = start ? JSON.parse(start) : ["", ANY, "", ""];
  const question = {
    model,
    hardware,
    engine: ANY,
    in: tokensIn,
    out: tokensOut,
    ...firstLimit(measured, model, hardware),
    show: "throughput",
    demand: 100,
    headroom: 20,
  };
  for (const name of Object.keys(FILTERS)) question[name] = ANY;
  return question;
}

// The objective that the experiment itself asked about, if any: there the answer is the surest.
function firstLimit(cells, model, hardware) {
  const slos = cells
    .filter((cell) => cell.model === model && cell.hardware === hardware)
    .flatMap((cell) => cell.capacities.filter((one) => one.verdict === "certified").map((one) => one.slo));
  const parsed = parseSlo(most(slos, (slo) => slo) ?? "");
  return parsed && PERCENTS.includes(parsed.percent)
    ? { get: parsed.get, within_ms: parsed.within_ms, percent: parsed.percent }
    : { get: "first", within_ms: 300, percent: "95" };
}

export function parseSlo(text) {
  const match = /^(\w+?)(_response)?:p([\d.]+)<([\d.]+)ms$/.exec(text);
  const get = match && { ttft: "first", e2e: "last", tpot: "each", itl: "each" }[match[1]];
  return get ? { get, metric: match[1], percent: match[3], within_ms: Number(match[4]) } : null;
}

export function sloText(question, each = "tpot") {
  const metric = { first: "ttft_response", last: "e2e_response", each }[question.get];
  return `${metric}:p${question.percent}<${question.within_ms}ms`;
}

function most(items, key) {
  const counts = new Map();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]?.[0];
}

export function matches(cell, question, { but = [] } = {}) {
  return [...SENTENCE, ...Object.keys(FILTERS)].every(
    (name) => but.includes(name) || question[name] === ANY || String(cell[name]) === String(question[name]),
  );
}

// What may stand in a gap of the sentence: measured values first, then what could be measured.
export function options(data, name) {
  const offered =
    {
      model: data.offer.models,
      hardware: Object.keys(data.offer.hardware),
      engine: Object.keys(data.offer.engines),
      in: Object.values(data.offer.workloads).map((lengths) => String(lengths[0])),
      out: Object.values(data.offer.workloads).map((lengths) => String(lengths[1])),
    }[name] ?? [];
  const measured = sorted(
    new Set(
      data.cells
        .map((cell) => cell[name])
        .filter((value) => value !== null)
        .map(String),
    ),
  );
  return { measured, other: sorted(new Set(offered.filter((value) => !measured.includes(value)))) };
}

function sorted(values) {
  return [...values].sort((a, b) => (isFinite(a) && isFinite(b) ? a - b : a < b ? -1 : 1));
}

// A question that has an answer, drawn from the measured cells.
export function drawQuestion(data, question, random = Math.random) {
  const measured = data.cells.filter((cell) => cell.state === "measured" && cell.points.length);
  if (!measured.length) return question;
  const pick = (list) => list[Math.floor(random() * list.length)];
  const cell = pick(measured);
  const drawn = {
    ...question,
    model: cell.model,
    hardware: cell.hardware,
    in: cell.in,
    out: cell.out,
    engine: ANY,
    get: pick(Object.keys(GETS)),
    percent: pick(["50", "90", "95"]),
    show: pick(Object.keys(SHOWS)),
  };
  for (const name of Object.keys(FILTERS)) drawn[name] = ANY;
  const seen = cell.points.map((point) => point[`${drawn.get}_p${drawn.percent}`]).filter(Boolean);
  drawn.within_ms = LIMITS_MS.find((limit) => limit > 1.2 * Math.min(...seen)) ?? 60000;
  return drawn;
}
