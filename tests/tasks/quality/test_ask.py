"""Three ways to ask a server for log-probabilities give the same numbers; one that does something else is found out."""

import httpx
import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import RequestDialect, Scoring
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.quality.ask import Asker
from tasks.quality.record import Position
from tasks.quality.unavailable import Unavailable
from tests.tasks.quality.stand_in_server import HELD_BACK, likeliest, logprob, stand_in

TOKENS = [0, 3, 3, 1, 4, 2]


def dialect_of(engine: str) -> RequestDialect:
    model = Model(name="m", source=SyntheticSource(kind="synthetic"))
    variant = Variant(engine=engine, engine_version="1", model=model, quantization=Quantization.BF16)
    return ADAPTERS[engine].request_dialect(variant)


def scoring_of(engine: str) -> Scoring:
    found = dialect_of(engine).scoring
    assert found is not None
    return found


def positions(engine: str, tokens: list[int], habit: str = "", *, probe: bool = True) -> list[Position]:
    with stand_in(habit) as url, httpx.Client(base_url=url, trust_env=False) as client:
        asker = Asker(client, "m", dialect_of(engine))
        if probe:
            asker.probe(tokens)
        return asker.positions(7, tokens)


@pytest.mark.parametrize("engine", ["llama_cpp", "vllm", "vllm_cpu", "sglang"])
def test_each_token_has_its_log_probability_after_those_before_it(engine: str) -> None:
    found = positions(engine, TOKENS)
    assert [(one.text, one.position, one.token) for one in found] == [(7, i, TOKENS[i]) for i in range(1, 6)]
    for one in found:
        before = TOKENS[one.position - 1]
        assert one.logprob == pytest.approx(logprob(before, one.token))
        assert one.top1 == likeliest(before)
        assert one.top1_logprob == pytest.approx(logprob(before, likeliest(before)))


def test_the_three_ways_are_three() -> None:
    methods = {scoring_of(engine).method for engine in ("llama_cpp", "vllm", "sglang")}
    assert methods == {"forced_token", "prompt_logprobs", "input_token_logprobs"}


def test_a_token_that_is_held_back_has_no_position() -> None:
    found = positions("llama_cpp", [0, 3, HELD_BACK, 2])
    assert [one.position for one in found] == [1, 3]


@pytest.mark.parametrize(
    ("engine", "habit", "reason"),
    [
        ("llama_cpp", "biased", "after the bias"),
        ("llama_cpp", "ignores bias", "a bias does not make it draw"),
        ("llama_cpp", "no logprobs", "no log-probabilities of a token"),
        ("llama_cpp", "refuses", "http 400"),
        ("vllm", "short", "3 positions of 4 tokens"),
        ("vllm", "drifts", "asked twice"),
        ("transformers_serve", "", "refuses a request for log-probabilities"),
        ("mlx_lm", "", "rounds them to bfloat16"),
    ],
)
def test_a_server_that_does_something_else_is_found_out_before_it_is_scored(
    engine: str, habit: str, reason: str
) -> None:
    with pytest.raises(Unavailable, match=reason):
        positions(engine, TOKENS, habit)


def test_a_server_that_is_not_there_is_a_reason() -> None:
    with httpx.Client(base_url="http://127.0.0.1:9", trust_env=False) as client, pytest.raises(Unavailable, match="no"):
        Asker(client, "m", dialect_of("vllm")).probe(TOKENS)
