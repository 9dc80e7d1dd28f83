"""Asking Prefect's server while it may be starting anew: its client gives up at once where it was never answered."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

log = logging.getLogger("dyno.prefect")

Answer = TypeVar("Answer")
LONGEST_S = 300.0
SHOWING_S = 60.0
PAUSE_S = 3.0


def patiently(ask: Callable[[], Answer], *, limit_s: float = LONGEST_S, pause_s: float = PAUSE_S) -> Answer:
    """The answer, asked for again while nobody answers or the server fails: `ask` is such that twice is as good as
    once. Raises what the last try raised once the limit has passed, and at once what another try would not mend."""
    limit = time.monotonic() + limit_s
    while True:
        try:
            return ask()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if not _may_pass(error) or time.monotonic() > limit:
                raise
            log.warning("Prefect's server does not answer (%s): trying again", type(error).__name__)
        time.sleep(pause_s)


def shown(show: Callable[[], object]) -> None:
    """Of what people see in Prefect nothing is measured: where it cannot be shown, the run goes on."""
    try:
        patiently(show, limit_s=SHOWING_S)
    except httpx.HTTPError as error:
        log.warning("not shown in Prefect: %s", error)


def _may_pass(error: httpx.HTTPError) -> bool:
    return not isinstance(error, httpx.HTTPStatusError) or error.response.status_code >= 500
