// Everything about one cell, beside the page: where its figures come from and how to make them again.
import { h, table } from "./dom.js";
import { number, title, trim } from "./words.js";

export function detail(cell, close) {
  const dialog = h(
    "dialog",
    {
      class: "cell",
      "aria-labelledby": "cell-title",
      onclose: close,
      onclick: (event) => event.target === event.currentTarget && event.currentTarget.close(),
    },
    h(
      "div",
      { class: "inner" },
      h(
        "header",
        {},
        h("p", { class: "eyebrow" }, `${cell.experiment} · cell ${cell.id}`),
        h("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => dialog.close() }, "✕"),
      ),
      h("h2", { id: "cell-title" }, title(cell)),
      outcome(cell),
      copyable("Launch it", cell.command || `dyno command ${cell.id}`),
      copyable("Measure it again", `dyno replay ${cell.id}`),
      section("Capacity", capacities(cell)),
      section("Points", points(cell)),
      section("What the hardware would allow", pairs(cell.bounds)),
      section("Flags that are not the default", cell.flags.length ? h("p", {}, cell.flags.join(" · ")) : null),
      section("Quality", pairs(cell.quality && { ...cell.quality, flags: cell.quality.flags.join("; ") })),
      section("Start, seconds", pairs({ ...cell.stages_s, ...cell.start_s, ...cell.cold_start })),
      section(
        "Provenance",
        pairs({
          ...cell.provenance,
          campaign: cell.campaign,
          started: cell.started_at,
          ended: cell.ended_at,
          "MLflow run": cell.mlflow_run_id,
        }),
      ),
      section("The end of the log", cell.log_excerpt ? h("pre", { tabindex: "0" }, cell.log_excerpt) : null),
    ),
  );
  return dialog;
}

function section(name, content) {
  return content ? h("section", {}, h("h3", {}, name), content) : null;
}

function outcome(cell) {
  const why = [cell.stage ? `at ${cell.stage}` : "", cell.failure_class?.replaceAll("_", " ") ?? "", cell.cause]
    .filter(Boolean)
    .join(": ");
  const reasons = [
    ...cell.reasons,
    ...Object.entries(cell.headline_reasons).map(([name, reason]) => `${name}: ${reason}`),
  ];
  return [
    h(
      "p",
      {},
      h("b", {}, `${cell.state.replace("_", "-")}${cell.grade ? `, grade ${cell.grade}` : ""}`),
      why ? ` ${why}` : "",
    ),
    reasons.length
      ? h(
          "ul",
          { class: "notes" },
          [...new Set(reasons)].map((reason) => h("li", {}, reason)),
        )
      : null,
  ];
}

function copyable(label, text) {
  const said = h("span", { class: "quiet", role: "status" });
  return h(
    "div",
    { class: "command" },
    h("h3", {}, label),
    h("pre", { tabindex: "0" }, text),
    h("button", { type: "button", onclick: () => copy(text, said) }, "Copy"),
    " ",
    said,
  );
}

// A page from a file has no clipboard in some browsers: then a selection is copied the old way.
export async function copy(text, said) {
  const done = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  said.textContent = done || copySelection(text) ? "copied" : "select the text and copy it";
}

function copySelection(text) {
  const area = h("textarea", { "aria-hidden": "true", style: "position:fixed;opacity:0", value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function capacities(cell) {
  return cell.capacities.length
    ? table(
        "Capacity for each objective",
        ["objective", "verdict", "holds at, rps", "breaks at, rps", "why"],
        cell.capacities.map((one) => [one.slo, one.verdict, one.certified_rps, one.refuted_rps, one.reason]),
      )
    : null;
}

function points(cell) {
  if (!cell.points.length) return null;
  const load = (point) =>
    point.users !== null
      ? `${point.users} at a time`
      : `${trim(point.rate_rps ?? point.achieved_rps ?? 0)} rps ${point.arrivals}`;
  const row = (point) => [
    load(point),
    point.role.replaceAll("_", " "),
    point.requests,
    point.achieved_rps,
    point.output_tokens_per_s,
    ...["first_p50", "first_p95", "each_p50", "each_p95", "last_p50", "last_p95"].map((name) => point[name]),
    point.valid ? "" : point.invalid,
  ];
  return table(
    "Every load point; latencies in ms",
    [
      "load",
      "role",
      "n",
      "rps",
      "tokens/s",
      "first p50",
      "p95",
      "each p50",
      "p95",
      "last p50",
      "p95",
      "invalid because",
    ],
    cell.points.map(row),
  );
}

function pairs(body) {
  const kept = Object.entries(body ?? {}).filter(([, value]) => value !== null && value !== "");
  return kept.length
    ? h(
        "dl",
        {},
        kept.map(([name, value]) => [
          h("dt", {}, name.replaceAll("_", " ")),
          h(
            "dd",
            {},
            typeof value === "number"
              ? number(value, 4)
              : Array.isArray(value)
                ? value.map((one) => number(one, 4)).join(" to ")
                : String(value),
          ),
        ]),
      )
    : null;
}
