"""The cold-start ledger: each start of a server, phase by phase, cold or warm; and one that is made cold on purpose."""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from engine_adapters import ADAPTERS
from engine_adapters.base import LaunchSpec
from experiments.schema.cold_start import ColdStart, ColdStartPlan
from experiments.schema.variant import Variant
from tasks.campaigns.campaign import Campaign
from tasks.campaigns.home import Home
from tasks.campaigns.launches import Launches
from tasks.campaigns.ledger import now
from tasks.serve import Loadable, runs_in_container, serve
from tasks.serving.lease import boot_id
from tasks.serving.page_cache import checkpoint_files, drop, resident_share
from tasks.serving.server import Server
from tasks.serving.start_phases import start_phases

log = logging.getLogger("dyno.cold_start")

COLD_SHARE = 0.1
"""Less of a checkpoint in memory than this, and its weights come from the disk."""

STARTS = TypeAdapter(tuple[ColdStart, ...])


@dataclass(frozen=True, slots=True)
class Before:
    """What a start finds. `compiled_before` is None where the engine keeps nothing between starts."""

    page_cache_share: float | None
    launched_before: bool
    compiled_before: bool | None


def before_start(variant: Variant, loadable: Loadable, home: Home, *, has_fresh_caches: bool = False) -> Before:
    """Looked up right before the start, which is entered in the store's ledger of launches."""
    launches, keeps = Launches(home.launches, boot_id()), keeps_caches(variant)
    found = Before(
        page_cache_share=resident_share(checkpoint_files(loadable.path)),
        launched_before=launches.had(variant.id),
        compiled_before=not has_fresh_caches and launches.had(variant.id, that_kept_caches=True) if keeps else None,
    )
    launches.add(variant.id, now(), keeps_caches=keeps and not has_fresh_caches)
    return found


def keeps_caches(variant: Variant) -> bool:
    """Whether its engine finds at a start what an earlier one compiled: a new container has nothing."""
    return not runs_in_container(variant) and bool(ADAPTERS[variant.engine].cache_variables)


def cold_start(
    variant: Variant,
    before: Before,
    server: Server,
    *,
    log_file: Path,
    launch: int,
    stages_s: Mapping[str, float],
    on_purpose: bool = False,
) -> ColdStart:
    """The entry of a server that has given its first token. `stages_s` are the seconds of the stages before it."""
    told, reasons = start_phases(ADAPTERS[variant.engine].start_phases, log_file)
    is_cold, how_known = temperature(before)
    stages = {f"{name}_s": round(stages_s[name], 3) for name in ("environment", "pull") if name in stages_s}
    absent = {f"{name}_s": reason for name, reason in reasons.items()}
    absent |= {"pull_s": "it runs in no container"} if "pull_s" not in stages else {}
    absent |= {"environment_s": "it runs in a container"} if "environment_s" not in stages else {}
    return ColdStart.model_validate(
        {
            "launch": launch,
            "cold": is_cold,
            "how_known": how_known,
            "on_purpose": on_purpose,
            "page_cache_share": before.page_cache_share,
            "launched_before": before.launched_before,
            **stages,
            **{f"{name}_s": seconds for name, seconds in told.items()},
            **{name: round(server.timings_s[name], 3) for name in ("healthy_s", "first_token_s")},
            "reasons": absent,
        }
    )


def temperature(before: Before) -> tuple[bool, str]:
    """Whether it is a cold start, and how that is known. Warm as soon as anything of an earlier one helps."""
    share = before.page_cache_share
    has_cold_weights = (share < COLD_SHARE) if share is not None else not before.launched_before
    weights = (
        f"{share:.0%} of its weights' pages were in memory"
        if share is not None
        else f"the page cache cannot be asked, and it was {'' if before.launched_before else 'not '}launched before"
    )
    caches = {
        None: "its engine keeps nothing that it compiles",
        False: "what its engine compiles was not there",
        True: "it was launched before on this boot, so that what its engine compiles was there",
    }[before.compiled_before]
    return has_cold_weights and not before.compiled_before, f"{weights}; {caches}"


def start_cold(
    variant: Variant,
    loadable: Loadable,
    plan: ColdStartPlan,
    *,
    home: Home,
    log_file: Path,
    launch: int,
    stages_s: Mapping[str, float],
) -> ColdStart:
    """Starts the server cold, waits for its first token, and ends it. Raises what a launch raises."""
    if plan.drop_page_cache:
        drop(checkpoint_files(loadable.path))
    with fresh_caches(variant, plan) as adapted:
        before = before_start(variant, loadable, home, has_fresh_caches=plan.fresh_engine_caches)
        with serve(variant, loadable=loadable, log_file=log_file, leases=home.leases, adapted=adapted) as server:
            found = cold_start(
                variant, before, server, log_file=log_file, launch=launch, stages_s=stages_s, on_purpose=True
            )
    log.info("%s start: first token after %.2f s (%s)", _word(found), found.first_token_s or 0.0, found.how_known)
    return found


def _word(start: ColdStart) -> str:
    return "cold" if start.cold else "warm"


@contextlib.contextmanager
def fresh_caches(variant: Variant, plan: ColdStartPlan) -> Iterator[Callable[[LaunchSpec], LaunchSpec]]:
    """A change of the launch: its engine finds none of what it compiled before. The folder is gone after the block."""
    names = ADAPTERS[variant.engine].cache_variables
    if not plan.fresh_engine_caches or not keeps_caches(variant):
        yield lambda spec: spec
        return
    with tempfile.TemporaryDirectory(prefix="dyno-caches-") as folder:
        variables = tuple((name, str(Path(folder) / name.lower())) for name in names)
        yield lambda spec: replace(spec, env=(*spec.env, *variables))


def keep_starts(campaign: Campaign, variant: Variant, launch: int, starts: Iterable[ColdStart]) -> None:
    """Beside the server's log: the cells of a launch share them."""
    file = campaign.start_record(variant.id, launch)
    aside = file.with_suffix(".partial")
    aside.write_bytes(STARTS.dump_json(tuple(starts), indent=1))
    aside.rename(file)


def kept_starts(campaign: Campaign, variant: Variant, launches: Iterable[int]) -> tuple[ColdStart, ...]:
    """Of those launches, in order; none of one that was attached to."""
    return tuple(start for launch in launches for start in _read(campaign.start_record(variant.id, launch)))


def _read(file: Path) -> tuple[ColdStart, ...]:
    try:
        return STARTS.validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return ()
