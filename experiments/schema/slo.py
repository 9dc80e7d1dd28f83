"""Service-level objectives: which percentile of which latency stays under which bound."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

METRICS = ("ttft", "ttft_response", "tpot", "itl", "e2e", "e2e_response")
_FORM = re.compile(r"(?P<metric>\w+):p(?P<percentile>\d{1,2}(?:\.\d+)?)<(?P<bound>\d+(?:\.\d+)?)(?P<unit>ms|s)")


@dataclass(frozen=True, slots=True)
class SLO:
    """`metric` is one of METRICS; `percentile` in (0, 100); `bound_ms` in milliseconds."""

    metric: str
    percentile: float
    bound_ms: float

    @property
    def name(self) -> str:
        """As it stands in metric names: ttft_p95_300ms."""
        return f"{self.metric}_p{self.percentile:g}_{self.bound_ms:g}ms"

    def __str__(self) -> str:
        return f"{self.metric}:p{self.percentile:g}<{self.bound_ms:g}ms"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validate,
            json_schema_input_schema=core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )


def parse_slo(text: str) -> SLO:
    """Reads `METRIC:pNN<NUMBER(ms|s)`; raises ValueError that shows the form and what may stand in it."""
    match = _FORM.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"{text!r} is not of the form METRIC:pNN<NUMBER(ms|s), for example ttft:p95<300ms")
    if match["metric"] not in METRICS:
        raise ValueError(f"{match['metric']!r} is no latency; give one of {', '.join(METRICS)}")
    percentile, bound = float(match["percentile"]), float(match["bound"])
    if not 0 < percentile < 100 or bound <= 0:
        raise ValueError(f"{text!r}: the percentile lies between 0 and 100, the bound above 0")
    return SLO(match["metric"], percentile, bound * (1000 if match["unit"] == "s" else 1))


def _validate(value: object) -> SLO:
    if isinstance(value, SLO):
        return value
    if not isinstance(value, str):
        raise ValueError("an SLO is a text such as ttft:p95<300ms")
    return parse_slo(value)
