"""The server's own counters, read before and after a trial: a second witness of what came from its cache."""

from tasks.loadgen.call import Caller
from tasks.loadgen.plan import TrialPlan
from tasks.telemetry.exposition import read_metrics

COUNTED = ("prompt_tokens", "uncached_prompt_tokens", "cached_prompt_tokens", "output_tokens")
"""Our names of the counters that are read where an adapter knows theirs."""

TIMEOUT_S = 5.0


class CounterReading:
    """Reads once when it is made, and once more for the growth."""

    def __init__(self, plan: TrialPlan) -> None:
        self._names = {ours: theirs for ours, theirs in plan.metric_names.items() if ours in COUNTED}
        self._path = plan.metrics_path
        self._dialect = plan.metrics_dialect
        self._caller = Caller(plan.endpoint, min(TIMEOUT_S, plan.timeout_s)) if self._names else None
        self._before = self._read()

    def growth(self) -> tuple[dict[str, float], str]:
        """By how much each counter grew, by our names, and why where there is none."""
        if self._caller is None:
            return {}, "it is not known how this server names its counters"
        before, after = self._before, self._read()
        missing = [theirs for ours, theirs in self._names.items() if ours not in before or ours not in after]
        if missing:
            return {}, f"{self._path} has no {', '.join(missing)}"
        grown = {ours: after[ours] - before[ours] for ours in self._names}
        fallen = [self._names[ours] for ours, by in grown.items() if by < 0]
        return ({}, f"{', '.join(fallen)} fell: the server started anew") if fallen else (grown, "")

    def _read(self) -> dict[str, float]:
        """By our names; without those that could not be read."""
        if self._caller is None:
            return {}
        response = self._caller.get(self._caller.prefix + self._path).response
        if response.status != 200:
            return {}
        return read_metrics(response.body.decode(errors="replace"), self._names, self._dialect)
