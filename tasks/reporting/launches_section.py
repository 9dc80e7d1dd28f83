"""What lies between a cell's launches and beside its points: intervals, warm-up, arrivals, and a ramp's buckets."""

from collections.abc import Sequence

from experiments.schema.result import BetweenLaunches, Bucket, CellResult, Derating, PointResult
from tasks.reporting.markup import Content, Markup, element
from tasks.reporting.wording import NONE, load_text, number


def launches_section(cell: CellResult) -> Content:
    """Nothing where there is one launch under one arrival process, warmed up and told as a whole."""
    return [_between(cell), _deratings(cell.deratings), _warm_ups(cell), [_buckets(point) for point in cell.points]]


def _between(cell: CellResult) -> Content:
    if not cell.between_launches:
        return None
    launches = [" and ".join(map(str, launch.launches)) for launch in cell.launches]
    titles = ["Figure", "Mean", "95 % between launches", *(f"launch {numbers}" for numbers in launches)]
    rows = [
        [
            name,
            number(figure.mean),
            between_text(figure),
            *(_headline(launch.headlines, name) for launch in cell.launches),
        ]
        for name, figure in cell.between_launches.items()
    ]
    return [element("h3", "Between launches"), _table(titles, rows)]


def between_text(figure: BetweenLaunches) -> str:
    """The t interval, or that one launch gives none."""
    if figure.low is None or figure.high is None:
        return "no interval of one launch"
    return f"{number(figure.low)}–{number(figure.high)} (n = {figure.launches})"


def _headline(headlines: dict[str, float], name: str) -> str:
    return number(headlines[name]) if name in headlines else NONE


def _deratings(deratings: Sequence[Derating]) -> Content:
    if not deratings:
        return None
    rows = [[d.arrivals, d.figure, _figure(d.rate_rps), *_derated(d)] for d in deratings]
    titles = ["Arrivals", "Figure", "at rps", "Value", "Constant", "Ratio"]
    return [element("h3", "Against constant arrivals"), _table(titles, rows)]


def _derated(derating: Derating) -> list[str]:
    if derating.ratio is None:
        return [f"absent: {derating.reason}", "", ""]
    return [_figure(derating.value), _figure(derating.constant), number(derating.ratio)]


def _figure(value: float | None) -> str:
    return number(value) if value is not None else NONE


def _warm_ups(cell: CellResult) -> Content:
    """Only what did not become steady is worth a line."""
    told = [
        f"launch {warm.launch} was not steady after {number(warm.seconds)} s of warming up; it was measured nonetheless"
        for warm in cell.warm_ups
        if not warm.is_steady
    ]
    return element("ul", [element("li", text) for text in told], class_="notes") if told else None


def _buckets(point: PointResult) -> Content:
    buckets = point.summary.buckets
    if not buckets:
        return None
    title = f"{load_text(point)}, every {number(buckets[0].seconds)} s"
    rows = [_bucket(bucket) for bucket in buckets]
    return [element("h3", title), _table(["From, s", "Requests", "Output, tokens/s", "TTFT p50, ms"], rows)]


def _bucket(bucket: Bucket) -> list[str]:
    start = f"{bucket.start_s:g}{' (ramp)' if bucket.start_s < 0 else ''}"
    return [start, f"{bucket.requests:,}", _figure(bucket.output_tokens_per_s), _figure(bucket.ttft_p50_ms)]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = [element("th", title, scope="col", class_="number" if i else None) for i, title in enumerate(titles)]
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", text, class_="number") for text in row[1:]])
        for row in rows
    ]
    table = element("table", element("thead", element("tr", head)), element("tbody", body))
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=titles[0])
