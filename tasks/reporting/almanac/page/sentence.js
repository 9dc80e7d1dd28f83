// The sentence whose gaps are the question.
import { h } from "./dom.js";
import { ANY, FILTERS, GETS, LIMITS_MS, PERCENTS, SHOWS, options } from "./question.js";
import { duration } from "./words.js";

const OTHER = "…";

export function sentence(data, question, change) {
  const gap = (name, label, { any } = {}) => select(data, question, name, label, change, any);
  const choice = (name, label, entries) =>
    h(
      "select",
      { "aria-label": label, name, onchange: (event) => change({ [name]: event.target.value }) },
      entries.map(([value, text]) => h("option", { value, selected: String(question[name]) === value }, text)),
    );
  return h(
    "div",
    { class: "sentence", role: "group", "aria-label": "The question" },
    h(
      "p",
      {},
      "I want to serve ",
      gap("model", "model"),
      " on ",
      gap("hardware", "hardware", { any: "any hardware" }),
      " with ",
      h("span", { class: "together" }, gap("engine", "engine", { any: "any engine" }), ";"),
      " ",
      gap("in", "tokens in"),
      " tokens in, ",
      gap("out", "tokens out"),
      " tokens out. Clients should get the ",
      choice("get", "which token", Object.entries(GETS)),
      " within ",
      limit(question, change),
      ", ",
      choice(
        "percent",
        "share of the time, percent",
        PERCENTS.map((value) => [value, `${value} %`]),
      ),
      question.show === "every" ? " of the time. Show me " : " of the time. Show me the ",
      choice("show", "what to show", Object.entries(SHOWS)),
      " configuration.",
    ),
  );
}

function select(data, question, name, label, change, any) {
  const { measured, other } = options(data, name);
  const values = [...(any ? [[ANY, any]] : []), ...measured.map((value) => [value, value])];
  const option = ([value, text]) => h("option", { value, selected: String(question[name]) === value }, text);
  const isLength = name === "in" || name === "out";
  const more = [
    ...other,
    ...(question[name] !== ANY && !measured.includes(String(question[name])) && !other.includes(String(question[name]))
      ? [String(question[name])]
      : []),
  ];
  const chosen = (event) =>
    event.target.value === OTHER ? typed(event.target, name, label, change) : change({ [name]: event.target.value });
  return h(
    "select",
    { "aria-label": label, name, onchange: chosen },
    more.length
      ? [
          h("optgroup", { label: "measured" }, values.map(option)),
          h(
            "optgroup",
            { label: "not measured here" },
            more.map((value) => option([value, value])),
          ),
        ]
      : values.map(option),
    isLength ? h("option", { value: OTHER }, "another number") : null,
  );
}

// Any number may be asked for, measured or not.
function typed(list, name, label, change) {
  const input = h("input", {
    type: "number",
    name,
    "aria-label": label,
    min: "1",
    step: "1",
    onchange: (event) => Number(event.target.value) >= 1 && change({ [name]: String(Math.round(event.target.value)) }),
  });
  list.replaceWith(input);
  input.focus();
}

function limit(question, change) {
  const set = (event) => Number(event.target.value) > 0 && change({ within_ms: Number(event.target.value) });
  return h(
    "span",
    { class: "limit" },
    h("input", {
      type: "number",
      name: "within_ms",
      "aria-label": "limit in milliseconds",
      min: "0.1",
      step: "any",
      list: "limits",
      value: question.within_ms,
      onchange: set,
    }),
    " ms",
    h(
      "datalist",
      { id: "limits" },
      LIMITS_MS.map((value) => h("option", { value }, duration(value))),
    ),
  );
}

export function filters(data, question, change) {
  const choices = Object.entries(FILTERS)
    .map(([name, label]) => [name, label, options(data, name).measured])
    .filter(([name, , values]) => values.length > 1 || question[name] !== ANY);
  const set = choices.filter(([name]) => question[name] !== ANY).length;
  return h(
    "details",
    { class: "filters", open: set > 0 },
    h("summary", {}, "Filters", set ? h("span", { class: "quiet" }, `${set} set`) : null),
    h(
      "div",
      { class: "choices" },
      choices.map(([name, label, values]) =>
        h(
          "label",
          {},
          label,
          h(
            "select",
            { name, onchange: (event) => change({ [name]: event.target.value }) },
            h("option", { value: ANY }, "any"),
            values.map((value) => h("option", { value, selected: String(question[name]) === value }, value)),
          ),
        ),
      ),
    ),
  );
}
