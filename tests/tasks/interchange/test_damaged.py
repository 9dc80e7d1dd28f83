"""A damaged file is refused with its name, or read: never a traceback."""

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.errors import InputError
from tasks.import_trial import import_file

CAPTURED = Path(__file__).parent / "captured"
FILES = {
    "vllm": json.loads((CAPTURED / "vllm-0.32-schema-by-hand.json").read_text()),
    "guidellm": json.loads(gzip.decompress((CAPTURED / "guidellm-0.8.1-poisson.json.gz").read_bytes())),
}
IGNORED = {"metrics", "spec", "warnings", "scheduler_state", "generation_delay"}
ODD: list[Any] = [
    None,
    True,
    "",
    "x",
    -1,
    0,
    1e300,
    10**400,
    -(10**30),
    float("nan"),
    float("inf"),
    [],
    {},
    [None],
    [[]],
    0.5,
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in the document that a reader may look at."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key not in IGNORED:
            yield from places(inner, (*path, key))


def damaged(document: dict[str, Any], path: tuple[Any, ...], odd: Any) -> dict[str, Any]:
    result = copy.deepcopy(document)
    inner: Any = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = odd
    return result


@pytest.mark.parametrize("tool", FILES)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_odd_value_is_read_or_refused(tmp_path: Path, tool: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(places(FILES[tool]), key=str)))
    file = tmp_path / "file.json"
    file.write_text(json.dumps(damaged(FILES[tool], path, data.draw(st.sampled_from(ODD)))))
    refusal, results = "", []
    try:
        results = import_file(file, (), None)
    except InputError as error:
        refusal = str(error)
    assert results or str(file) in refusal
    for result in results:
        assert sum(result.summary.outcomes.values()) == result.summary.requests > 0
