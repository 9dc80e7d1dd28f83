"""What the README says is so: its commands exist, its experiment is valid, the files that it names are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine_adapters import ADAPTERS
from experiments.schema.read import read_experiment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DYNO = str(Path(sys.executable).with_name("dyno"))
QUICK = ("validate", "plan", "load", "command", "doctor")


def dyno(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([DYNO, *args], cwd=ROOT, capture_output=True, text=True, check=False)


def commands() -> set[str]:
    """As `dyno --help` lists them."""
    listed = dyno("--help").stdout.partition("Commands:")[2]
    return set(re.findall(r"^  (\w+)", listed, re.M))


def test_every_command_is_in_the_readme_and_every_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"`dyno (\w+)", README))
    assert named == commands()


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_has_help(command: str) -> None:
    done = dyno(command, "--help")
    assert done.returncode == 0
    assert "Usage: dyno" in done.stdout


def test_the_options_that_the_readme_shows_exist() -> None:
    """Command by command; an example of `dyno load` goes on over several lines."""
    for command, text in re.findall(r"dyno (\w+)((?:[^\n`]|\\\n)*)", README):
        shown = set(re.findall(r"--[a-z][a-z-]+", text))
        assert not shown or shown <= set(re.findall(r"--[a-z][a-z-]+", dyno(command, "--help").stdout)), command


def test_the_experiment_in_the_readme_is_valid(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    (tmp_path / "readme.yaml").write_text(text)
    experiment = read_experiment(tmp_path / "readme.yaml", ADAPTERS)
    assert [bool(cell.excluded) for cell in experiment.cells()] == [False, True, False, False]


def test_the_folders_and_files_that_the_readme_names_are_there() -> None:
    for name in re.findall(r"`((?:experiments|engine_adapters|tasks|flows)/[\w/.]*)`", README):
        assert (ROOT / name).exists(), name


def test_the_readme_fits_its_bound_and_each_folder_has_its_own() -> None:
    assert len(README.splitlines()) <= 150
    folders = [ROOT / name for name in ("experiments", "engine_adapters", "tasks", "flows", "docker")]
    folders += [path for path in (ROOT / "tasks").iterdir() if (path / "__init__.py").exists()]
    for folder in folders:
        assert (folder / "README.md").exists(), folder


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_import_neither_prefect_nor_mlflow(command: str) -> None:
    program = (
        "import sys; sys.argv = ['dyno', *sys.argv[1:]]\n"
        "from flows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'prefect', 'mlflow'} & set(sys.modules), 'slow imports'\n"
    )
    arguments = {
        "validate": ["experiments/quickstart.yaml"],
        "plan": ["experiments/quickstart.yaml"],
        "command": ["zz"],
    }
    call = [sys.executable, "-c", program, command, *arguments.get(command, ["--help"])]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_registry_host_and_no_path_of_a_machine_is_in_the_tree() -> None:
    hosts = "|".join(("py" + r"pi\.org", "python" + "hosted", r"registry\.np" + r"mjs"))
    found = subprocess.run(
        ["git", "grep", "-n", "-I", "-i", "-E", hosts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
