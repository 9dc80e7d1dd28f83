"""What a person writes: every problem is named at once, with its place and what was meant."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.errors import EXIT_INPUT, InputError
from experiments.schema.read import catalog, read_experiment

GOOD = """
variants:
  - engine: llama_cpp
    engine_version: "1.2.3"
    model: tiny-llama-8m
    quantization: [f16, q8_0]
workloads: [in128-out16]
"""


def problems_of(tmp_path: Path, text: str) -> list[str]:
    """`where: what` of each problem that reading this text raises."""
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        read_experiment(file, ADAPTERS)
    assert raised.value.exit_code == EXIT_INPUT
    assert all(problem.file == str(file) for problem in raised.value.problems)
    return [f"{problem.where}: {problem.what}" for problem in raised.value.problems]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BROKEN = {
    "unknown key of a variant": (
        changed("quantization:", "quantisation:"),
        ["variants[0].quantisation: unknown key. Did you mean quantization?", "variants[0].quantization: is missing"],
    ),
    "unknown top-level key": (GOOD + "lod_plan: {}\n", ["lod_plan: unknown key. Did you mean load_plan?"]),
    "unknown key deep inside": (
        GOOD + "load_plan: {open_loop: {arrivals: {kind: gamma, shap: 2}}}\n",
        [
            "load_plan.open_loop.arrivals.shap: unknown key. Did you mean shape?",
            "load_plan.open_loop.arrivals.shape: is missing",
        ],
    ),
    "unknown engine": (
        changed("llama_cpp", "lama_cpp"),
        ["variants[0].engine: unknown engine 'lama_cpp'. Did you mean llama_cpp?"],
    ),
    "unknown model": (
        changed("tiny-llama-8m", "tiny-lama-8m"),
        ["variants[0].model: unknown model 'tiny-lama-8m'. Did you mean tiny-llama-8m?"],
    ),
    "unknown workload": (
        changed("in128-out16", "in128-out17"),
        ["workloads[0]: unknown workload 'in128-out17'. Did you mean in128-out16?"],
    ),
    "unknown quantization in an axis": (
        changed("[f16, q8_0]", "[f16, q80]"),
        ["variants[0].quantization: 'q80' is not one of"],
    ),
    "an empty axis": (
        changed("[f16, q8_0]", "[]"),
        ["variants[0]: quantization is an empty list; an axis has at least one value"],
    ),
    "an axis with one value twice": (
        changed("[f16, q8_0]", "[f16, q8_0, f16]"),
        ["variants[0]: quantization names f16 twice; an axis has each value once: leave one out"],
    ),
    "a version that YAML reads as a number": (
        changed('"1.2.3"', "1.2"),
        ["variants[0].engine_version: 1.2 is a number in YAML; write it in quotes"],
    ),
    "a wrong type": (
        GOOD + "load_plan: {requests_per_point: many}\n",
        ["load_plan.requests_per_point: should be a valid integer"],
    ),
    "an SLO that is none": (
        GOOD + "slos: [ttfb:p95<3s]\n",
        ["slos[0]: 'ttfb' is no latency; give one of ttft, ttft_response, tpot, itl, e2e, e2e_response"],
    ),
    "an SLO of another form": (GOOD + "slos: [fast]\n", ["slos[0]: 'fast' is not of the form METRIC:pNN<NUMBER"]),
    "a minimum above its maximum": (
        GOOD + "load_plan: {min_seconds: 9, max_seconds: 1}\n",
        ["load_plan: min_seconds is above max_seconds"],
    ),
    "an unknown kind of source": (
        GOOD + "models: [{name: a, source: {kind: hug}}]\n",
        ["models[0].source.kind: unknown kind 'hug'. Did you mean hub?"],
    ),
    "dimensions that K-quants cannot have": (
        GOOD + "models: [{name: a, source: {kind: synthetic, hidden_size: 200}}]\n",
        ["models[0].source: hidden_size must be a multiple of 256, the block of llama.cpp's K-quants"],
    ),
    "a name that stands twice": (
        GOOD.replace("[in128-out16]", "[in128-out16, in128-out16]"),
        ["workloads[1].name: 'in128-out16' stands twice; each name is used once"],
    ),
    "a key that stands twice": (
        GOOD + "workloads: []\n",
        ["line 8, column 1: not YAML: the key 'workloads' stands twice"],
    ),
    "a text that is no YAML": (GOOD + "x: [1\n", ["line 9, column 1: not YAML:"]),
    "a list instead of a mapping": ("- a\n", [": an experiment is a mapping of variants, workloads, …"]),
    "nothing at all": ("", [": an experiment is a mapping of variants, workloads, …"]),
    "aliases of aliases, some gigabytes when written out": (
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{name}: &{name} [{', '.join([f'*{last}'] * 8)}]\n" for last, name in pairwise("abcdefghi")),
        [": holds more than 100,000 values once its aliases are written out"],
    ),
    "a list that holds itself": ("variants: &v [*v]\n", [": holds more than 100,000 values"]),
    "nesting without end": ("[" * 5000, [": is nested too deeply to be an experiment"]),
    "no variants": ("workloads: [in128-out16]\n", ["variants: is missing"]),
    "variants that are no list": (changed("variants:\n  -", "variants:\n   "), ["variants: should be a list"]),
    "its own name": (GOOD + "name: x\n", ["name: unknown key: an experiment bears the name of its file"]),
    "an exclusion that says nothing": (
        GOOD + "exclude: [{reason: x}]\n",
        ["exclude[0]: an exclusion names at least one of"],
    ),
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_a_broken_file_names_place_and_problem(case: str, tmp_path: Path) -> None:
    text, expected = BROKEN[case]
    found = problems_of(tmp_path, text)
    assert len(found) == len(expected), found
    for problem, beginning in zip(sorted(found), sorted(expected), strict=True):
        assert problem.startswith(beginning)


def test_all_problems_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("llama_cpp", "x").replace("tiny-llama-8m", "y").replace("in128-out16", "z") + "slos: [bad]\n"
    places = {problem.split(":")[0] for problem in problems_of(tmp_path, text)}
    assert places == {"variants[0].engine", "variants[0].model", "workloads[0]", "slos[0]"}


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = GOOD.replace("quantization:", "api_key_env: my-own-key\n    quantization:")
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("variants[0].api_key_env: should be the name of an environment variable")
    assert "my-own-key" not in problem


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(GOOD)
    with pytest.raises(InputError, match=r"no such file. Did you mean .*quickstart.yaml\?"):
        read_experiment(tmp_path / "quikstart.yaml", ADAPTERS)


def test_a_folder_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_experiment(tmp_path, ADAPTERS)
    (tmp_path / "latin.yaml").write_bytes(b"description: caf\xe9\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_experiment(tmp_path / "latin.yaml", ADAPTERS)


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "x: !!python/object/apply:os.getcwd []\n")[0].startswith("line 1, column 4: not YAML")


def test_a_file_that_is_right_is_read_and_its_axes_expand(tmp_path: Path) -> None:
    file = tmp_path / "right.yaml"
    file.write_text(GOOD)
    experiment = read_experiment(file, ADAPTERS)
    assert experiment.name == "right"
    assert [cell.variant.quantization for cell in experiment.cells()] == ["f16", "q8_0"]


def test_a_line_may_take_over_what_another_says(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text(
        GOOD.replace("  - engine", "  - &first\n    engine").replace(
            "workloads", "  - {<<: *first, quantization: bf16}\nworkloads"
        )
    )
    cells = read_experiment(file, ADAPTERS).cells()
    assert [(cell.variant.engine_version, cell.variant.quantization) for cell in cells] == [
        ("1.2.3", "f16"),
        ("1.2.3", "q8_0"),
        ("1.2.3", "bf16"),
    ]


def test_a_model_of_the_file_goes_before_one_of_the_catalog(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(GOOD + "models: [{name: tiny-llama-8m, source: {kind: synthetic, seed: 7}}]\n")
    source = read_experiment(file, ADAPTERS).cells()[0].variant.model.source
    assert source.kind == "synthetic"
    assert source.seed == 7


def test_every_experiment_that_ships_is_valid() -> None:
    files = sorted(Path("experiments").glob("*.yaml"))
    assert files
    for file in files:
        assert read_experiment(file, ADAPTERS).cells()


@pytest.mark.parametrize("kind", ["models", "workloads", "hardware"])
def test_names_of_the_catalog_are_unique(kind: str) -> None:
    text = (Path("experiments/catalog") / f"{kind}.yaml").read_text()
    assert len(re.findall(r"^- \{?name: ", text, re.M)) == len(catalog(kind))
