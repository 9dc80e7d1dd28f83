"""A trial over time, drawn: one track below the other on one axis, crisp and legible at any width.

The curves stretch with the page and the words do not: each track is an SVG without text, and its words are the page's.
"""

from collections.abc import Sequence
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


def _drawing(track: Track, timeline: Timeline, top: float, what: str) -> Markup:
    def x(at_s: float) -> str:
        return f"{at_s / timeline.span_s * WIDTH:.0f}"

    def y(value: float) -> str:
        return f"{HEIGHT - value / top * HEIGHT:.1f}".removesuffix(".0")

    def line(curve: Curve, values: Sequence[float]) -> str:
        return "L".join(f"{x(at)} {y(value)}" for at, value in zip(curve.at_s, values, strict=True))

    start, stop = timeline.window_s
    grid = "M0 0H1000M0 50H1000M0 100H1000" + "".join(f"M{x(at)} 0V100" for at in time_ticks(timeline.span_s))
    parts = [_span(start, stop, timeline.span_s, "window"), element("path", class_="grid", d=grid)]
    if track.subject.endswith(("GPU", "GPUs")):
        parts += [_span(*slowed, timeline.span_s, "throttled") for slowed in timeline.throttled_s]
    for curve in track.curves:
        if curve.low:
            band = f"M{line(curve, curve.high)}L" + "L".join(reversed(line(curve, curve.low).split("L"))) + "Z"
            parts.append(element("path", class_="band", d=band, style=f"fill:{_hue(curve.name)}"))
        if curve.values:
            parts.append(
                element("path", class_="curve", d=f"M{line(curve, curve.values)}", style=f"stroke:{_hue(curve.name)}")
            )
    if track.dots:
        dots = "".join(f"M{x(at)} {y(value)}h0" for at, value in track.dots)
        parts.append(element("path", class_="dots", d=dots, style=f"stroke:{_hue(track.title)}"))
    words = [element("title", f"{track.subject}: {track.title}, {what}"), element("desc", described(track))]
    box = f"0 0 {WIDTH} {HEIGHT}"
    return element("svg", words, parts, viewBox=box, preserveAspectRatio="none", role="img")


def _span(start_s: float, stop_s: float, whole_s: float, class_: str) -> Markup:
    left, right = (min(max(at / whole_s * WIDTH, 0), WIDTH) for at in (start_s, stop_s))
    return element("rect", class_=class_, x=f"{left:.0f}", y="0", width=f"{max(right - left, 1):.0f}", height="100")


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
