"""Prefect's server may be away for a while: what is asked again, and what is not."""

from collections.abc import Callable

import httpx
import pytest

from tasks import patience
from tasks.patience import patiently, shown


def answering(*answers: "Exception | str") -> tuple[Callable[[], str], list[int]]:
    """A server that says these, one after the other; and how often it was asked."""
    left, asked = list(answers), [0]

    def ask() -> str:
        asked[0] += 1
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    return ask, asked


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://h")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(code, request=request))


def prefect_status(code: int) -> Exception:
    from prefect.exceptions import PrefectHTTPStatusError

    return PrefectHTTPStatusError.from_httpx_error(status(code))


def test_a_server_that_is_away_is_asked_until_it_answers() -> None:
    ask, asked = answering(httpx.ConnectError("refused"), prefect_status(503), "here")
    assert patiently(ask, pause_s=0) == "here"
    assert asked == [3]


def test_what_the_server_refuses_is_not_asked_again() -> None:
    ask, asked = answering(prefect_status(404))
    with pytest.raises(httpx.HTTPStatusError):
        patiently(ask, pause_s=0)
    assert asked == [1]


def test_patience_ends() -> None:
    ask, asked = answering(httpx.ConnectError("refused"), httpx.ConnectError("still"), "too late")
    with pytest.raises(httpx.ConnectError, match="refused"):
        patiently(ask, limit_s=-1, pause_s=0)
    assert asked == [1]


def test_what_cannot_be_shown_stops_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(patience, "SHOWING_S", -1.0)
    ask, asked = answering(httpx.ConnectError("refused"))
    shown(ask)
    assert asked == [1]
    assert "not shown" in caplog.text
