"""The grammar of objectives."""

import pytest

from experiments.schema.slo import SLO, parse_slo


@pytest.mark.parametrize(
    ("text", "slo", "name"),
    [
        ("ttft:p95<300ms", SLO("ttft", 95, 300), "ttft_p95_300ms"),
        ("e2e_response:p99.9<1.5s", SLO("e2e_response", 99.9, 1500), "e2e_response_p99.9_1500ms"),
        ("tpot:p50 < 30 ms", SLO("tpot", 50, 30), "tpot_p50_30ms"),
    ],
)
def test_an_slo_is_read_named_and_written_back(text: str, slo: SLO, name: str) -> None:
    assert parse_slo(text) == slo
    assert slo.name == name
    assert parse_slo(str(slo)) == slo


@pytest.mark.parametrize("text", ["ttft<3s", "ttft:p95<3", "ttft:p0<3s", "ttft:p95<0ms", "ttft:p100<1s", "x:p9<1s", ""])
def test_what_is_no_slo_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"form METRIC|no latency|percentile lies"):
        parse_slo(text)
