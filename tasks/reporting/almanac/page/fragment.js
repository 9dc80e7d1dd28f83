// All state in the address's fragment: a link is the whole view.
import { GETS, PERCENTS, SHOWS } from "./question.js";

const CHOICES = { get: Object.keys(GETS), percent: PERCENTS, show: Object.keys(SHOWS), theme: ["light", "dark"] };
const NUMBERS = ["within_ms", "demand", "headroom", "price"];
const MORE = ["cell", "theme", "price"];

export function write(state, first) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== undefined && value !== null && value !== "" && String(first[name]) !== String(value))
      found.set(name, value);
  }
  return found.toString();
}

// What is no key of ours, or no value that it may have, is left out: an old link still opens.
export function parse(fragment, first) {
  const state = { ...first };
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    if (!Object.hasOwn(first, name) && !MORE.includes(name)) continue;
    if (CHOICES[name] && !CHOICES[name].includes(value)) continue;
    if (NUMBERS.includes(name) && !(Number(value) > 0 || (name === "headroom" && Number(value) === 0))) continue;
    state[name] = NUMBERS.includes(name) ? Number(value) : value;
  }
  return state;
}
