"""The code itself: no shell, nothing unpickled, nothing kept as a pickle, no listener beyond loopback."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file for package in ("flows", "tasks", "engine_adapters", "experiments") for file in (ROOT / package).rglob("*.py")
)
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
INTERPRETERS = {"eval", "exec", "compile", "__import__"}
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle", "hickle"}
UNSAFE_YAML = {"yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Each call of a file, by its dotted name."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def said(call: ast.Call, name: str) -> object:
    """The constant that a call gives for a keyword; None where it gives none."""
    for one in call.keywords:
        if one.arg == name:
            return one.value.value if isinstance(one.value, ast.Constant) else "something"
    return None


def offences(file: Path) -> list[str]:
    found = []
    for name, call in calls(file):
        last = name.rpartition(".")[2]
        if name in SHELLS | INTERPRETERS | UNSAFE_YAML or said(call, "shell"):
            found.append(name)
        if name == "yaml.load" and "Safe" not in ast.unparse(call):
            found.append(name)
        if name == "torch.load" and said(call, "weights_only") is not True:
            found.append(name)
        if said(call, "allow_pickle") or (last == "from_pretrained" and said(call, "trust_remote_code") is not False):
            found.append(name)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [name for name in names if name.partition(".")[0] in UNPICKLERS]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_starts_no_shell_interprets_no_text_and_unpickles_nothing(file: Path) -> None:
    assert offences(file) == []


def test_the_test_above_sees_each_offence(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    for text in (
        "subprocess.run('x', shell=True)",
        "os.system('x')",
        "eval('x')",
        "yaml.load(x)",
        "yaml.load(x, Loader=yaml.Loader)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "AutoModel.from_pretrained(x)",
        "import pickle",
        "from joblib import load",
    ):
        bad.write_text(text)
        assert offences(bad), text
    bad.write_text("torch.load(x, weights_only=True); yaml.load(x, Loader=yaml.CSafeLoader); subprocess.run(['x'])")
    assert offences(bad) == []


def decorators(kind: str) -> Iterator[tuple[str, ast.expr]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                for one in node.decorator_list:
                    if ast.unparse(one.func if isinstance(one, ast.Call) else one) == kind:
                        yield f"{file.relative_to(ROOT)}: {node.name}", one


def test_prefect_keeps_no_result_of_a_flow_or_a_task() -> None:
    """It would pickle them. A task that is cached, or a flow that persists, would keep its result."""
    flows, tasks = list(decorators("flow")), list(decorators("task"))
    assert len(flows) >= 2
    assert len(tasks) >= 10
    for name, one in flows:
        assert isinstance(one, ast.Call), name
        assert said(one, "persist_result") is False, name
    for name, one in tasks:
        text = ast.unparse(one)
        assert "cache_policy=NO_CACHE" in text, name
        assert "persist_result=True" not in text, name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_of_ours_listens_to_all_interfaces(file: Path) -> None:
    texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    assert not [text for text in texts if text in ("0.0.0.0", "::", "[::]")]
