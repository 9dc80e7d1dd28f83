// The answer in words, with its numbers.
import { apart, replicas } from "./answer.js";
import { h } from "./dom.js";
import { ARRIVES, LATENCY, duration, moneyRange, number, percentChange, plural } from "./words.js";

const SURE = {
  certified: "Certified at 99 % by the capacity search",
  shown: "Shown by the 95 % interval of each measured rate",
  seen: "An estimate: measured under the limit, on too few requests to prove it",
};

export function verdictLine(best) {
  return `${SURE[best.verdict]}${best.cell.grade ? ` · grade ${best.cell.grade}` : ""} · ${best.cell.launches === 1 ? "of one launch: a claim about the configuration needs three" : `${best.cell.launches} launches`}`;
}

export function headline(result, names) {
  const { best, question } = result;
  const name = names.get(best.cell.id);
  if (question.show === "latency") return [h("strong", {}, `${number(best.lowest_ms)} ms`), ` by ${name}`];
  if (question.show === "cheapest")
    return [
      h(
        "strong",
        {},
        best.usd
          ? moneyRange(best.usd)
          : best.gpu_seconds
            ? `${number(best.gpu_seconds)} GPU-seconds`
            : `${number(best.output_tokens_per_s)} tokens/s`,
      ),
      ` by ${name}`,
    ];
  if (question.show === "every")
    return [
      h("strong", {}, String(result.holding.length)),
      ` of ${plural(result.standings.length, "configuration")} keep the limit, led by ${name}`,
    ];
  return [h("strong", {}, best.users ? `${best.users} users` : `${number(best.rate_rps)} requests/s`), ` by ${name}`];
}

export function explained(result) {
  const { best, question } = result;
  const limit = `the ${ARRIVES[question.get]} within ${duration(question.within_ms)}, ${question.percent} % of the time`;
  const end =
    best.refuted_rps === null
      ? "no higher rate was shown to break it"
      : `at ${number(best.refuted_rps)} it no longer does`;
  if (best.users)
    return `With ${best.users} users at once, each of whom asks again when the last answer has come, one replica gives ${limit}, at ${number(best.rate_rps)} requests/s; ${best.refuted_users ? `with ${best.refuted_users} it no longer does` : "more users were not shown to break it"}.`;
  const more =
    question.show === "latency"
      ? ` At its easiest measured rate the p${question.percent} ${LATENCY[question.get]} is ${number(best.lowest_ms)} ms.`
      : "";
  const average =
    question.get === "each" && best.cell.each === "tpot"
      ? " Time per token is each request's average (TPOT): this engine does not tell how many tokens a chunk holds."
      : "";
  return `One replica gives clients ${limit}, at up to ${number(best.rate_rps)} requests/s; ${end}.${more}${average}`;
}

export function facts(best) {
  const list = [
    [
      "capacity",
      `${number(best.rate_rps)} requests/s`,
      best.users
        ? `${best.users} users at once`
        : best.refuted_rps === null
          ? "nothing above it refuted"
          : `between ${number(best.rate_rps)} and ${number(best.refuted_rps)}`,
    ],
    [
      "output",
      `${number(best.output_tokens_per_s)} tokens/s`,
      best.point?.per_user_tokens_per_s ? `${number(best.point.per_user_tokens_per_s)} for each user` : "",
    ],
    [
      "a million output tokens",
      best.usd ? moneyRange(best.usd) : "no price known",
      best.gpu_seconds ? `${number(best.gpu_seconds)} GPU-seconds` : "",
    ],
    ["in flight", number(best.in_flight), "requests at once (Little's law)"],
  ];
  return h(
    "dl",
    { class: "figures" },
    list.map(([label, value, note]) =>
      h("div", {}, h("dt", {}, label), h("dd", {}, value, note ? h("span", {}, note) : null)),
    ),
  );
}

export function demandText(best, question) {
  const { count, share, in_flight } = replicas(best, question);
  const each = in_flight === null ? "" : `, with about ${number(in_flight, 2)} requests in flight on each`;
  const price = question.price ? [question.price, question.price] : best.cell.usd_per_hour;
  const bill = price ? ` All of them cost ${moneyRange(price.map((hour) => hour * count))} an hour.` : "";
  return `${plural(count, "replica")}, each at ${Math.round(100 * share)} % of its capacity${each}.${bill}`;
}

export function runnerUpText(result, names) {
  const { best, runnerUp, question } = result;
  if (!runnerUp)
    return result.standings.length > 1
      ? "No other configuration keeps this limit."
      : "It is the only configuration that was measured for this question.";
  const name = names.get(runnerUp.cell.id);
  const rates = `${number(runnerUp.rate_rps)} requests/s (${percentChange(runnerUp.rate_rps, best.rate_rps)})`;
  const figure =
    {
      latency: `${number(runnerUp.lowest_ms)} ms`,
      cheapest: runnerUp.usd ? `${moneyRange(runnerUp.usd)} a million, at ${rates}` : rates,
    }[question.show] ?? rates;
  if (runnerUp.verdict === "seen" && best.verdict !== "seen")
    return `Not proven, on too few requests: ${name} was measured under the limit at ${rates}.`;
  const doubt =
    ["throughput", "every"].includes(question.show) && !apart(best, runnerUp)
      ? " What was measured does not tell the two apart."
      : "";
  return `The runner-up, ${name}, would give ${figure}.${doubt}`;
}

export function budgetText(result, names) {
  const { question, budget } = result;
  const here = budget.findIndex((one) => one.within_ms === question.within_ms);
  const now = budget[here].best;
  const say = (one, word) => {
    if (!one) return null;
    if (!one.best) return `${word} ${duration(one.within_ms)}, nothing keeps it`;
    if (one.best.rate_rps === now?.rate_rps) return `${word} ${duration(one.within_ms)} it is the same`;
    const change = now ? ` (${percentChange(one.best.rate_rps, now.rate_rps)})` : "";
    return `${word} ${duration(one.within_ms)} ${one.best.cell === now?.cell ? "it" : names.get(one.best.cell.id)} gives ${number(one.best.rate_rps)} requests/s${change}`;
  };
  const parts = [say(budget[here - 1], "within"), say(budget[here + 1], "within")].filter(Boolean);
  return parts.length ? `The latency budget: ${parts.join("; ")}.` : "";
}

export function whyNone(result) {
  const { standings, question, others } = result;
  if (standings.length) {
    const reasons = [...new Set(standings.map((one) => one.reason))].slice(0, 3).join("; ");
    return `${plural(standings.length, "configuration")} measured, and none keeps the ${ARRIVES[question.get]} within ${duration(question.within_ms)} for ${question.percent} %: ${reasons}.`;
  }
  return others.length
    ? `${plural(others.length, "cell")} tried, none measured: ${[...new Set(others.map((cell) => cell.cause || cell.state))].slice(0, 3).join("; ")}.`
    : "";
}
