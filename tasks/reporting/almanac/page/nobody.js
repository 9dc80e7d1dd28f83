// What would measure a question that nobody has measured: an experiment file, ready to save and run.
import { ANY, sloText } from "./question.js";

export function experiment(data, question) {
  const engine = question.engine !== ANY ? question.engine : usual(data, question);
  const like = data.cells.filter((cell) => cell.engine === engine);
  const hardware = question.hardware !== ANY ? question.hardware : (like[0]?.hardware ?? "cpu");
  const gpus = data.offer.hardware[hardware] ?? 0;
  return [
    ...source(data, question.model),
    "variants:",
    `  - engine: ${engine}`,
    `    engine_version: "${version(data, question, engine, like)}"`,
    `    model: ${question.model}`,
    `    quantization: ${precision(question, like, hardware)}`,
    `    hardware: ${hardware}`,
    ...(gpus ? ["    runtime: container"] : []),
    ...(gpus > 1 ? [`    tensor_parallel: ${gpus}`] : []),
    "workloads:",
    `  - ${workload(data, question)}`,
    `slos: ["${sloText(question, like[0]?.each)}"]`,
    "load_plan: {requests_per_point: 200, capacity: {budget_seconds: 600}}",
    "",
  ].join("\n");
}

function usual(data, question) {
  const near = data.cells.filter((cell) => question.hardware === ANY || cell.hardware === question.hardware);
  return (near[0] ?? data.cells[0])?.engine ?? Object.keys(data.offer.engines)[0];
}

function version(data, question, engine, like) {
  if (question.engine_version !== ANY) return question.engine_version;
  return (
    like
      .map((cell) => cell.engine_version)
      .sort()
      .at(-1) ??
    data.offer.engines[engine] ??
    "VERSION"
  );
}

function precision(question, like, hardware) {
  if (question.quantization !== ANY) return question.quantization;
  return like.find((cell) => cell.hardware === hardware)?.quantization ?? like[0]?.quantization ?? "bf16";
}

function workload(data, question) {
  const known = data.cells.find((cell) => cell.in === question.in && cell.out === question.out);
  const shipped = Object.entries(data.offer.workloads).find(
    ([, lengths]) => String(lengths[0]) === question.in && String(lengths[1]) === question.out,
  );
  if (shipped) return shipped[0];
  if (known && !["synthetic", "english"].includes(known.dataset)) return known.workload;
  const lengths = { in: whole(question.in, 1024), out: whole(question.out, 128) };
  return `{name: in${lengths.in}-out${lengths.out}, prompt_tokens: ${lengths.in}, output_tokens: ${lengths.out}}`;
}

function whole(text, otherwise) {
  return /^\d+$/.test(text) ? Number(text) : otherwise;
}

// A model that no catalog knows brings its source along.
function source(data, model) {
  const known = data.sources[model];
  return known && !data.offer.models.includes(model)
    ? ["models:", `  - ${JSON.stringify({ name: model, source: known })}`]
    : [];
}
