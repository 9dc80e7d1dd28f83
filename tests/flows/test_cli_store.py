"""`dyno store`: what it lists, what it finds damaged, what it lets go, and what a pin holds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from experiments.errors import EXIT_SETUP, InputError
from flows.cli import app
from flows.cli_store import age_s, size_bytes

MODEL = {"kind": "synthetic", "vocab_size": 2048, "hidden_size": 256, "intermediate_size": 512, "layers": 2}
EXPERIMENT = f"""
models:
- {{name: tiny, source: {json.dumps(MODEL)}}}
workloads: [in128-out16]
variants:
- {{engine: llama_cpp, engine_version: "2026.10.11549", model: tiny, quantization: q8_0}}
"""
FILL = """
import json, sys
from pathlib import Path
from experiments.schema.model import SyntheticSource
from tasks.artifacts.store import ArtifactStore
home = Path(sys.argv[1])
store = ArtifactStore(home / "artifacts")
def make(folder):
    (folder / "model.bin").write_bytes(b"x" * 1000)
    return {}
def fill(source):
    weights = store.get_or_make("synthetic", {"source": source.model_dump(mode="json"), "recipe_version": 1}, make)
    for recipe in ("Q8_0", "Q4_K_M"):
        store.get_or_make("gguf", {"model": weights.key, "format": "gguf", "recipe": recipe}, make)
source = SyntheticSource(**json.loads(sys.argv[2]))
fill(source)
fill(source.model_copy(update={"seed": 7}))
for name, requirement in (("xllamacpp-1", "xllamacpp==2026.10.11549"), ("xllamacpp-2", "xllamacpp==1.0")):
    folder = home / "environments" / name
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"requirements": [requirement], "packages": []}))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, two checkpoints of each, two environments; made by a process that has ended."""
    monkeypatch.setenv("DYNO_HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    subprocess.run([sys.executable, "-c", FILL, str(tmp_path), json.dumps(MODEL)], check=True)
    return tmp_path


def dyno(*args: str) -> Result:
    return CliRunner().invoke(app, ["store", *args])


def body_of(*args: str, exit_code: int = 0) -> dict[str, Any]:
    done = dyno(*args, "--json")
    assert done.exit_code == exit_code, done.output
    body: dict[str, Any] = json.loads(done.stdout)
    return body


def listed() -> list[tuple[str, str, str]]:
    return [(row["kind"], row["recipe"], row["what"]) for row in body_of("ls")["artifacts"]]


def damage_one(home: Path) -> Path:
    folder = sorted((home / "artifacts" / "gguf").glob("*"))[0]
    (folder / "content" / "model.bin").write_bytes(b"y" * 1000)
    return folder


def test_ls_says_what_everything_is(home: Path) -> None:
    rows = body_of("ls")["artifacts"]
    assert sorted(row["kind"] for row in rows) == ["environment"] * 2 + ["gguf"] * 4 + ["synthetic"] * 2
    fields = {"key", "kind", "what", "model", "recipe", "bytes", "made_at", "last_used", "pins", "in_use", "path"}
    assert all(set(row) == fields for row in rows)
    assert {row["bytes"] for row in rows if row["kind"] != "environment"} == {1000}
    assert not any(row["in_use"] or row["pins"] for row in rows)
    assert all(Path(row["path"]).is_dir() for row in rows)


def test_du_adds_up(home: Path) -> None:
    body = body_of("du")
    assert body["kinds"]["gguf"] == {"artifacts": 4, "bytes": 4000}
    assert body["kinds"]["synthetic"] == {"artifacts": 2, "bytes": 2000}
    assert body["total_bytes"] == 6000 + body["kinds"]["environment"]["bytes"]
    assert 0 < body["file_system"]["free_bytes"] <= body["file_system"]["total_bytes"]


def test_verify_names_what_is_damaged_and_repair_has_it_made_anew(home: Path) -> None:
    assert body_of("verify") == {"checked": 6, "damaged": []}
    folder = damage_one(home)
    (found,) = body_of("verify", exit_code=EXIT_SETUP)["damaged"]
    assert (found["kind"], found["key"], found["removed"]) == ("gguf", folder.name, False)
    assert found["damage"].startswith("model.bin has other content")
    (found,) = body_of("verify", "--repair")["damaged"]
    assert found["removed"]
    assert not folder.exists()
    assert body_of("verify") == {"checked": 5, "damaged": []}


def test_a_pin_holds_the_weights_the_recipe_and_the_environment_of_its_experiment(home: Path) -> None:
    assert body_of("pin", str(home / "mine.yaml"))["artifacts"] == 3
    (pin,) = body_of("pins")["pins"]
    assert (pin["experiment"], sorted(text.split()[0] for text in pin["artifacts"])) == (
        "mine",
        ["environment", "gguf", "synthetic"],
    )
    done = body_of("gc", "--keep-bytes", "0")
    assert sorted(row["reason"] for row in done["kept"]) == ["pinned by mine"] * 3
    assert not done["fits"]
    assert sorted(listed())[:2] == [("environment", "", "xllamacpp==2026.10.11549"), ("gguf", "Q8_0", "gguf Q8_0")]
    assert len(listed()) == 3


def test_what_is_made_after_the_pin_is_held_too(home: Path) -> None:
    body_of("gc", "--keep-bytes", "0")
    assert listed() == []
    assert body_of("pin", str(home / "mine.yaml"))["artifacts"] == 0
    (home / "environments").rename(home / "elsewhere")
    subprocess.run([sys.executable, "-c", FILL, str(home), json.dumps(MODEL)], check=True)
    body_of("gc", "--keep-bytes", "0")
    assert len(listed()) == 3


def test_unpin_lets_go(home: Path) -> None:
    body_of("pin", str(home / "mine.yaml"))
    body_of("unpin", "mine.yaml")
    assert body_of("pins") == {"pins": []}
    body_of("gc", "--keep-bytes", "0B")
    assert listed() == []
    assert isinstance(dyno("unpin", "mine").exception, InputError)


def test_a_pin_that_cannot_be_read_stops_gc(home: Path) -> None:
    """To skip it would remove what it holds."""
    body_of("pin", str(home / "mine.yaml"))
    (home / "pins" / "mine.json").write_text("{")
    assert "cannot be understood" in str(dyno("gc", "--keep-bytes", "0").exception)
    assert (home / "artifacts" / "synthetic").is_dir()
    assert len(list((home / "artifacts" / "gguf").iterdir())) == 4


def test_a_dry_run_takes_nothing(home: Path) -> None:
    done = body_of("gc", "--keep-bytes", "2kB", "--dry-run")
    assert (done["dry_run"], done["left_bytes"] <= 2000, done["fits"]) == (True, True, True)
    assert len(listed()) == 8


def test_nothing_is_old_yet(home: Path) -> None:
    assert body_of("gc", "--older-than", "30d")["removed"] == []
    assert len(listed()) == 8


def test_people_read_tables_and_sentences(home: Path) -> None:
    damage_one(home)
    assert "random Llama: 2 layers of 256" in dyno("ls").stdout
    assert "free" in dyno("du").stdout
    assert "--repair removes what is damaged" in dyno("verify").stdout
    assert "would be freed" in dyno("gc", "--keep-bytes", "0", "--dry-run").stdout
    assert "3 artifacts that are there are held" in dyno("pin", str(home / "mine.yaml")).stdout
    assert "mine: 3 artifacts" in dyno("pins").stdout


def test_ages_and_sizes_are_read_as_people_write_them() -> None:
    assert [age_s(text) for text in ("90s", "45m", "12h", "30d", "2w")] == [90, 2700, 43200, 2592000, 1209600]
    sizes = [size_bytes(text) for text in ("1000", "200GB", "1.5TiB", "4 kB", "2MiB", "0B")]
    assert sizes == [1000, 200 * 10**9, 3 * 2**39, 4000, 2097152, 0]
    for wrong in ("30", "d", "-3d", "3 years"):
        with pytest.raises(InputError, match="30d"):
            age_s(wrong)
    for wrong in ("much", "3XB", "-1"):
        with pytest.raises(InputError, match="200GB"):
            size_bytes(wrong)
