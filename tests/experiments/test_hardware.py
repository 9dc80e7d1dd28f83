"""The catalog of hardware and a person's prices."""

from pathlib import Path

import pytest

from experiments.errors import InputError
from experiments.schema.hardware import Hardware
from experiments.schema.prices import own_prices, read_prices
from experiments.schema.read import catalog


def test_every_entry_of_the_catalog_is_whole() -> None:
    for name, entry in catalog("hardware").items():
        hardware = Hardware.model_validate(entry)
        assert hardware.gpus == 0 or (hardware.memory_gib and hardware.bandwidth_gb_per_s and hardware.tflops), name
        assert hardware.usd_per_hour is None or hardware.usd_per_hour.low <= hardware.usd_per_hour.high, name


def test_peaks_are_the_dense_ones() -> None:
    """Data sheets print 1979 BF16 TFLOPS for an H100 with sparsity; FP8 is twice BF16 on Hopper and Ada."""
    for entry in catalog("hardware").values():
        tflops = Hardware.model_validate(entry).tflops
        assert "fp8" not in tflops or 1.9 <= tflops["fp8"] / tflops["bf16"] <= 2.1


def test_every_model_on_a_hub_has_its_shape() -> None:
    on_a_hub = {name for name, entry in catalog("models").items() if entry["source"]["kind"] == "hub"}
    assert on_a_hub == set(catalog("model_shapes"))


def test_prices_are_read_from_the_file_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("h100-sxm: 2.49\ncpu: 1\n")
    assert read_prices(file) == {"h100-sxm": 2.49, "cpu": 1.0}
    assert own_prices({"DYNO_PRICES": str(file)}) == {"h100-sxm": 2.49, "cpu": 1.0}
    assert own_prices({}) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h100: 2.49", "unknown hardware"),
        ("h100-sxm: free", "'free' is no price"),
        ("h100-sxm: -1", "-1 is no price"),
        ("h100-sxm: true", "True is no price"),
        ("h100-sxm: .inf", "inf is no price"),
        ("- 3", "is not a mapping"),
        ("a: [", "is no YAML"),
    ],
)
def test_prices_that_cannot_be_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        read_prices(tmp_path / "prices.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        read_prices(tmp_path / "none.yaml")
