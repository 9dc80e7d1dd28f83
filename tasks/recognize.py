"""Which engine's metrics a server tells that nobody named. Plain Python, for `dyno load`."""

from collections.abc import Iterator, Mapping

from engine_adapters import ADAPTERS
from tasks.loadgen.plan import Endpoint
from tasks.telemetry.scrape import NoMetrics, Scraped, Scraper

PATH = "/metrics"


def recognized_metrics(endpoint: Endpoint) -> Mapping[str, str]:
    """The names of the adapter of which the server tells the most, less those that it does not tell; none where it
    tells no adapter's. It is asked once."""
    parts = {part: part for names in _dialects() for name in names.values() for part in name.split("/")}
    scraper = Scraper(Scraped(endpoint.url, PATH, parts, api_key_env=endpoint.api_key_env))
    try:
        told = scraper.sample()
    except NoMetrics:
        return {}
    finally:
        scraper.close()
    known = [{ours: name for ours, name in names.items() if told.keys() >= {*name.split("/")}} for names in _dialects()]
    return max(known, key=len, default={})


def _dialects() -> Iterator[Mapping[str, str]]:
    """Those in Prometheus' format: the other forgets what it has told."""
    return (adapter.metric_names for adapter in ADAPTERS.values() if adapter.metrics_dialect == "prometheus")
