"""What a variant's extra_args and env may not say: an experiment is data, and must neither run code, nor open a server
to others, nor measure another thing than its record tells."""

from collections.abc import Iterator
from itertools import zip_longest

from experiments.schema.variant import Variant

ADDRESS = "dyno says where the server listens: on loopback, at a port of its own"
MODEL = "dyno says which model is served: name it as `model`"
SECRET = "a secret has no place in an experiment"
CODE = "it runs code that the experiment names"
TRUST = "say `trust_remote_code: true`, which the plan and the report show"
FILE = "what a file says would not be on record: write the options themselves"
PICKLE = "such weights are unpickled, which runs code: take safetensors"
LOADER = "it changes which code programs run: set it where dyno is started, if you mean it"

_BY_REASON = {
    ADDRESS: """--host --hostname --server-name --port --server-port -p --uds --shard-uds-path --grpc --grpc-port
        --grpc-mode --smg-grpc-mode --smg-http-sidecar-port --dist-init-addr --master-addr --data-parallel-address""",
    MODEL: "--model --model-path --model-id --model-name --served-model-name",
    SECRET: "--api-key --api-keys --admin-api-key --ssl-keyfile-password",
    CODE: """--middleware --worker-cls --worker-extension-cls --scheduler-cls --io-processor-plugin --logits-processors
        --model-class-overrides --tool-parser-plugin --reasoning-parser-plugin --logging-config --custom-weight-loader
        --forward-hooks --enable-custom-logit-processor --custom-module-dirs --custom-tokenizer --model-cls-file""",
    TRUST: "--trust-remote-code",
    FILE: "--config --extra-llm-api-options",
}
_OPTIONS = {option: reason for reason, options in _BY_REASON.items() for option in options.split()}
_OTHERS = frozenset({"--reasoning-parser", "--ssl-keyfile"})
"""Options in their own right, though one of the above begins with them."""

_LOADING, _UNPICKLED = ("--load-format", "--speculative-draft-load-format"), ("pt", "npcache")
_SHORTEST = 5
"""Parsers take an option's beginning for the whole: from so many characters on, that is."""

_VARIABLES: dict[str, str] = {
    **dict.fromkeys(("PATH", "HOME", "ENV", "BASH_ENV", "SHELLOPTS", "IFS", "GCONV_PATH", "NODE_OPTIONS"), LOADER),
    **dict.fromkeys(("PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS"), LOADER),
    **dict.fromkeys(("HOSTNAME", "HOST", "PORT", "VLLM_HOST_IP"), ADDRESS),
    **dict.fromkeys(("TRUST_REMOTE_CODE", "HF_HUB_TRUST_REMOTE_CODE"), TRUST),
    **dict.fromkeys(("VLLM_API_KEY", "API_KEY"), SECRET),
    "VLLM_ALLOW_INSECURE_SERIALIZATION": CODE,
    "VLLM_PLUGINS": CODE,
}
_PREFIXES = ("LD_", "DYLD_", "PYTHON", "MALLOC_CONF")
_HARMLESS = frozenset({"PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONOPTIMIZE", "PYTHONMALLOC"})


def escapes(variant: Variant) -> dict[str, str | bool]:
    """Field → why what it says is refused; nothing where all of it is an engine's own matter."""
    found = {"extra_args": next(_of_arguments(variant.extra_args), ""), "env": next(_of_variables(variant), "")}
    return {name: reason for name, reason in found.items() if reason}


def _of_arguments(words: tuple[str, ...]) -> Iterator[str]:
    for word, value in zip_longest(words, words[1:], fillvalue=""):
        name, _, given = word.partition("=")
        if reason := _of_option(name):
            yield f"{name}: {reason}"
        if "module_path" in word:
            yield f"module_path: {CODE}"
        if _plain(name) in _LOADING and (given or value) in _UNPICKLED:
            yield f"{name} {given or value}: {PICKLE}"


def _of_option(name: str) -> str:
    plain = _plain(name)
    if not plain.startswith("-") or plain in _OTHERS:
        return ""
    if plain in _OPTIONS:
        return _OPTIONS[plain]
    short = plain.startswith("-p") and plain[2:].isdigit()
    longer = (option for option in _OPTIONS if len(plain) >= _SHORTEST and option.startswith(plain))
    return ADDRESS if short else _OPTIONS.get(next(longer, ""), "")


def _plain(name: str) -> str:
    """--trust_remote_code is --trust-remote-code; --config.key is --config."""
    return name.strip().lower().replace("_", "-").partition(".")[0]


def _of_variables(variant: Variant) -> Iterator[str]:
    for name in (item.name.upper() for item in variant.env):
        if name in _VARIABLES:
            yield f"{name}: {_VARIABLES[name]}"
        elif name.startswith(_PREFIXES) and name not in _HARMLESS:
            yield f"{name}: {LOADER}"
