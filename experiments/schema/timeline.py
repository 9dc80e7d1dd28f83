"""The vocabulary of timelines: what a trial looks like over time, before anything is drawn. Data only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """One line over time. `low` and `high` bound a band around it, where it is a mean of several; empty without one."""

    name: str
    at_s: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Track:
    """One thing over time, in `unit`: curves, or dots (time, value). `subject` is whose it is; `note` says what was
    left out of it. `top` is the end of its scale where that is known."""

    subject: str
    title: str
    unit: str
    curves: tuple[Curve, ...] = ()
    dots: tuple[tuple[float, float], ...] = ()
    note: str = ""
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """All tracks share one time axis, from 0, when the first request was due, to `span_s`. `window_s` is W on it, and
    `throttled_s` are the spans in which a GPU was slowed down."""

    span_s: float
    window_s: tuple[float, float]
    tracks: tuple[Track, ...]
    throttled_s: tuple[tuple[float, float], ...] = ()
