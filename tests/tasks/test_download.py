"""A download is tried again where a later try may succeed, and not where the request itself is refused."""

from types import SimpleNamespace

import pytest

from experiments.errors import DownloadError, QuantizationError
from tasks.download import may_pass


def caused_by(cause: Exception) -> DownloadError:
    error = DownloadError("it did not come")
    error.__cause__ = cause
    return error


class Answered(OSError):
    """As huggingface-hub's error of an answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.response = SimpleNamespace(status_code=status)


class ReadTimeout(Exception):
    """As its HTTP client's."""


@pytest.mark.parametrize("cause", [Answered(503), Answered(429), ConnectionResetError(), TimeoutError(), ReadTimeout()])
def test_what_may_pass_is_tried_again(cause: Exception) -> None:
    assert may_pass(caused_by(cause))


@pytest.mark.parametrize("cause", [Answered(401), Answered(403), Answered(404), ValueError("bad json")])
def test_what_will_not_pass_is_not(cause: Exception) -> None:
    assert not may_pass(caused_by(cause))
    assert not may_pass(DownloadError("no such folder"))
    assert not may_pass(QuantizationError("x"))
