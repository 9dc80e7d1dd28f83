"""What an experiment file may not make an engine do, whichever engine it is."""

import pytest

from engine_adapters import ADAPTERS
from engine_adapters.base import EngineAdapter, UnsupportedVariant
from experiments.schema.variant import EnvironmentVariable
from tasks.flags.table import read_table
from tests.engine_adapters.test_contract import BASES

LAUNCHED = [adapter for adapter in ADAPTERS.values() if adapter.name != "endpoint"]
FORBIDDEN = (
    ("--host", "0.0.0.0"),
    ("--host=0.0.0.0",),
    ("--server-name", "0.0.0.0"),
    ("-p", "80"),
    ("-p80",),
    ("--trust-remote-code",),
    ("--trust_remote_code",),
    ("--trust-remote",),
    ("--api-key", "sk-1"),
    ("--middleware", "os.system"),
    ("--worker-extension-cls=evil.Worker",),
    ("--kv-transfer-config", '{"kv_connector_module_path": "evil"}'),
    ("--config", "elsewhere.yaml"),
    ("--load-format", "pt"),
    ("--load_format=npcache",),
    ("--ok", "1", "--MIDDLEWARE", "x"),
)
VARIABLES = ("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "BASH_ENV", "HOSTNAME", "TRUST_REMOTE_CODE")


@pytest.mark.parametrize("words", FORBIDDEN, ids=" ".join)
@pytest.mark.parametrize("adapter", LAUNCHED, ids=lambda adapter: adapter.name)
def test_extra_args_neither_open_a_server_nor_run_code(adapter: EngineAdapter, words: tuple[str, ...]) -> None:
    with pytest.raises(UnsupportedVariant) as refused:
        adapter.launch_spec(BASES[adapter.name].model_copy(update={"extra_args": words}))
    assert refused.value.field == "extra_args"


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("adapter", LAUNCHED, ids=lambda adapter: adapter.name)
def test_variables_do_not_change_which_code_runs(adapter: EngineAdapter, name: str) -> None:
    with pytest.raises(UnsupportedVariant) as refused:
        adapter.launch_spec(
            BASES[adapter.name].model_copy(update={"env": (EnvironmentVariable(name=name, value="/x"),)})
        )
    assert refused.value.field == "env"


@pytest.mark.parametrize("adapter", LAUNCHED, ids=lambda adapter: adapter.name)
def test_words_of_a_shell_are_words(adapter: EngineAdapter) -> None:
    """Each stays one argument, after all of ours."""
    words = ("--x", "; touch /tmp/y", "$(id)", "`id`", "a b", "&& id", "| sh", "{other}")
    argv = adapter.launch_spec(BASES[adapter.name].model_copy(update={"extra_args": words})).argv
    at = argv.index("--x")
    assert argv[at : at + len(words)] == words


def test_an_engines_own_options_pass() -> None:
    """All of vLLM's but those that are named above: nothing is refused for looking like one."""
    options = set(read_table("vllm", "0.33.0").options)
    base, refused = BASES["vllm"], set()
    for option in options:
        try:
            ADAPTERS["vllm"].launch_spec(base.model_copy(update={"extra_args": (option,)}))
        except UnsupportedVariant:
            refused.add(option)
    assert refused == {
        *("--api-key", "--config", "--data-parallel-address", "--grpc", "--grpc-port", "--host", "--port", "--uds"),
        *("--io-processor-plugin", "--logging-config", "--logits-processors", "--master-addr", "--middleware"),
        *("--model-class-overrides", "--reasoning-parser-plugin", "--scheduler-cls", "--served-model-name"),
        *("--tool-parser-plugin", "--trust-remote-code", "--worker-cls", "--worker-extension-cls"),
    } | ({"--model"} & options)
