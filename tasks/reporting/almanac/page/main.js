// Puts the page together: state from the fragment, the answer from the state, the page from the answer.
import { answer } from "./answer.js";
import { latencyAgainstRate, perUser, plane } from "./charts.js";
import { unpack } from "./data.js";
import { copy, detail } from "./detail.js";
import { h, replace, table } from "./dom.js";
import { figure, looks } from "./figure.js";
import { parse, write } from "./fragment.js";
import { matrix } from "./matrix.js";
import { budgetChart, cost } from "./money.js";
import { experiment } from "./nobody.js";
import { quality } from "./quality.js";
import { releases, verdicts } from "./releases.js";
import { coldStart } from "./start.js";
import { drawQuestion, firstQuestion } from "./question.js";
import { budgetText, demandText, explained, facts, headline, runnerUpText, verdictLine, whyNone } from "./say.js";
import { filters, sentence } from "./sentence.js";
import { moneyRange, names as namesOf, number, plural } from "./words.js";

const data = await unpack(document.getElementById("data").textContent);
const first = firstQuestion(data);
let state = parse(location.hash, first);
const parts = Object.fromEntries(
  ["question", "answer", "charts", "cell", "end"].map((name) => [name, h("section", { id: name })]),
);
parts.answer.setAttribute("aria-live", "polite");

function change(update) {
  state = { ...state, ...update };
  const fragment = write(state, first);
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  render();
}

function pick(cell) {
  change({ cell });
}

function render() {
  const focused = document.activeElement?.getAttribute?.("name");
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  const result = answer(data, state);
  const names = namesOf([...result.standings.map((one) => one.cell), ...result.others]);
  replace(parts.question, sentence(data, state, change), filters(data, state, change));
  replace(parts.answer, result.best ? answered(result, names) : unanswered(result));
  replace(parts.charts, charts(result, names));
  openCell();
  if (focused) document.querySelector(`#question [name="${focused}"], #answer [name="${focused}"]`)?.focus();
}

function answered(result, names) {
  const { best } = result;
  return [
    h("p", { class: `sure ${best.verdict}` }, verdictLine(best)),
    h("h1", { id: "headline" }, headline(result, names), "."),
    h("p", { class: "lede", id: "explained" }, explained(result)),
    facts(best),
    cautions(result),
    h(
      "p",
      { class: "demand" },
      "For ",
      entry("demand", "demand in requests per second", 0.001),
      " requests/s with ",
      entry("headroom", "headroom in percent", 0),
      " % of headroom: ",
      h("b", { id: "replicas" }, demandText(best, state)),
      " Your price per hour: $ ",
      entry("price", "your price per hour in US dollars", 0),
      ".",
    ),
    h("p", { id: "runner-up" }, runnerUpText(result, names)),
    h("p", { id: "budget-text" }, budgetText(result, names)),
    h(
      "p",
      { class: "actions" },
      h("button", { type: "button", onclick: () => pick(best.cell.id) }, "How it was measured, and its command"),
    ),
    standingsTable(result, names),
  ];
}

function cautions(result) {
  const asked = [...result.standings.map((one) => one.cell), ...result.others];
  return [
    ["synthetic", (cell) => cell.model_source === "synthetic"],
    ["stand_in", (cell) => cell.stand_in],
  ].map(([name, has]) => (asked.some(has) ? h("p", { class: "caution" }, data.notes[name]) : null));
}

function entry(name, label, min) {
  return h("input", {
    type: "number",
    name,
    "aria-label": label,
    min,
    step: "any",
    value: state[name] ?? "",
    onchange: (event) => change({ [name]: event.target.value === "" ? undefined : Number(event.target.value) }),
  });
}

function standingsTable(result, names) {
  const rows = result.standings.map((one) => [
    names.get(one.cell.id),
    one.verdict,
    one.users ? `${one.users} users` : number(one.rate_rps),
    one.refuted_users ? `${one.refuted_users} users` : number(one.refuted_rps),
    number(one.output_tokens_per_s),
    moneyRange(one.usd),
    one.cell.grade,
    one.rate_rps === null ? one.reason : "",
  ]);
  return h(
    "details",
    { class: "every", open: state.show === "every" },
    h(
      "summary",
      {},
      plural(rows.length, "configuration"),
      h("span", { class: "quiet" }, "ranked, with what is not proven after what is"),
    ),
    table(
      "Every configuration that was measured for this question",
      [
        "configuration",
        "verdict",
        "holds at, requests/s",
        "breaks at, requests/s",
        "tokens/s",
        "a million output tokens",
        "grade",
        "why not",
      ],
      rows,
      { onRow: (index) => pick(result.standings[index].cell.id) },
    ),
  );
}

function unanswered(result) {
  const lines = experiment(data, state);
  const said = h("span", { class: "quiet", role: "status" });
  return [
    h("p", { class: "sure unknown" }, result.standings.length ? "No answer yet" : "Not measured"),
    h(
      "h1",
      { id: "headline" },
      result.standings.length ? "Nothing measured keeps this limit." : "Nobody has measured this.",
    ),
    h("p", { class: "lede" }, whyNone(result)),
    cautions(result),
    h(
      "p",
      {},
      result.standings.length
        ? "More requests, or other configurations, may: save these lines as question.yaml."
        : "These lines would: save them as question.yaml, where the hardware is.",
    ),
    h("pre", { id: "lines", tabindex: "0" }, lines),
    h(
      "p",
      { class: "actions" },
      h("button", { type: "button", onclick: () => copy(lines, said) }, "Copy the lines"),
      " ",
      h("code", {}, "dyno run question.yaml"),
      " ",
      said,
    ),
    result.standings.length ? standingsTable(result, namesOf(result.standings.map((one) => one.cell))) : null,
  ];
}

function charts(result, names) {
  const shown = looks(result.standings, names);
  const about = { data, question: state, result, looks: shown, names };
  const drawn = shown.length
    ? [
        latencyAgainstRate(about),
        plane(about),
        perUser(about),
        budgetChart(about),
        cost(about),
        quality(about),
        coldStart(about),
      ]
    : [];
  const few =
    result.standings.length > shown.length
      ? h(
          "p",
          { class: "quiet" },
          `The charts show the first ${shown.length} of ${result.standings.length} configurations; the table above has all.`,
        )
      : null;
  return [
    drawn.length ? h("h2", {}, "Behind the answer") : null,
    few,
    h(
      "div",
      { class: "plots" },
      drawn.map((one) => figure(one, pick)),
    ),
    h("h2", {}, "Over time, and what failed"),
    h(
      "div",
      { class: "plots" },
      [releases(about), verdicts(about)].map((one) => figure(one, pick)),
    ),
    matrix(about, pick),
  ];
}

function openCell() {
  const cell = data.cells.find((one) => one.id === state.cell);
  if (parts.cell.dataset.open === (cell?.id ?? "")) return;
  parts.cell.dataset.open = cell?.id ?? "";
  replace(parts.cell, cell ? detail(cell, () => state.cell && change({ cell: undefined })) : null);
  parts.cell.querySelector("dialog")?.showModal();
}

function tools() {
  const dark = () => (state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  return [
    h(
      "button",
      {
        type: "button",
        class: "plain",
        id: "draw",
        onclick: () => change({ ...drawQuestion(data, state), cell: undefined }),
      },
      "Ask anything",
    ),
    h(
      "button",
      { type: "button", class: "plain", id: "theme", onclick: () => change({ theme: dark() ? "light" : "dark" }) },
      "Light or dark",
    ),
  ];
}

function footer() {
  const measured = data.cells.filter((cell) => cell.state === "measured").length;
  return h(
    "footer",
    {},
    h(
      "p",
      {},
      `${measured} of ${plural(data.cells.length, "cell")} measured · written ${data.written_at.slice(0, 10)} · ${data.schema}`,
    ),
    h(
      "p",
      {},
      "First token and last token count from when a request was due. Each token: the gaps between tokens. Certified: the 99 % bound of the percentile lies under the limit; shown: its 95 % bound does; a percentile that too few requests carry is no proof. Cost: all the time of the hardware, over the output tokens.",
    ),
  );
}

addEventListener("hashchange", () => {
  state = parse(location.hash, first);
  render();
});
replace(document.getElementById("tools"), tools());
replace(document.getElementById("app"), parts.question, parts.answer, parts.charts, footer(), parts.cell);
render();
document.documentElement.dataset.ready = "true";
