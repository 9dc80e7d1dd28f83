"""What an engine's metrics say, by our names."""

import pytest

from tasks.telemetry.exposition import read_metrics

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="a } b"} 1e2
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:prompt_tokens_total{engine="0"} 1.234e+06 1395066363000
vllm:time_to_first_token_seconds_bucket{le="0.1"} 5
vllm:time_to_first_token_seconds_count 7
vllm:broken NaN
vllm:endless +Inf
"""
"""The form of vLLM 0.33, with the labels of two engines."""


def test_labels_are_summed_and_of_shares_the_largest_counts() -> None:
    names = {
        "requests_running": "vllm:num_requests_running",
        "requests_waiting": "vllm:num_requests_waiting",
        "kv_cache_usage": "vllm:kv_cache_usage_perc",
        "prompt_tokens": "vllm:prompt_tokens_total",
    }
    assert read_metrics(VLLM, names) == {
        "requests_running": 7.0, "requests_waiting": 100.0, "kv_cache_usage": 0.75, "prompt_tokens": 1_234_000.0,
    }  # fmt: skip


def test_a_name_is_whole_and_histograms_have_others() -> None:
    assert read_metrics(VLLM, {"a": "vllm:time_to_first_token_seconds", "b": "vllm:num_requests"}) == {}


def test_what_is_no_number_is_not_there() -> None:
    assert read_metrics(VLLM, {"a": "vllm:broken", "b": "vllm:endless"}) == {}


def test_a_quotient_of_two_is_a_share() -> None:
    used = {"kv_cache_usage": "sglang:kv_used_tokens/sglang:max_total_num_tokens"}
    told = 'sglang:kv_used_tokens{tp_rank="0"} 300\nsglang:max_total_num_tokens{tp_rank="0"} 1200\n'
    assert read_metrics(told, used) == {"kv_cache_usage": 0.25}
    assert read_metrics(told.replace("1200", "0"), used) == {}


TENSORRT = (
    '[{"iter": 7, "numActiveRequests": 2, "kvCacheStats": {"usedNumBlocks": 10, "maxNumBlocks": 100}},'
    ' {"iter": 8, "numActiveRequests": 5, "numQueuedRequests": 1,'
    ' "kvCacheStats": {"usedNumBlocks": 40, "maxNumBlocks": 100}}]'
)
ITERATIONS = {
    "requests_running": "numActiveRequests",
    "requests_waiting": "numQueuedRequests",
    "kv_cache_usage": "kvCacheStats.usedNumBlocks/kvCacheStats.maxNumBlocks",
}


def test_of_iterations_the_latest_counts() -> None:
    found = read_metrics(TENSORRT, ITERATIONS, "json_iterations")
    assert found == {"requests_running": 5.0, "requests_waiting": 1.0, "kv_cache_usage": 0.4}


@pytest.mark.parametrize("told", ["[]", "", "<html>", "null", '[{"kvCacheStats": 3}]', '{"numActiveRequests": "x"}'])
def test_no_iteration_tells_nothing(told: str) -> None:
    assert read_metrics(told, ITERATIONS, "json_iterations") == {}
