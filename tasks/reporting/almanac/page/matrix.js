// Every cell of a model on its hardware: what was measured, and what failed for which reason.
import { h } from "./dom.js";
import { matches } from "./question.js";
import { names as namesOf, title } from "./words.js";

const MARK = { measured: "●", invalid: "◐", failed: "✕", unsupported: "–", interrupted: "…", stand_in: "◇" };
const MOST_ROWS = 40;

export function matrix({ data, question }, pick) {
  const cells = data.cells.filter((cell) => matches(cell, question, { but: ["in", "out"] }));
  const workloads = [...new Map(cells.map((cell) => [cell.workload, cell])).keys()];
  const one = [...new Map(cells.map((cell) => [cell.variant, cell])).values()];
  const known = namesOf(one.map((cell) => ({ ...cell, workload: "" })));
  const failing = (variant) =>
    cells.filter((cell) => cell.variant === variant.variant && cell.state !== "measured").length;
  const rows = one.sort((a, b) => failing(b) - failing(a)).slice(0, MOST_ROWS);
  const at = new Map(cells.map((cell) => [`${cell.variant} ${cell.workload}`, cell]));
  const caption = `${cells.length} cells${one.length > rows.length ? `; ${rows.length} of ${one.length} configurations, those that fail first` : ""}. ${key(cells)}`;
  return h(
    "figure",
    { id: "matrix", class: "wide", "aria-labelledby": "matrix-title" },
    h("h3", { id: "matrix-title" }, "What was measured, and what failed"),
    h("p", { class: "quiet" }, caption),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Matrix of cells" },
      h(
        "table",
        { class: "matrix" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "configuration"),
            workloads.map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map((variant) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, known.get(variant.id)),
              workloads.map((name) => square(at.get(`${variant.variant} ${name}`), pick)),
            ),
          ),
        ),
      ),
    ),
  );
}

function square(cell, pick) {
  if (!cell) return h("td", { class: "empty" }, h("span", { class: "for-readers" }, "not asked"));
  const why = cell.failure_class
    ? cell.failure_class.replaceAll("_", " ")
    : cell.state === "measured"
      ? cell.grade
        ? `grade ${cell.grade}`
        : "measured"
      : cell.state.replace("_", "-");
  return h(
    "td",
    {},
    h(
      "button",
      {
        type: "button",
        class: `square ${cell.state}`,
        title: `${title(cell)}: ${why}${cell.cause ? `: ${cell.cause}` : ""}`,
        onclick: () => pick(cell.id),
      },
      h("span", { "aria-hidden": "true" }, MARK[cell.state]),
      " ",
      why,
    ),
  );
}

function key(cells) {
  const states = [...new Set(cells.map((cell) => cell.state))];
  return states
    .map(
      (state) => `${MARK[state]} ${state.replace("_", "-")} (${cells.filter((cell) => cell.state === state).length})`,
    )
    .join(", ");
}
