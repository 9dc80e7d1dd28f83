// Data and question -> answer. Pure: the same cells and the same question always give the same answer.
import { LIMITS_MS, matches, parseSlo } from "./question.js";

const STATIONARY = ["open_loop", "capacity"];
const LADDER = ["ladder", "ramp"];
const NEXT = { 50: "90", 90: "95", 95: "99", 99: null };
const ORDER = { certified: 0, shown: 1, seen: 2, refuted: 3, unknown: 4 };

export function answer(data, question) {
  const cells = data.cells.filter((cell) => matches(cell, question));
  const measured = cells.filter((cell) => cell.state === "measured" && cell.points.length);
  const standings = ranked(
    measured.map((cell) => standing(cell, question)),
    question.show,
  );
  const holding = standings.filter((one) => one.rate_rps !== null);
  return {
    question,
    standings,
    holding,
    best: holding[0] ?? null,
    runnerUp: holding[1] ?? null,
    others: cells.filter((cell) => !measured.includes(cell)),
    budget: budget(measured, question),
  };
}

// What one cell offers under the question's limit. `verdict`: certified (by the search, at 99 %), shown (each point by
// its 95 % interval), seen (measured under the limit, on too few requests to show it), refuted, unknown.
export function standing(cell, question) {
  const found = bySearch(cell, question);
  const point = found.rate_rps === null ? null : pointAt(cell, found);
  return { cell, point, ...found, ...yields(cell, point, question), lowest_ms: lowest(cell, question, found) };
}

// The search's word on this very limit; else what it certified of a tighter one, where no point shows more.
function bySearch(cell, question) {
  const about = cell.capacities
    .map((one) => ({ ...one, ...parseSlo(one.slo) }))
    .filter(
      (one) =>
        one.get === question.get &&
        one.percent === question.percent &&
        (one.get !== "each" || one.metric === cell.each),
    );
  const exact = about.find((one) => one.within_ms === question.within_ms && one.verdict !== "unknown");
  if (exact)
    return {
      verdict: exact.verdict,
      rate_rps: exact.certified_rps,
      refuted_rps: exact.refuted_rps,
      reason: exact.reason,
    };
  const tighter = about
    .filter((one) => one.within_ms < question.within_ms && one.certified_rps !== null)
    .sort((a, b) => b.certified_rps - a.certified_rps)[0];
  const found = byPoints(cell, question);
  const isMore = tighter && (found.verdict !== "shown" || tighter.certified_rps >= found.rate_rps);
  return isMore
    ? {
        verdict: "certified",
        rate_rps: tighter.certified_rps,
        refuted_rps: found.refuted_rps,
        reason: `certified of the tighter ${tighter.slo}`,
      }
    : found;
}

// Levels are rates, or numbers of users where the cell was measured in closed loops only.
function byPoints(cell, question) {
  const found = byLevels(judged(cell, question));
  if (!inUsers(cell) || found.rate_rps === null)
    return inUsers(cell) ? { ...found, refuted_users: found.refuted_rps, refuted_rps: null } : found;
  const point = pointAt(cell, { users: found.rate_rps });
  return {
    ...found,
    users: found.rate_rps,
    refuted_users: found.refuted_rps,
    rate_rps: point.achieved_rps,
    refuted_rps: null,
  };
}

function byLevels(points) {
  const refuted_rps = least(points.filter((one) => one.is.refuted).map((one) => one.high));
  const below = (one) => refuted_rps === null || one.low < refuted_rps;
  const shown = greatest(points.filter((one) => one.stationary && one.is.shown && below(one)).map((one) => one.low));
  if (shown !== null)
    return { verdict: "shown", rate_rps: shown, refuted_rps, reason: "each measured load by its 95 % interval" };
  const over = least(points.filter((one) => one.is.over).map((one) => one.high));
  const seen = greatest(
    points
      .filter((one) => one.stationary && one.is.under && below(one) && (over === null || one.low < over))
      .map((one) => one.low),
  );
  if (seen !== null)
    return {
      verdict: "seen",
      rate_rps: seen,
      refuted_rps: refuted_rps ?? over,
      reason: "measured under the limit, on too few requests to prove it",
    };
  if (refuted_rps !== null || over !== null)
    return {
      verdict: "refuted",
      rate_rps: null,
      refuted_rps: refuted_rps ?? over,
      reason: "no measured load keeps the limit",
    };
  return {
    verdict: "unknown",
    rate_rps: null,
    refuted_rps: null,
    reason: points.length ? "this percentile needs more requests than were sent" : "no point that could tell is valid",
  };
}

export function inUsers(cell) {
  return (
    !cell.points.some((point) => point.arrivals !== null) && cell.points.some((point) => LADDER.includes(point.role))
  );
}

// Each valid point that counts, with what its percentile says of the limit: under the cell's own arrivals, or of its
// ladder of users. One request at a time and rates beyond saturation may only refute.
function judged(cell, question) {
  const main = cell.points.find((point) => point.arrivals !== null)?.arrivals ?? null;
  const isLadder = inUsers(cell);
  const counts = (point) =>
    isLadder
      ? LADDER.includes(point.role)
      : point.arrivals === null
        ? point.role === "synchronous"
        : point.arrivals === main;
  return cell.points
    .filter((point) => point.valid && counts(point))
    .map((point) => ({
      point,
      stationary: isLadder || STATIONARY.includes(point.role),
      is: against(point, question),
      low: isLadder ? point.users : Math.min(point.achieved_rps ?? 0, point.rate_rps ?? Infinity),
      high: isLadder ? point.users : Math.max(point.achieved_rps ?? 0, point.rate_rps ?? 0),
    }));
}

// A request that failed is infinitely late: where some did, the next higher percentile of the others stands for it.
function against(point, question) {
  const percent = point.error_share ? NEXT[question.percent] : question.percent;
  const [value, , high] = percent ? latency(point, question.get, percent) : [null, null, null];
  const [plain, low] = latency(point, question.get, question.percent);
  const limit = question.within_ms;
  return {
    shown: high !== null && high < limit,
    refuted: low !== null && low >= limit,
    under: value !== null && value < limit,
    over: plain !== null && plain >= limit,
  };
}

export function latency(point, get, percent) {
  const name = `${get}_p${percent}`;
  return [point[name] ?? null, point[`${name}_low`] ?? null, point[`${name}_high`] ?? null];
}

function pointAt(cell, { users, rate_rps }) {
  if (users) return cell.points.find((point) => point.valid && LADDER.includes(point.role) && point.users === users);
  const open = cell.points.filter((point) => point.valid && STATIONARY.includes(point.role));
  return (
    open.sort((a, b) => Math.abs((a.achieved_rps ?? 0) - rate_rps) - Math.abs((b.achieved_rps ?? 0) - rate_rps))[0] ??
    null
  );
}

// What that rate brings: tokens, requests in flight (Little's law: rate × time in the system), seconds and dollars.
function yields(cell, point, question) {
  const tokens = point?.output_tokens_per_s ?? null;
  const price = question.price ? [question.price, question.price] : cell.usd_per_hour;
  return {
    output_tokens_per_s: tokens,
    in_flight: point?.in_flight ?? null,
    gpu_seconds: tokens && cell.gpus ? (cell.gpus * 1e6) / tokens : null,
    usd: tokens && price ? price.map((hour) => ((hour / 3600) * 1e6) / tokens) : null,
  };
}

function lowest(cell, question, found) {
  if (found.rate_rps === null) return null;
  return least(
    judged(cell, question)
      .filter((one) => one.stationary && one.is.under)
      .map((one) => latency(one.point, question.get, question.percent)[0]),
  );
}

export function ranked(standings, show) {
  const proven = (one) => (one.verdict === "certified" || one.verdict === "shown" ? 0 : ORDER[one.verdict]);
  const figure = {
    throughput: (one) => -(one.rate_rps ?? 0),
    every: (one) => -(one.rate_rps ?? 0),
    latency: (one) => one.lowest_ms ?? Infinity,
    cheapest: (one) => one.usd?.[0] ?? (one.gpu_seconds ?? Infinity) * 1e3,
  }[show];
  return [...standings].sort(
    (a, b) => proven(a) - proven(b) || figure(a) - figure(b) || (a.cell.id < b.cell.id ? -1 : 1),
  );
}

// For a demand: replicas so that each keeps its share of the headroom free.
export function replicas(standing, { demand, headroom }) {
  const count = Math.max(1, Math.ceil((demand * (1 + headroom / 100)) / standing.rate_rps - 1e-9));
  return {
    count,
    share: demand / count / standing.rate_rps,
    in_flight: standing.in_flight === null ? null : (standing.in_flight * demand) / count / standing.rate_rps,
  };
}

// What a tighter or looser limit would give: at each, the highest rate that any configuration keeps. A rate that keeps a
// limit keeps every looser one, whatever its points can prove by themselves.
export function budget(measured, question) {
  const best = (within_ms) =>
    ranked(
      measured.map((cell) => standing(cell, { ...question, within_ms })),
      "throughput",
    ).find((one) => one.rate_rps !== null) ?? null;
  const now = best(question.within_ms);
  const limits = [...new Set([...LIMITS_MS, question.within_ms])].sort((a, b) => a - b);
  return limits.map((within_ms) => {
    const found = best(within_ms);
    const isAgainst =
      now &&
      (within_ms < question.within_ms
        ? found && found.rate_rps > now.rate_rps
        : !found || found.rate_rps < now.rate_rps);
    return { within_ms, best: isAgainst ? now : found };
  });
}

// Whether two rates can be told apart: their intervals from certified to refuted do not meet.
export function apart(best, other) {
  if (best.users) return other.refuted_users !== null && other.refuted_users <= best.users;
  return other.refuted_rps !== null && other.refuted_rps <= best.rate_rps;
}

function least(values) {
  return values.length ? Math.min(...values) : null;
}

function greatest(values) {
  return values.length ? Math.max(...values) : null;
}
