"""The page of a run says what the cell is and showed, and its length fits."""

from collections.abc import Callable

from experiments.schema.result import BetweenLaunches, CellResult
from tasks.tracking.description import LIMIT, cell_description


def test_headlines_come_with_intervals_and_points_with_their_steps(cell: Callable[..., CellResult]) -> None:
    between = {"saturation_rps": BetweenLaunches(launches=3, mean=20.0, low=18.5, high=21.5)}
    told = cell_description(cell(between_launches=between))
    assert "`saturation_rps`: 20 (95 % between launches: 18.5 to 21.5)" in told
    assert "| 2 | 15 rps poisson | 15 | 240 | 52 | – | – | 100 | valid |" in told
    assert "| 1 | 2 at a time | 20 | 320 | 51 |" in told
    assert "endpoint completions" in told
    assert "dyno command c0ffee123456" in told


def test_a_long_description_is_cut_and_says_so(cell: Callable[..., CellResult]) -> None:
    told = cell_description(cell(cause="out of memory", stage="launch", log_excerpt="line\n" * 5000))
    assert LIMIT < len(told) < 8000
    assert told.endswith("The rest is in cell.json.")
