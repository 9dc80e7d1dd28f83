"""A LaunchSpec becomes a running server: started under a guard, ready when it has generated a token, always ended."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from engine_adapters.base import LaunchSpec, RequestDialect
from experiments.errors import DynoError, LaunchError, ServerDied
from experiments.redaction import REDACTED
from experiments.schema.failure import FailureClass
from tasks.serving.guarded import GuardedProcess, guarded_process
from tasks.serving.lease import Container

LAUNCHERS = Path(__file__).parents[2] / "engine_adapters" / "launchers"
HOST = "127.0.0.1"
WRONG = "a request for one token is answered with"
HIDDEN = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH")
OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
KEPT_OUT = ("PYTHON", "VIRTUAL_ENV", "PREFECT", "MLFLOW", "DYNO", "PIP_")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. `timings_s`: seconds from the start until it listened, was healthy, gave a token.

    `process` is None where it was there before, and stays. `version` is what it says of itself, "" where it does not.
    `gpus` are the UUIDs of those that it was given, `api_key_env` the variable with the key that it asks for, or "".
    """

    url: str
    model: str
    argv: tuple[str, ...]
    process: GuardedProcess | None
    timings_s: Mapping[str, float] = field(default_factory=dict)
    version: str = ""
    gpus: tuple[str, ...] = ()
    api_key_env: str = ""

    def has_ended(self) -> bool:
        """Whether its process is gone, or nobody answers where it was attached to."""
        return not _is_there(self.url) if self.process is None else self.process.exit_status() is not None

    def check_alive(self) -> None:
        """Raises ServerDied, with its last words, where it has ended."""
        if not self.has_ended():
            return
        if self.process is None:
            raise ServerDied(
                "the server takes no connection any more while it was measured", failure_class=FailureClass.NETWORK
            )
        raise _ended(ServerDied, self.process, "while it was measured")

    def explain(self, error: DynoError) -> DynoError:
        """ServerDied, raised from this error, where the server has ended; else the error itself."""
        try:
            self.check_alive()
        except ServerDied as died:
            if not isinstance(error, ServerDied):
                died.__cause__ = error
                return died
        return error

    def log_tail(self) -> str:
        """The server's last lines."""
        return "" if self.process is None else self.process.log_tail()


def fill(
    spec: LaunchSpec,
    *,
    python: str | Path,
    model: str | Path,
    port: int,
    launchers: str | Path = LAUNCHERS,
    files: str | Path = "files",
) -> tuple[str, ...]:
    """The argument list with its placeholders filled: arguments that are a placeholder as a whole, and paths within
    the folders that a placeholder stands for. Nothing else changes."""
    values = {"{python}": str(python), "{model}": str(model), "{host}": HOST, "{port}": str(port)}
    folders = {"{launchers}/": launchers, "{files}/": files, "{model}/": model}
    return tuple(_filled(word, values, folders) for word in spec.argv)


def _filled(word: str, values: Mapping[str, str], folders: Mapping[str, str | Path]) -> str:
    for beginning, folder in folders.items():
        if word.startswith(beginning):
            return f"{folder}/{word.removeprefix(beginning)}"
    return values.get(word, word)


def files_beside(log: Path) -> Path:
    """Where the files of the launch with that log lie."""
    return log.with_name(f"{log.stem}-files")


def write_files(spec: LaunchSpec, log: Path) -> Path:
    """The spec's texts, in a folder beside the log; whoever runs a container may read them. Returns the folder."""
    folder = files_beside(log)
    if spec.files:
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in spec.files:
        aside = folder / f"{name}.partial"
        aside.write_text(text, encoding="utf-8")
        aside.chmod(0o644)
        aside.rename(folder / name)
    return folder


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def inherited_environment() -> dict[str, str]:
    """Ours without secrets and without our own tools' settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(KEPT_OUT) and not any(word in name.upper() for word in HIDDEN)
    }


def server_environment(spec: LaunchSpec, gpus: Sequence[str] = ()) -> dict[str, str]:
    """What the server's process gets: what is inherited, then what it is allowed to see, then the spec's."""
    # By index in the order of the bus, as NVML counts: some engines read numbers only, and CUDA's own order is another.
    seen = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    return inherited_environment() | seen | OFFLINE | spec_environment(spec)


def programs_first(python: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment, in which a program without a path is found beside its Python first."""
    return {**environment, "PATH": os.pathsep.join(filter(None, (str(python.parent), environment.get("PATH", ""))))}


def spec_environment(spec: LaunchSpec) -> dict[str, str]:
    """The spec's own variables, with their placeholder filled."""
    spare_cores = str(max(1, (os.cpu_count() or 2) - 1))
    return {name: spare_cores if value == "{spare_cores}" else value for name, value in spec.env}


@contextlib.contextmanager
def running_server(
    spec: LaunchSpec,
    dialect: RequestDialect,
    *,
    python: Path,
    model: Path,
    log: Path,
    leases: Path,
    what: str,
    say: Callable[[str], None],
    gpus: Sequence[str] = (),
) -> Iterator[Server]:
    """The server of an environment runs inside the block, ready; after it nothing of it is left, however the block
    ended. `gpus` are those that it sees.

    Raises LaunchError with the last lines of its log where it does not become ready within the spec's time.
    """
    port = free_port()
    command = Command(
        argv=fill(spec, python=python, model=model, port=port, files=write_files(spec, log)),
        env=programs_first(python, server_environment(spec, gpus)),
        served_model=str(model) if spec.served_model == "{model}" else spec.served_model,
    )
    with serving(command, spec, dialect, port=port, log=log, leases=leases, what=what, say=say) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Command:
    """What is started, with which environment, under which name it serves its model. `container`, where it is the
    client of one; `on_record` is then what a person may start again, without the name and the owner of this launch."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    served_model: str
    container: Container | None = None
    on_record: tuple[str, ...] = ()


@contextlib.contextmanager
def serving(
    command: Command,
    spec: LaunchSpec,
    dialect: RequestDialect,
    *,
    port: int,
    log: Path,
    leases: Path,
    what: str,
    say: Callable[[str], None],
) -> Iterator[Server]:
    """Starts the command under a guard, and waits until it has generated a token."""
    started = time.monotonic()
    with guarded_process(
        command.argv, env=command.env, log=log, leases=leases, what=what, container=command.container
    ) as process:
        server = Server(f"http://{HOST}:{port}", command.served_model, command.on_record or command.argv, process)
        with _client(server.url) as client:
            timings = _wait_until_ready(client, server, spec, dialect, started, say)
            version = _told_version(client, spec)
        yield replace(server, timings_s=timings, version=version)


def attached_server(
    spec: LaunchSpec, dialect: RequestDialect, *, log: Path, say: Callable[[str], None], api_key_env: str = ""
) -> Server:
    """The server at the spec's URL, which has generated a token. `log` is to say what there was to attach to: what it
    prints itself stays where it runs. Raises LaunchError where nobody answers there, no one model is meant, or the
    variable `api_key_env` holds no key."""
    started = time.monotonic()
    headers = _authorization(api_key_env)
    log.write_text(f"attached to {spec.url}\n", encoding="utf-8")
    if not _is_there(spec.url):
        raise LaunchError(
            f"{spec.url}: takes no connection. Is the server up, and this its address?",
            failure_class=FailureClass.NETWORK,
        )
    with _client(spec.url, headers) as client:
        served_model = spec.served_model or _only_model(client, spec.url)
        server = Server(spec.url, served_model, (), None, api_key_env=api_key_env)
        timings = _wait_until_ready(client, server, spec, dialect, started, say)
        return replace(server, timings_s=timings, version=_told_version(client, spec))


def _client(url: str, headers: Mapping[str, str] | None = None) -> httpx.Client:
    return httpx.Client(base_url=url, headers=headers, timeout=5.0, trust_env=False)


def _authorization(api_key_env: str) -> dict[str, str]:
    if not api_key_env:
        return {}
    key = os.environ.get(api_key_env, "").strip()
    if not key or not (key.isascii() and key.isprintable()):
        raise LaunchError(f"{api_key_env}: this environment variable is to hold the server's API key, and holds none")
    return {"Authorization": f"Bearer {key}"}


def _is_there(url: str) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=5.0):
            return True
    except OSError:
        return False


def _only_model(client: httpx.Client, url: str) -> str:
    try:
        listed = _allowed(client.get("/v1/models", timeout=10.0)).json()["data"]
        names = [str(entry["id"]) for entry in listed]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"{url}/v1/models does not list its models ({type(error).__name__})") from error
    if len(names) != 1:
        raise LaunchError(
            f"{url} lists {len(names)} models ({', '.join(names[:5])}): write the one that is meant as a model of "
            "kind hub, whose repo is its name there"
        )
    return names[0]


def _allowed(answer: httpx.Response) -> httpx.Response:
    """Raises LaunchError where the server wants a key, or another one: waiting would not mend that."""
    if answer.status_code in (401, 403):
        raise LaunchError(
            f"{answer.request.url.path} answers http {answer.status_code}: the server asks for another API key; "
            "`api_key_env` of an engine `endpoint` names the environment variable that holds it",
            failure_class=FailureClass.BAD_FLAG,
        )
    return answer


def _told_version(client: httpx.Client, spec: LaunchSpec) -> str:
    if not spec.version_path:
        return ""
    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
        return str(client.get(spec.version_path).json()["version"])
    return ""


def _wait_until_ready(
    client: httpx.Client,
    server: Server,
    spec: LaunchSpec,
    dialect: RequestDialect,
    started: float,
    say: Callable[[str], None],
) -> dict[str, float]:
    limit = started + spec.start_timeout_s
    timings: dict[str, float] = {}
    _poll(server, limit, spec, lambda: _not_healthy(client, spec.ready_path))
    timings["healthy_s"] = time.monotonic() - started
    say(f"healthy after {timings['healthy_s']:.1f} s; waiting for its first token")
    body = {**dialect.body, "model": server.model, "prompt": "a", "max_tokens": 1}
    _poll(server, limit, spec, lambda: _no_token(client, body, limit, server))
    timings["first_token_s"] = time.monotonic() - started
    return timings


def _not_healthy(client: httpx.Client, path: str) -> str:
    status = _allowed(client.get(path)).status_code
    return "" if status == 200 else f"{path} answers http {status}"


def _no_token(client: httpx.Client, body: Mapping[str, object], limit: float, server: Server) -> str:
    remaining_s = max(1.0, limit - time.monotonic())
    answer = _allowed(client.post("/v1/completions", json=body, timeout=remaining_s))
    if 400 <= answer.status_code < 500 and answer.status_code not in (408, 425, 429):
        raise LaunchError(
            f"the server refuses a request for one token: http {answer.status_code}: {_said(answer)}",
            log_excerpt=server.log_tail(),
            failure_class=FailureClass.WRONG_OUTPUT,
        )
    if answer.status_code != 200:
        return f"{WRONG} http {answer.status_code}: {_said(answer)}"
    return "" if _has_choices(answer) else f"{WRONG} no choices: {_said(answer)}"


def _said(answer: httpx.Response) -> str:
    """The beginning of its text; some servers repeat the key that they refuse."""
    key = answer.request.headers.get("Authorization", "").removeprefix("Bearer ")
    return (answer.text.replace(key, REDACTED) if key else answer.text)[:200]


def _has_choices(answer: httpx.Response) -> bool:
    """A server that only knows how to stream does so even where it was not asked to."""
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return '"choices"' in answer.text
    try:
        body = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and bool(body.get("choices"))


def _ended(kind: type[LaunchError | ServerDied], process: GuardedProcess, when: str) -> LaunchError | ServerDied:
    """How a process ended, and what is known of it."""
    status = process.exit_status() or 0
    if process.is_container_out_of_memory():
        said = f"the server was killed by the kernel, out of memory, {when}: it took more than its container may have"
    elif status > 128:
        said = f"the server was killed by a signal {when} ({_signal_name(status - 128)})"
    else:
        said = f"the server ended with status {status} {when}"
    tail, oom_killed = process.log_tail(), process.oom_killed()
    return kind(said, log_excerpt=tail, exit_status=status, oom_killed=oom_killed)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _poll(server: Server, limit: float, spec: LaunchSpec, why_not: Callable[[], str]) -> None:
    """Until `why_not` has no reason left. Raises LaunchError where the server ends, or its time does."""
    reason = ""
    while True:
        if server.process is not None and server.process.exit_status() is not None:
            raise _ended(LaunchError, server.process, "before it was ready")
        try:
            reason = why_not()
        except (httpx.HTTPError, ValueError) as error:
            reason = reason or f"no answer ({type(error).__name__})"
        if not reason:
            return
        if time.monotonic() > limit:
            raise LaunchError(
                f"the server was not ready within {spec.start_timeout_s:g} s: {reason}",
                log_excerpt=server.log_tail(),
                failure_class=FailureClass.WRONG_OUTPUT if reason.startswith(WRONG) else FailureClass.TIMEOUT,
            )
        time.sleep(0.05)
