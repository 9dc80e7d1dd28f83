"""What each flag brings: the whole set of flags against the set without that one, in the words of the flag."""

from collections.abc import Sequence
from typing import Literal

from experiments.schema.comparison import ChangeVerdict, ComparisonResult, FigureChange, FlagEffect, System

Effect = Literal["helps", "hurts", "mixed", "none", "undecided", "void"]


def flag_effects(systems: Sequence[System], result: ComparisonResult) -> tuple[FlagEffect, ...]:
    """One for each system, in their order."""
    found = []
    for system in systems:
        figures = tuple(one for one in result.cells if one.system == system.name)
        effect: Effect = "void" if result.canary.broken else effect_of(figures)
        found.append(FlagEffect(flags=system.left_out, system=system.name, effect=effect, figures=figures))
    return tuple(found)


def effect_of(figures: Sequence[FigureChange]) -> Effect:
    """A figure that is worse without the flag says that it helps; nothing is said to have no effect while a figure of
    it is undecided."""
    verdicts = {one.verdict for one in figures}
    helps, hurts = ChangeVerdict.REGRESSED in verdicts, ChangeVerdict.IMPROVED in verdicts
    if helps or hurts:
        return "mixed" if helps and hurts else "helps" if helps else "hurts"
    return "none" if verdicts == {ChangeVerdict.EQUIVALENT} else "undecided"
