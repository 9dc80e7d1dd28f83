"""A trial over time, drawn: one track below the other on one axis, crisp and legible at any width.

The curves stretch with the page and the words do not: each track is an SVG without text, and its words are the page's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from experiments.schema.timeline import Curve, Timeline, Track
from tasks.reporting.markup import Content, Markup, element, join
from tasks.reporting.wording import number

WIDTH, HEIGHT = 1000, 100
"""Units of a track's drawing, whatever size it has on the page."""

TIME_TICKS = 8
HUES = {"in flight": 0, "output": 2, "TTFT": 1, "running": 0, "waiting": 1, "KV cache": 3, "power": 5, "busy": 2}
LAST_HUE = 4
MOST_SPANS = 4
SHADED = "The shaded span is the measured window"


def timeline_figure(timeline: Timeline, what: str) -> Markup:
    """`what` names the trial for those who do not see it."""
    return element(
        "figure",
        [_track(track, before, timeline, what) for track, before in _with_previous(timeline.tracks)],
        element("div", [_time_tick(at, timeline) for at in time_ticks(timeline.span_s)], class_="time-axis"),
        element("figcaption", _caption(timeline)),
        class_="timeline",
    )


def _with_previous(tracks: Sequence[Track]) -> list[tuple[Track, Track | None]]:
    return list(zip(tracks, (None, *tracks[:-1]), strict=True))


def _track(track: Track, before: Track | None, timeline: Timeline, what: str) -> Markup:
    top = scale_top(track)
    ticks = [
        element("span", _tick_text(share * top), class_="tick", style=f"bottom:{share:.0%}") for share in (0, 0.5, 1)
    ]
    is_new = before is None or before.subject != track.subject
    return element(
        "div",
        element("p", element("b", track.subject) if is_new else None, *_label(track), class_="track-label"),
        element("div", ticks, _drawing(track, timeline, top, what), class_="track-plot"),
        class_="track first" if is_new else "track",
    )


def _label(track: Track) -> list[Content]:
    """One curve needs no key; of several, the keys are the label."""
    unit = element("span", track.unit, class_="unit")
    if len(track.curves) < 2:
        return [element("span", track.title, " ", unit)]
    keys = [element("span", element("i", style=f"background:{_hue(curve.name)}"), curve.name) for curve in track.curves]
    return [element("span", join([[key, " "] for key in keys]), unit, class_="keys")]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From seconds and values to the units of a drawing."""

    span_s: float
    top: float

    def x(self, at_s: float) -> str:
        return f"{min(max(at_s / self.span_s, 0), 1) * WIDTH:.0f}"

    def y(self, value: float) -> str:
        return f"{HEIGHT - value / self.top * HEIGHT:.1f}".removesuffix(".0")

    def corners(self, at_s: Sequence[float], values: Sequence[float]) -> list[str]:
        return [f"{self.x(at)} {self.y(value)}" for at, value in zip(at_s, values, strict=True)]

    def span(self, start_s: float, stop_s: float, class_: str) -> Markup:
        left, right = int(self.x(start_s)), int(self.x(stop_s))
        return element("rect", class_=class_, x=f"{left}", y="0", width=f"{max(right - left, 1)}", height=f"{HEIGHT}")


def _drawing(track: Track, timeline: Timeline, top: float, what: str) -> Markup:
    scale = _Scale(timeline.span_s, top)
    slowed = timeline.throttled_s if track.subject.endswith(("GPU", "GPUs")) else ()
    return element(
        "svg",
        element("title", f"{track.subject}: {track.title}, {what}"),
        element("desc", described(track)),
        scale.span(*timeline.window_s, "window"),
        element("path", class_="grid", d=_grid(scale)),
        [scale.span(*span, "throttled") for span in slowed],
        [_curve(curve, scale) for curve in track.curves if curve.values],
        _dots(track, scale) if track.dots else None,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
    )


def _grid(scale: _Scale) -> str:
    levels = "".join(f"M0 {height}H{WIDTH}" for height in (0, HEIGHT // 2, HEIGHT))
    return levels + "".join(f"M{scale.x(at)} 0V{HEIGHT}" for at in time_ticks(scale.span_s))


def _curve(curve: Curve, scale: _Scale) -> list[Markup]:
    """The band first: the line lies over it."""
    hue = _hue(curve.name)
    line = "M" + "L".join(scale.corners(curve.at_s, curve.values))
    drawn = [element("path", class_="curve", d=line, style=f"stroke:{hue}")]
    if curve.low:
        around = scale.corners(curve.at_s, curve.high) + scale.corners(curve.at_s, curve.low)[::-1]
        drawn.insert(0, element("path", class_="band", d=f"M{'L'.join(around)}Z", style=f"fill:{hue}"))
    return drawn


def _dots(track: Track, scale: _Scale) -> Markup:
    """A line of no length with round ends is a dot that stays round however the drawing is stretched."""
    dots = "".join(f"M{scale.x(at)} {scale.y(value)}h0" for at, value in track.dots)
    return element("path", class_="dots", d=dots, style=f"stroke:{_hue(track.title)}")


def described(track: Track) -> str:
    """The track in words: its extent, curve by curve."""
    told = [(curve.name, curve.values) for curve in track.curves]
    told += [("each request", tuple(value for _, value in track.dots))] if track.dots else []
    extents = [
        f"{name} from {number(min(values))} to {number(max(values))} {track.unit}" for name, values in told if values
    ]
    return "; ".join(extents) or "nothing was told in this span"


def scale_top(track: Track) -> float:
    """A round number at or above everything in the track; its half is round enough too."""
    if track.top is not None:
        return track.top
    curves = [value for curve in track.curves for value in (*curve.values, *curve.high)]
    highest = max([*curves, *(value for _, value in track.dots)], default=0.0)
    if highest <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(highest))
    return next(power * step for step in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if power * step >= highest * (1 - 1e-9))


def time_ticks(span_s: float) -> list[float]:
    """Round seconds, from 0, no more than TIME_TICKS of them after it."""
    power = 10.0 ** floor(log10(span_s / TIME_TICKS))
    step = next(power * round_ for round_ in (1, 2, 5, 10) if power * round_ * TIME_TICKS >= span_s * (1 - 1e-9))
    return [step * index for index in range(floor(span_s / step * (1 + 1e-9)) + 1)]


def _tick_text(value: float) -> str:
    return f"{value:,.4g}" if value < 10_000 else f"{value / 1000:,.4g}k"


def _time_tick(at_s: float, timeline: Timeline) -> Markup:
    return element("span", f"{at_s:g} s", style=f"left:{at_s / timeline.span_s:.1%}")


def _caption(timeline: Timeline) -> str:
    start, stop = (max(0.0, at) for at in timeline.window_s)
    said = [f"{SHADED}, {start:.1f} to {stop:.1f} s after the first request was due."]
    said += [f"{track.title}: {track.note}." for track in timeline.tracks if track.note]
    if any(curve.low for track in timeline.tracks for curve in track.curves):
        said.append("Bands: from the lowest to the highest of what the GPUs told at that moment.")
    if timeline.throttled_s:
        spans = ", ".join(f"{start:.1f}–{stop:.1f} s" for start, stop in timeline.throttled_s[:MOST_SPANS])
        more = f" and {len(timeline.throttled_s) - MOST_SPANS} times more" * (len(timeline.throttled_s) > MOST_SPANS)
        said.append(f"A GPU throttled (red): {spans}{more}.")
    return " ".join(said)


def _hue(name: str) -> str:
    return f"var(--series-{HUES.get(name, LAST_HUE)})"
