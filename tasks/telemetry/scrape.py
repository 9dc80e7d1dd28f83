"""An engine's metrics endpoint, read again and again over one connection."""

import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.telemetry.exposition import read_metrics

if TYPE_CHECKING:  # the process that watches imports no adapter: its start is to cost little
    from engine_adapters.base import MetricsDialect

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Scraped:
    """Where an engine tells its metrics, and by which names. The key itself is read where it is used."""

    url: str
    path: str
    names: Mapping[str, str]
    dialect: "MetricsDialect" = "prometheus"
    api_key_env: str = ""


class NoMetrics(Exception):
    """Why there is nothing to read."""


class Scraper:
    """The connection is kept: on a server with a thread for each, another one would wait behind the load's own."""

    def __init__(self, scraped: Scraped) -> None:
        self._scraped = scraped
        parts = urlsplit(scraped.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        self._target = parts.path.rstrip("/") + scraped.path
        key = os.environ.get(scraped.api_key_env, "").strip() if scraped.api_key_env else ""
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def sample(self) -> dict[str, float]:
        """By our names. Raises NoMetrics, and connects anew the next time."""
        try:
            status, body = self._ask()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoMetrics(f"{self._scraped.path} gave no answer ({type(error).__name__})") from error
        if status != 200:
            raise NoMetrics(f"{self._scraped.path} answered {status}")
        return read_metrics(body.decode("utf-8", "replace"), self._scraped.names, self._scraped.dialect)

    def close(self) -> None:
        """A server that serves one connection at a time serves the next one now."""
        self._connection.close()

    def _ask(self) -> tuple[int, bytes]:
        """Once more where the server closed the connection since the last time."""
        try:
            return self._ask_once()
        except ConnectionError:
            self._connection.close()
            return self._ask_once()

    def _ask_once(self) -> tuple[int, bytes]:
        self._connection.request("GET", self._target, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()
