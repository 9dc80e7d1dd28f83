"""Engine profiles: what a variant may name, and what of it reaches the server."""

import contextlib
from itertools import product

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import EngineAdapter, EngineProfile, UnsupportedVariant, profile_of
from experiments.schema.model import Model, SyntheticSource
from experiments.schema.variant import Quantization, Variant

MODEL = Model(name="m", source=SyntheticSource(kind="synthetic"))
TUNED = EngineProfile(
    name="throughput", author="its authors", reason="more at once", source="1.0, tuning page", flags=(("--a", "1"),)
)


def named(profile: str) -> Variant:
    return Variant(
        engine="llama_cpp",
        engine_version="1",
        model=MODEL,
        quantization=Quantization.F16,
        engine_profile=profile,
    )


def test_default_is_the_engine_as_it_comes() -> None:
    assert profile_of("an engine", (TUNED,), named("default")).arguments == ()


def test_a_profile_is_found_by_its_name() -> None:
    assert profile_of("an engine", (TUNED,), named("throughput")) is TUNED


def test_a_name_that_nobody_knows_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        UnsupportedVariant, match="an engine has no profile fast; its profiles: default, throughput"
    ) as e:
        profile_of("an engine", (TUNED,), named("fast"))
    assert e.value.field == "engine_profile"


SHIPPED = [
    (adapter, profile) for adapter in ADAPTERS.values() for profile in adapter.profiles if profile.stage == "launch"
]
"""Those of a build change what is loaded, and each is tested with its adapter."""


@pytest.mark.parametrize(("adapter", "profile"), SHIPPED, ids=[f"{a.name}-{p.name}" for a, p in SHIPPED])
def test_a_shipped_profiles_flags_are_given_before_what_the_variant_adds(
    adapter: EngineAdapter, profile: EngineProfile
) -> None:
    """On a GPU engine's own terms there: only what makes the variant acceptable at all is guessed."""
    plain = acceptable(adapter, profile)
    tuned = plain.model_copy(update={"engine_profile": profile.name, "extra_args": ("--mine",)})
    argv = adapter.launch_spec(tuned).argv
    assert argv[-1] == "--mine"
    build = adapter.build_spec(tuned)
    is_built_with = any(has_in_a_row(command, profile.arguments) for command in (build.commands if build else ()))
    assert is_built_with or profile.arguments == argv[-1 - len(profile.arguments) : -1]
    assert set(profile.env) <= set(adapter.launch_spec(tuned).env)
    told = adapter.launch_spec(tuned), build
    plain_too = plain.model_copy(update={"extra_args": ("--mine",)})
    assert told != (adapter.launch_spec(plain_too), adapter.build_spec(plain_too))


def has_in_a_row(argv: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether these words stand there, side by side."""
    return any(argv[at : at + len(words)] == words for at in range(len(argv)))


def acceptable(adapter: EngineAdapter, profile: EngineProfile) -> Variant:
    """A variant that this adapter launches, with and without the profile."""
    for runtime, hardware, version, backend in product(
        adapter.runtimes, ("cpu", "h100-sxm"), ("0.32.0", "1.2.1"), (None, "tensorrt", "pytorch")
    ):
        fields = {"engine": adapter.name, "engine_version": version, "runtime": runtime, "hardware": hardware}
        variant = Variant.model_validate({**fields, "model": MODEL, "quantization": "bf16", "engine_backend": backend})
        with contextlib.suppress(UnsupportedVariant):
            adapter.launch_spec(variant)
            adapter.launch_spec(variant.model_copy(update={"engine_profile": profile.name}))
            return variant
    raise AssertionError(f"nothing launches {adapter.name} with {profile.name}")


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=lambda adapter: adapter.name)
def test_no_engine_has_two_profiles_of_one_name_or_one_without_its_origin(adapter: EngineAdapter) -> None:
    names = ["default", *(profile.name for profile in adapter.profiles)]
    assert len(names) == len(set(names))
    for profile in adapter.profiles:
        assert profile.author
        assert profile.reason
        assert profile.source
        assert profile.arguments or profile.env
