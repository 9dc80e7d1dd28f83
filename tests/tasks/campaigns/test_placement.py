"""Where variants are offered first."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant
from tasks.campaigns.placement import placed, weights_id


def test_variants_of_the_same_weights_go_to_the_host_that_has_them() -> None:
    variants = {"a-f16": "a", "b-f16": "b", "b-q4": "b", "a-q4": "a"}
    found = placed(variants, {"h2": {"a"}}, ["h1", "h2"])
    assert found == {"a-f16": "h2", "a-q4": "h2", "b-f16": "h1", "b-q4": "h1"}


def test_no_host_is_given_more_than_its_share_and_the_rest_is_for_any() -> None:
    found = placed(dict.fromkeys("abcde", "w"), {"h1": {"w"}}, ["h1", "h2"])
    assert Counter(found.values()) == {"h1": 3, "": 2}


def test_without_hosts_that_are_known_every_variant_is_for_any() -> None:
    assert placed({"a": "w", "b": "w"}, {}, []) == {"a": "", "b": ""}


def test_what_a_host_has_that_is_away_counts_for_nothing() -> None:
    assert placed({"a": "w"}, {"away": {"w"}}, ["h1"]) == {"a": "h1"}


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.sampled_from("wxyz")),
    st.lists(st.sampled_from(["h1", "h2", "h3"]), unique=True),
)
def test_every_variant_is_placed_once_and_no_host_is_overloaded(variants: dict[str, str], hosts: list[str]) -> None:
    found = placed(variants, {"h1": {"w"}, "h3": {"w", "x"}}, hosts)
    assert found.keys() == variants.keys()
    for host in hosts:
        assert sum(value == host for value in found.values()) <= -(-len(variants) // len(hosts))


def test_how_weights_are_quantized_makes_no_other_weights(variant: Variant) -> None:
    other = variant.model_copy(update={"quantization": Quantization.F16, "max_num_seqs": 8})
    assert weights_id(other) == weights_id(variant)
    model = Model(name="tiny", source=SyntheticSource(kind="synthetic", layers=3))
    assert weights_id(variant.model_copy(update={"model": model})) != weights_id(variant)
