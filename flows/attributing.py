"""An attribution before its flow: the groups of flags, and one comparison in which each is left out once."""

import re
import shlex
from pathlib import Path

from engine_adapters import ADAPTERS
from engine_adapters.base import DEFAULT_PROFILE, EngineProfile
from experiments.errors import InputError
from experiments.schema.comparison import ComparisonOrder, System
from experiments.schema.experiment import Experiment
from experiments.schema.variant import EnvironmentVariable, Variant
from experiments.schema.workload import Workload
from flows.comparing import cells_of, changed, check, order_of, system_name, variants_of

Group = tuple[str, ...]
NUMBER = re.compile(r"-\d")


def attribution_order(
    experiment: Experiment,
    *,
    engine: str,
    profile: str | None,
    flags: str | None,
    looks: tuple[int, ...],
    margin: float,
    canary: bool,
    budget_s: float | None,
    home: Path,
) -> ComparisonOrder:
    """One comparison of which each system is a variant with all its flags against the same without one group of them;
    the canary is launched in the first. Raises InputError where there is nothing to leave out."""
    if profile is not None and flags is not None:
        raise InputError("--engine-profile and --flags contradict: give the flags of one of them")
    systems = [
        system
        for variant, workloads in variants_of(experiment, engine)
        for system in _without_each(_whole(variant, profile), groups_of(flags) if flags else None, workloads)
    ]
    if not systems:
        raise InputError(
            f"the variants of {engine} in {experiment.name} have no flags to leave out: give --engine-profile, or "
            '--flags "--a 1; --b", or extra_args in the file'
        )
    only_first = tuple(one.model_copy(update={"has_canary": i == 0}) for i, one in enumerate(systems))
    return order_of(
        experiment, only_first, looks=looks, margin=margin, canary=canary, budget_s=budget_s, home=home,
        kind="attribution-",
    )  # fmt: skip


def groups_of(text: str) -> tuple[Group, ...]:
    """`--a 1; --b` as groups of arguments. Raises InputError."""
    groups = tuple(tuple(shlex.split(part)) for part in text.split(";") if part.strip())
    strange = next((group for group in groups if not group[0].startswith("-")), None)
    if not groups or strange:
        raise InputError(f'--flags {text!r}: write groups such as "--a 1; --b", each beginning with its flag')
    return groups


def flags_of(arguments: Group) -> tuple[Group, ...]:
    """Arguments as groups of a flag and its values."""
    groups: list[list[str]] = []
    for word in arguments:
        if groups and not (word.startswith("-") and not NUMBER.match(word)):
            groups[-1].append(word)
        else:
            groups.append([word])
    return tuple(tuple(group) for group in groups)


def _whole(variant: Variant, profile: str | None) -> Variant:
    return variant if profile is None else changed(variant, {"engine_profile": profile})


def _without_each(whole: Variant, given: tuple[Group, ...] | None, workloads: tuple[Workload, ...]) -> list[System]:
    whole, without = _left_out(whole, given)
    return [_system(group, check((whole, candidate), workloads), workloads) for group, candidate in without]


def _left_out(variant: Variant, given: tuple[Group, ...] | None) -> tuple[Variant, list[tuple[Group, Variant]]]:
    """The whole, and each group with the variant that lacks it. `given` are added to what the variant has; else the
    groups are those of its profile, else of its own arguments."""
    if given is not None:
        return _with(variant, given), [(group, _with(variant, rest)) for group, rest in _each_and_rest(given)]
    if variant.engine_profile != DEFAULT_PROFILE.name:
        profile = _profile(variant)
        return variant, [(group, _unfolded(variant, profile, rest)) for group, rest in _each_and_rest(profile.flags)]
    bare = variant.model_copy(update={"extra_args": ()})
    return variant, [(group, _with(bare, rest)) for group, rest in _each_and_rest(flags_of(variant.extra_args))]


def _each_and_rest(groups: tuple[Group, ...]) -> list[tuple[Group, tuple[Group, ...]]]:
    return [(group, (*groups[:i], *groups[i + 1 :])) for i, group in enumerate(groups)]


def _system(group: Group, sides: tuple[Variant, Variant], workloads: tuple[Workload, ...]) -> System:
    name = f"{system_name(sides[0])} without {shlex.join(group)}"
    return System(name=name, baseline=sides[0], candidate=sides[1], cells=cells_of(sides[0], workloads), left_out=group)


def _with(variant: Variant, groups: tuple[Group, ...]) -> Variant:
    added = tuple(word for group in groups for word in group)
    return variant.model_copy(update={"extra_args": (*variant.extra_args, *added)})


def _unfolded(variant: Variant, profile: EngineProfile, groups: tuple[Group, ...]) -> Variant:
    """The profile's environment and these of its flags, as a variant's own, where the profile would put them."""
    own = tuple(EnvironmentVariable(name=name, value=value) for name, value in profile.env)
    words = tuple(word for group in groups for word in group)
    return variant.model_copy(
        update={
            "engine_profile": DEFAULT_PROFILE.name,
            "extra_args": (*words, *variant.extra_args),
            "env": (*own, *variant.env),
        }
    )


def _profile(variant: Variant) -> EngineProfile:
    known = {profile.name: profile for profile in ADAPTERS[variant.engine].profiles}
    found = known.get(variant.engine_profile)
    if found is None:
        names = ", ".join(known) or "none beside default"
        raise InputError(f"{variant.engine} has no profile {variant.engine_profile}; it has {names}")
    if found.stage == "build":
        raise InputError(
            f"the flags of {variant.engine}'s profile {found.name} are of its build, and a variant has no word for a "
            "part of them: only flags of a launch can be left out one at a time"
        )
    return found
