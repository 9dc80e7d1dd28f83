"""What keeps a workload from being measured at all."""

import json
from pathlib import Path

import pytest

from experiments.errors import InputError
from experiments.schema.workload import Workload
from tasks.artifacts.model_files import context_length
from tasks.warm_up import check_context

WORKLOAD = Workload(name="w", prompt_tokens=96, output_tokens=32)


@pytest.mark.parametrize(
    ("config", "room"),
    [
        ({"max_position_embeddings": 128}, 128),
        ({"text_config": {"max_position_embeddings": 127}}, 127),
        ({"max_position_embeddings": "many"}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_request_that_is_longer_than_the_models_context_is_not_measured(
    tmp_path: Path, config: object, room: int | None
) -> None:
    """Some engines answer it all the same, and what they say is noise."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(tmp_path) == room
    if room == 127:
        with pytest.raises(InputError, match="w needs 128 tokens of context, and the model is made for 127"):
            check_context(WORKLOAD, room)
    else:
        check_context(WORKLOAD, room)


def test_a_folder_without_a_config_has_no_length(tmp_path: Path) -> None:
    assert context_length(tmp_path) is None
