"""What people filter workloads and loads by: one word or number a facet, the same in tags, params and columns."""

from collections.abc import Iterable
from pathlib import PurePath

from experiments.schema.length import described
from experiments.schema.load import ClosedLoop, Load
from experiments.schema.prompts import Dataset
from experiments.schema.workload import Workload

Facet = str | int | float | None


def workload_facets(workload: Workload) -> dict[str, Facet]:
    """`dataset` is synthetic, english, a repository of the hub or a file's name. Where text goes through a chat
    template `endpoint` is chat. `shared_prefix_share` is the share of the requests that begin with a common prefix, of
    `shared_prefix_tokens`. A system prompt's length is in characters here: its tokens are known only to a server
    (`text_overhead_tokens` of a point), and are part of `input_tokens`. None: it has no such thing."""
    system, prefix, talk = workload.system_prompt, workload.shared_prefix, workload.conversation
    return {
        "input_tokens": described(workload.prompt_tokens),
        "output_tokens": described(workload.output_tokens),
        "dataset": dataset_name(workload),
        "endpoint": workload.endpoint,
        "system_prompt": "no" if system is None else "yes",
        "system_prompt_characters": None if system is None else len(system),
        "prompt_cache": workload.cache,
        "shared_prefix_tokens": None if prefix is None else prefix.tokens,
        "shared_prefix_share": None if prefix is None else prefix.share,
        "turns": None if talk is None else talk.most_turns,
        "answers": "to the length asked" if not workload.ends_by_itself else "end by themselves",
    }


def dataset_name(workload: Workload) -> str:
    """Where its prompts come from. Of a path only the file's name: the rest says where a person keeps it."""
    prompts = workload.prompts
    if not isinstance(prompts, Dataset):
        return prompts.kind
    return prompts.repo or PurePath(prompts.path or "").name


def load_facets(loads: Iterable[Load]) -> dict[str, str]:
    """`arrivals` and `users` (the concurrencies of closed loops, from few to many) of all loads of a cell."""
    known = list(loads)
    users = sorted({load.concurrency for load in known if isinstance(load, ClosedLoop)})
    arrivals = dict.fromkeys(arrivals_of(load) for load in known)
    return {"arrivals": " ".join(arrivals), "users": " ".join(map(str, users))}


def arrivals_of(load: Load) -> str:
    """closed_loop, or the arrival process of an open loop."""
    return load.kind if isinstance(load, ClosedLoop) else load.arrivals.kind
