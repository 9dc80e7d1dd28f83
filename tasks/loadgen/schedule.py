"""Schedules: when each request is due and how long it is; computed once, in the parent, from the seed alone."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.errors import InputError
from experiments.schema.conversation import Conversation
from experiments.schema.length import Distribution, FromData, Natural
from experiments.schema.load import ArrivalProcess, OpenLoop, StopRule
from experiments.schema.prompts import Dataset
from tasks.loadgen.dialogue import Dialogue, dialogue_of
from tasks.loadgen.draws import OUTPUT_STREAM, PROMPT_STREAM, drawn_lengths
from tasks.loadgen.material import Material, material_of
from tasks.loadgen.plan import TrialPlan
from tasks.loadgen.trace import Trace, first_rows, read_trace

NS = 1_000_000_000
Lengths = NDArray[np.int32]

USER_GAP_NS = 100_000
"""Users of a closed loop come at least this far apart: no client sends two requests at one instant, and to have them
all due at once would only record how long the burst took as lateness."""

_ARRIVALS_STREAM = 0x41525249
"""Keeps the draws of arrivals apart from other uses of the same seed."""


_ROUND = 65_536
"""Lengths that are drawn for a closed loop of unknown extent; they come round again after so many requests."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One entry a request, by index. `due_ns` are offsets from the trial's start, rising.

    Closed loop: `due_ns` is None (a request is due when its predecessor ended), `user_due_ns` says when each user
    comes. `count` is None where seconds end a closed loop: then the lengths of request i are entry i modulo their
    number. A prompt length of 0 is not known beforehand.

    With a dialogue `due_ns` are the times at which conversations begin, and the lengths are by index and come round
    again; `count` is None wherever seconds end it.
    """

    count: int | None
    due_ns: NDArray[np.int64] | None
    user_due_ns: NDArray[np.int64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    window_from_ns: int
    until_ns: int | None
    dialogue: Dialogue | None = None

    def in_window(self, due_ns: int) -> bool:
        """All that was scheduled, or with a time limit what is due from the ramp's end on."""
        return due_ns >= self.window_from_ns


def make_schedule(plan: TrialPlan, *, text_overhead: int | None = None) -> Schedule:
    """The whole schedule of a trial; the number of processes takes no part in it. `text_overhead` is what the server
    adds to a dataset's text in tokens, None where that is not known."""
    if plan.workload.conversation is not None:
        return _conversations(plan, plan.workload.conversation)
    if isinstance(plan.load, OpenLoop):
        return _open_loop(plan, plan.load, text_overhead)
    return _closed_loop(plan, plan.load.concurrency, text_overhead)


def _window(stop: StopRule) -> tuple[int, int | None]:
    if stop.seconds is None:
        return 0, None
    return round(stop.ramp_s * NS), round(stop.seconds * NS)


def _closed_loop(plan: TrialPlan, users: int, text_overhead: int | None) -> Schedule:
    window_from, until = _window(plan.stop)
    count = plan.stop.requests
    prompt, output = _lengths(plan, count, text_overhead)
    return Schedule(count, None, _user_starts(plan.stop, users), prompt, output, window_from, until)


def _user_starts(stop: StopRule, users: int) -> NDArray[np.int64]:
    gap_ns = max(stop.ramp_s * NS / users, USER_GAP_NS)
    return np.rint(np.arange(users, dtype=np.float64) * gap_ns).astype(np.int64)


def _conversations(plan: TrialPlan, conversation: Conversation) -> Schedule:
    """In open loop they begin at the rate that makes `rate_rps` requests per second of their turns."""
    window_from, until = _window(plan.stop)
    material = material_of(plan)
    if material is not None and not material.turns:
        raise InputError("this dataset tells lengths only: a conversation needs what is said in it")
    told = tuple(map(len, material.turns)) if material is not None else ()
    dialogue = dialogue_of(conversation, seed=plan.seed, requests=plan.stop.requests, told=told)
    due, users = None, np.empty(0, np.int64)
    if isinstance(plan.load, OpenLoop):
        due = _beginnings(plan.load, plan, dialogue.count, dialogue.mean_turns)
        dialogue = replace(
            dialogue, count=len(due), last_turns=dialogue.last_turns or dialogue.drawn_turns(len(due) - 1)
        )
    else:
        users = _user_starts(plan.stop, plan.load.concurrency)
    prompt, output = _turn_lengths(plan, conversation, dialogue)
    return Schedule(plan.stop.requests, due, users, prompt, output, window_from, until, dialogue)


def _beginnings(load: OpenLoop, plan: TrialPlan, count: int | None, mean_turns: float) -> NDArray[np.int64]:
    if load.rate_rps is None:
        raise InputError("a trace replays single requests: for conversations give a rate or a concurrency")
    stop = plan.stop if count is None else StopRule(requests=count, ramp_s=plan.stop.ramp_s)
    return arrivals(load.arrivals, load.rate_rps / mean_turns, stop, plan.seed)


def _turn_lengths(
    plan: TrialPlan, conversation: Conversation, dialogue: Dialogue
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Turn by turn, conversation after conversation, what the user adds and what is answered; where nothing is drawn,
    one conversation's stand for all."""
    most, workload = dialogue.most_turns, plan.workload
    is_drawn = not (isinstance(workload.prompt_tokens, int | FromData) and isinstance(workload.output_tokens, int))
    conversations = (dialogue.count or max(1, _ROUND // most)) if is_drawn else 1
    prompt, output = _lengths(plan, conversations * most, None)
    by_turn = prompt.reshape(-1, most)
    if conversation.first_prompt_tokens is not None:
        by_turn[:, 0] = conversation.first_prompt_tokens
    if conversation.turn_prompt_tokens is not None:
        by_turn[:, 1:] = conversation.turn_prompt_tokens
    return prompt, output


def _open_loop(plan: TrialPlan, load: OpenLoop, text_overhead: int | None) -> Schedule:
    window_from, until = _window(plan.stop)
    if load.arrivals.kind == "trace":
        trace = first_rows(read_trace(load.arrivals.path), plan.stop)
        due, prompt, output = _of_trace(trace, plan, text_overhead)
    else:
        assert load.rate_rps is not None, "OpenLoop's own validation"
        due = arrivals(load.arrivals, load.rate_rps, plan.stop, plan.seed)
        prompt, output = _lengths(plan, len(due), text_overhead)
    return Schedule(len(due), due, np.empty(0, np.int64), prompt, output, window_from, until)


def _of_trace(trace: Trace, plan: TrialPlan, text_overhead: int | None) -> tuple[NDArray[np.int64], Lengths, Lengths]:
    """A trace without lengths takes the workload's. A dataset's texts keep theirs."""
    prompt, output = _lengths(plan, len(trace.due_ns), text_overhead)
    keeps_prompts = trace.prompt_tokens is None or isinstance(plan.workload.prompts, Dataset)
    return (
        trace.due_ns,
        prompt if keeps_prompts or trace.prompt_tokens is None else trace.prompt_tokens,
        output if trace.output_tokens is None else trace.output_tokens,
    )


def _lengths(plan: TrialPlan, count: int | None, text_overhead: int | None) -> tuple[Lengths, Lengths]:
    """Of prompts and answers, one entry a request. Where nobody knows how many there will be, they come round again."""
    workload, material = plan.workload, material_of(plan)
    prompt, output = workload.prompt_tokens, workload.output_tokens
    if isinstance(prompt, FromData):
        assert material is not None, "validated"
        prompts = _repeated(_prompts_of(material, text_overhead), count)
    else:
        alike = workload.hot_prompts if workload.cache == "hot" else _drawn(prompt, count)
        prompts = _repeated(drawn_lengths(prompt, alike, plan.seed, PROMPT_STREAM), count)
    if isinstance(output, FromData):
        assert material is not None, "validated"
        told = material.output_tokens or (output.longest,)
        return prompts, _repeated(np.array(told, np.int32), count)
    if isinstance(output, Natural):
        output = output.longest
    return prompts, drawn_lengths(output, _drawn(output, count), plan.seed, OUTPUT_STREAM)


def _drawn(length: int | Distribution, count: int | None) -> int:
    """How many have to be drawn."""
    return count if count is not None else 1 if isinstance(length, int) else _ROUND


def _prompts_of(material: Material, text_overhead: int | None) -> Lengths:
    """A text's own tokens, its salt and what the server adds; 0 where one of them is not known."""
    if not material.texts:
        return np.array(material.prompt_tokens, np.int32)
    if text_overhead is None:
        return np.zeros(1, np.int32)
    own = np.array(material.prompt_tokens, np.int32)
    return np.where(own > 0, own + material.salt_tokens + text_overhead, 0).astype(np.int32)


def _repeated(lengths: Lengths, count: int | None) -> Lengths:
    return lengths if count is None else np.resize(lengths, count)


def arrivals(process: ArrivalProcess, rate_rps: float, stop: StopRule, seed: int) -> NDArray[np.int64]:
    """Due times in ns from the start. A ramp lets the rate rise linearly from 0, by stretching operational time."""
    operational = _operational_times(process, rate_rps, stop, seed)
    due = np.rint(_stretched(operational, rate_rps, stop.ramp_s) * NS).astype(np.int64)
    if stop.seconds is not None:
        due = due[due < round(stop.seconds * NS)]
    return due


def _operational_times(process: ArrivalProcess, rate_rps: float, stop: StopRule, seed: int) -> NDArray[np.float64]:
    """Arrivals of the process at rate 1: the requests asked for, or enough to fill the seconds."""
    if stop.requests is not None:
        return np.cumsum(_gaps(process, stop.requests, seed))
    needed = rate_rps * ((stop.seconds or 0.0) - min(stop.ramp_s, stop.seconds or 0.0) / 2)
    count = int(needed + 10 * needed**0.5) + 10
    while (times := np.cumsum(_gaps(process, count, seed)))[-1] <= needed:
        count *= 2  # the same stream from its start: a longer draw keeps its beginning
    return times


def _gaps(process: ArrivalProcess, count: int, seed: int) -> NDArray[np.float64]:
    """Gaps before each request, of mean 1. Constant arrivals begin at once, so that S seconds hold rate × S of them."""
    rng = np.random.default_rng([_ARRIVALS_STREAM, seed % 2**64])
    if process.kind == "poisson":
        return rng.standard_exponential(count)
    if process.kind == "gamma":
        return rng.standard_gamma(process.shape, count) / process.shape
    gaps = np.ones(count)
    gaps[0] = 0.0
    return gaps


def _stretched(operational: NDArray[np.float64], rate_rps: float, ramp_s: float) -> NDArray[np.float64]:
    """Inverts Λ(t) = rate·t²/(2·ramp) for t ≤ ramp, and rate·(t − ramp/2) beyond; seconds."""
    if ramp_s == 0:
        return operational / rate_rps
    in_ramp = operational <= rate_rps * ramp_s / 2
    return np.where(in_ramp, np.sqrt(2 * ramp_s * operational / rate_rps), operational / rate_rps + ramp_s / 2)
