"""The page's own module of answers, asked about cells that are made for one question each."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
Opened = Any
QUESTION = {"get": "first", "percent": "95", "within_ms": 300, "show": "throughput"}


@pytest.fixture(scope="module")
def asked(browser: Any, almanac: Any) -> Any:
    """asked(cell, **question) -> the module's standing of the cell."""
    page: Page = browser.new_page()
    page.goto(f"file://{almanac}")

    def standing(cell: dict[str, Any], **question: Any) -> dict[str, Any]:
        script = 'async ([cell, question]) => (await import("almanac/answer.js")).standing(cell, question)'
        found: dict[str, Any] = page.evaluate(script, [cell, QUESTION | question])
        return found

    yield standing
    page.close()


def point(rate: float, p95: float, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    return {
        "role": "open_loop", "arrivals": "poisson", "rate_rps": rate, "achieved_rps": rate, "users": None, "valid": 1,
        "error_share": 0, "output_tokens_per_s": 10 * rate, "in_flight": 1, "first_p95": p95, "first_p95_low": low,
        "first_p95_high": high, **more,
    }  # fmt: skip


def cell(*points: dict[str, Any], capacities: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "id": "a", "points": list(points), "capacities": list(capacities), "each": "itl", "gpus": 2,
        "usd_per_hour": [3.6, 7.2], **more,
    }  # fmt: skip


def capacity(slo: str, certified: float | None, refuted: float | None) -> dict[str, Any]:
    verdict = "certified" if certified else "refuted" if refuted else "unknown"
    return {"slo": slo, "verdict": verdict, "certified_rps": certified, "refuted_rps": refuted, "reason": "search"}


def verdict(found: dict[str, Any]) -> tuple[str, float | None, float | None]:
    return found["verdict"], found["rate_rps"], found["refuted_rps"]


def test_a_rate_is_shown_where_its_interval_lies_under_the_limit(asked: Any) -> None:
    found = asked(cell(point(1, 100, 90, 110), point(2, 200, 180, 299), point(3, 290, 250, 301)))
    assert verdict(found) == ("shown", 2, None)


def test_a_rate_above_a_refuted_one_is_not_shown(asked: Any) -> None:
    found = asked(cell(point(1, 100, 90, 110), point(2, 400, 310, 500), point(3, 200, 180, 220)))
    assert verdict(found) == ("shown", 1, 2)


def test_without_an_upper_bound_the_rate_is_only_seen(asked: Any) -> None:
    assert verdict(asked(cell(point(1, 100, 90, None), point(2, 350, 280, None)))) == ("seen", 1, 2)


def test_overloaded_and_invalid_points_prove_nothing(asked: Any) -> None:
    found = asked(cell(point(5, 1, 1, 2, role="overloaded"), point(4, 1, 1, 2, valid=0), point(1, 9, 8, 10)))
    assert verdict(found) == ("shown", 1, None)


def test_one_request_at_a_time_that_breaks_the_limit_refutes_every_rate(asked: Any) -> None:
    alone = point(0.5, 400, 390, 410, role="synchronous", arrivals=None, rate_rps=None, users=1)
    assert verdict(asked(cell(alone, point(1, 100, 90, 110)))) == ("refuted", None, 0.5)


def test_where_requests_failed_the_next_percentile_stands_for_the_one_asked(asked: Any) -> None:
    failing = point(2, 200, 190, 210, error_share=0.005, first_p99=500, first_p99_low=400, first_p99_high=600)
    fine = point(1, 100, 90, 110, error_share=0.005, first_p99=150, first_p99_low=140, first_p99_high=160)
    assert verdict(asked(cell(fine, failing))) == ("shown", 1, None)


def test_the_search_stands_above_the_points(asked: Any) -> None:
    found = asked(cell(point(3, 100, 90, 110), capacities=(capacity("ttft_response:p95<300ms", 2, 4),)))
    assert verdict(found) == ("certified", 2, 4)


def test_what_is_certified_of_a_tighter_limit_holds_for_a_looser_one(asked: Any) -> None:
    tighter = cell(point(1, 400, 390, 410), capacities=(capacity("ttft:p95<300ms", 2, 4),))
    assert verdict(asked(tighter, within_ms=1000)) == ("certified", 2, None)
    assert verdict(asked(tighter, within_ms=100))[0] != "certified"


def test_a_search_of_another_percentile_or_latency_says_nothing(asked: Any) -> None:
    other = (
        capacity("ttft:p99<300ms", 9, None),
        capacity("e2e:p95<300ms", 9, None),
        capacity("tpot:p95<300ms", 9, None),
    )
    assert verdict(asked(cell(point(1, 100, 90, 110), capacities=other))) == ("shown", 1, None)
    assert asked(cell(capacities=other), get="each")["verdict"] == "unknown"


def test_other_arrivals_than_the_cells_first_are_left_out(asked: Any) -> None:
    steady = point(5, 10, 9, 11, arrivals="constant")
    assert verdict(asked(cell(point(1, 100, 90, 110), steady))) == ("shown", 1, None)


def test_cost_is_the_time_of_the_hardware_over_the_output_tokens(asked: Any) -> None:
    found = asked(cell(point(1, 100, 90, 110)))
    # 10 tokens/s: a million take 100,000 s; at 3.6 dollars an hour a second costs 0.001 dollars.
    assert found["usd"] == pytest.approx([100, 200])
    assert found["gpu_seconds"] == pytest.approx(200_000)
    assert asked(cell(point(1, 100, 90, 110)), price=36)["usd"] == pytest.approx([1000, 1000])


def users(count: int, p95: float, low: float | None, high: float | None) -> dict[str, Any]:
    return point(count / 5, p95, low, high, role="ramp", arrivals=None, rate_rps=None, users=count)


def test_a_cell_of_closed_loops_only_is_judged_by_its_users(asked: Any) -> None:
    found = asked(cell(users(10, 100, 90, 110), users(50, 200, 190, 210), users(100, 400, 390, 410)))
    assert (found["verdict"], found["users"], found["refuted_users"]) == ("shown", 50, 100)
    assert found["rate_rps"] == 10
    assert asked(cell(users(10, 400, 390, 410)))["verdict"] == "refuted"


def test_closed_loops_beside_open_ones_prove_no_rate(asked: Any) -> None:
    assert verdict(asked(cell(point(1, 100, 90, 110), users(500, 10, 9, 11)))) == ("shown", 1, None)


def test_a_stand_in_is_never_an_answer(open_page: Opened) -> None:
    page = open_page()
    script = """async (cells) => {
      const { answer } = await import("almanac/answer.js");
      const question = { model: "m", hardware: "any", engine: "any", in: "1", out: "1", get: "first", percent: "95",
        within_ms: 300, show: "throughput" };
      for (const name of Object.keys((await import("almanac/question.js")).FILTERS)) question[name] = "any";
      const found = answer({ cells }, question);
      return [found.holding.map((one) => one.cell.id), found.others.map((one) => one.id)];
    }"""
    asking = {"model": "m", "hardware": "h", "engine": "e", "in": "1", "out": "1"}
    real = cell(point(1, 100, 90, 110)) | asking | {"state": "measured"}
    played = cell(point(9, 10, 9, 11)) | asking | {"state": "stand_in", "id": "played"}
    assert page.evaluate(script, [real, played]) == [["a"], ["played"]]
