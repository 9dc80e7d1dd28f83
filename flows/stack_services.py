"""The services of the stack: how each is started, in which environment, and how one sees that it is well.

Passwords are letters and digits, in files of mode 0600 and in environments; no command line holds one."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments.errors import SetupError
from experiments.redaction import is_secret_name
from flows.local_api import QUIET
from tasks.serving.server import HOST, free_port

USER = "dyno"
ADMIN = "admin"
DATABASES = ("prefect", "mlflow", "mlflow_auth")
INSTALL = "apt-get install postgresql redis-server"
ANSWER_S = 2.0


@dataclass(frozen=True, slots=True)
class Passwords:
    """One for each service, and the key that signs MLflow's cookies. Never shown."""

    postgres: str = field(repr=False)
    redis: str = field(repr=False)
    prefect: str = field(repr=False)
    mlflow: str = field(repr=False)
    mlflow_cookies: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ports:
    """All on loopback."""

    postgres: int
    redis: int
    prefect: int
    mlflow: int


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep running, and whether it is well. `grace_s`: what it may take to end. `is_ending`: whether it
    was told to end by someone else, and waits, perhaps for ever, for its clients to go."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    is_well: Callable[[], bool]
    grace_s: float = 5.0
    is_ending: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Stack:
    """Where a stack lives, where it listens, and what it is opened with."""

    folder: Path
    ports: Ports
    passwords: Passwords

    @property
    def prefect_url(self) -> str:
        """Prefect's UI; its API is below."""
        return f"http://{HOST}:{self.ports.prefect}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's UI and API."""
        return f"http://{HOST}:{self.ports.mlflow}"

    @property
    def client_file(self) -> Path:
        """What a shell reads to work with this stack: `set -a; . FILE`. Mode 0600."""
        return self.folder / "client.env"

    def client_environment(self) -> dict[str, str]:
        """What dyno, Prefect's and MLflow's own clients need."""
        return {
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_API_AUTH_STRING": f"{ADMIN}:{self.passwords.prefect}",
            # Prefect's server answers 500 while its database is away: worth another try, as 503 is.
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": self.passwords.mlflow,
        }

    def database(self, name: str, driver: str) -> str:
        """The address of a database, with its password."""
        return f"{driver}://{USER}:{self.passwords.postgres}@{HOST}:{self.ports.postgres}/{name}"


def known_stack(folder: Path) -> Stack:
    """The one that was made there."""
    return Stack(
        folder, Ports(**json.loads((folder / "ports.json").read_text())), _passwords(folder / "passwords.json")
    )


def make_stack(folder: Path, *, prefect_port: int, mlflow_port: int) -> Stack:
    """Makes the folder and its passwords where there are none. Port 0: the one of last time, or any free one."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    asked = {"prefect": prefect_port, "mlflow": mlflow_port}
    stack = Stack(folder, _ports(folder / "ports.json", asked), _passwords(folder / "passwords.json"))
    lines = [f"{name}={value}\n" for name, value in stack.client_environment().items()]
    write_private(stack.client_file, "".join(lines))
    return stack


def write_private(path: Path, text: str) -> None:
    """Mode 0600 from its first byte on."""
    aside = path.with_suffix(".partial")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.rename(path)


def _passwords(path: Path) -> Passwords:
    if not path.exists():
        write_private(path, json.dumps({one.name: secrets.token_hex(20) for one in fields(Passwords)}))
    return Passwords(**json.loads(path.read_text()))


def _ports(path: Path, asked: Mapping[str, int]) -> Ports:
    """Those of last time as far as nobody else took them, so that bookmarks and clients go on."""
    known = json.loads(path.read_text()) if path.exists() else {}
    found: dict[str, int] = {}
    for name in (one.name for one in fields(Ports)):
        before = known.get(name, 0)
        found[name] = asked.get(name) or (before if before and _is_free(before) else 0) or free_port()
    write_private(path, json.dumps(found))
    return Ports(**found)


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return one.connect_ex((HOST, port)) != 0


def postgres_program(name: str) -> str:
    """Debian keeps the programs of the server out of PATH. Raises SetupError where they are not installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = [str(folder / name) for folder in reversed(versions) if (folder / name).exists()]
    if path := next(iter(found), None) or shutil.which(name):
        return path
    raise SetupError(f"{name} is not installed, and the stack needs PostgreSQL: {INSTALL}")


def redis_program() -> str:
    """Raises SetupError where it is not installed."""
    if path := shutil.which("redis-server"):
        return path
    raise SetupError(f"redis-server is not installed, and the stack needs it: {INSTALL}")


def as_database_user(argv: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root: there, as the user of Debian's package, who may enter the store's folder."""
    if os.geteuid() != 0:
        return argv
    may_enter = [
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--bounding-set=-all,+dac_override",
    ]
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *may_enter, "--pdeathsig=INT", *argv]


def make_cluster(stack: Stack) -> None:
    """The files of an empty PostgreSQL, once. Raises SetupError with what initdb says."""
    data = stack.folder / "postgres"
    if (data / "PG_VERSION").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    password = stack.folder / "postgres.password"
    write_private(password, stack.passwords.postgres)
    argv = [postgres_program("initdb"), "-D", str(data), "--username", USER, "--pwfile", str(password)]
    argv += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"]
    try:
        _run(as_database_user(argv), "initdb", {})
    except SetupError:
        shutil.rmtree(data, ignore_errors=True)
        raise
    finally:
        password.unlink()


def make_databases(stack: Stack) -> None:
    """Those that are not there yet."""
    at = ["--host", HOST, "--port", str(stack.ports.postgres), "--username", USER]
    known = {"PGPASSWORD": stack.passwords.postgres}
    listed = _run(
        [postgres_program("psql"), *at, "-d", "postgres", "-Atc", "select datname from pg_database"], "psql", known
    )
    for name in DATABASES:
        if name not in listed.split():
            _run([postgres_program("createdb"), *at, name], "createdb", known)


def _run(argv: list[str], what: str, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd="/", stdin=subprocess.DEVNULL, env={**os.environ, **env}
    )
    if done.returncode:
        raise SetupError(f"{what} ended with status {done.returncode}", log_excerpt=done.stderr.strip()[-2000:])
    return done.stdout


def postgres(stack: Stack) -> Service:
    """Without a socket file: its clients come over loopback with a password."""
    settings = {
        "listen_addresses": HOST,
        "port": str(stack.ports.postgres),
        "unix_socket_directories": "",
        "max_connections": "200",
        "password_encryption": "scram-sha-256",
    }
    argv = [postgres_program("postgres"), "-D", str(stack.folder / "postgres")]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    ask = [postgres_program("pg_isready"), "--quiet", "--host", HOST, "--port", str(stack.ports.postgres)]

    def is_well() -> bool:
        return subprocess.run(ask, check=False, capture_output=True).returncode == 0

    def is_ending() -> bool:
        return is_stopping(stack.folder / "postgres" / "postmaster.pid")

    argv = as_database_user(argv)
    return Service("postgres", tuple(argv), servers_environment(), is_well, grace_s=20.0, is_ending=is_ending)


def is_stopping(lock_file: Path) -> bool:
    """What PostgreSQL says of itself in the eighth line: ready, starting, stopping."""
    with contextlib.suppress(OSError, IndexError):
        return lock_file.read_text().splitlines()[7].strip() == "stopping"
    return False


def redis(stack: Stack) -> Service:
    """Its file of settings holds the password."""
    folder, file = stack.folder / "redis", stack.folder / "redis.conf"
    folder.mkdir(exist_ok=True)
    lines = [f"bind {HOST}", f"port {stack.ports.redis}", f"dir {folder}", f"requirepass {stack.passwords.redis}"]
    write_private(file, "\n".join([*lines, "protected-mode yes", "appendonly yes", ""]))

    def is_well() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, stack.ports.redis), ANSWER_S) as one:
            one.sendall(f"AUTH {stack.passwords.redis}\r\nPING\r\n".encode())
            said = b""
            while b"PONG" not in said and (more := one.recv(256)):
                said += more
            return b"PONG" in said
        return False

    return Service("redis", (redis_program(), str(file)), servers_environment(), is_well)


def prefect(stack: Stack) -> Service:
    """Prefect's server with its own services: events, leases and its task queue in Redis."""
    at_redis = f"redis://:{stack.passwords.redis}@{HOST}:{stack.ports.redis}"
    env = servers_environment() | {
        "PREFECT_HOME": str(stack.folder / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": stack.database("prefect", "postgresql+asyncpg"),
        "PREFECT_SERVER_API_AUTH_STRING": f"{ADMIN}:{stack.passwords.prefect}",
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_SERVER_DOCKET_URL": f"{at_redis}/1",
        "PREFECT_REDIS_MESSAGING_URL": f"{at_redis}/0",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_UI_API_URL": f"{stack.prefect_url}/api",
    }
    argv = (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(stack.ports.prefect))
    return Service("prefect", argv, env, lambda: answers(f"{stack.prefect_url}/api/health"), grace_s=10.0)


def mlflow(stack: Stack) -> Service:
    """MLflow's server: who asks must say who they are; artifacts go through it to a folder behind it."""
    settings = stack.folder / "mlflow_auth.ini"
    lines = ["[mlflow]", "default_permission = NO_PERMISSIONS", f"admin_username = {ADMIN}"]
    lines += [f"database_uri = {stack.database('mlflow_auth', 'postgresql+psycopg2')}"]
    lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
    write_private(settings, "\n".join([*lines, "auth_cache_ttl_seconds = 60", ""]))
    env = servers_environment() | {
        "MLFLOW_BACKEND_STORE_URI": stack.database("mlflow", "postgresql+psycopg2"),
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": stack.passwords.mlflow,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": stack.passwords.mlflow_cookies,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    argv = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "2"]
    argv += ["--host", HOST, "--port", str(stack.ports.mlflow)]
    argv += ["--serve-artifacts", "--artifacts-destination", str(stack.folder / "mlartifacts")]
    return Service("mlflow", tuple(argv), env, lambda: answers(f"{stack.mlflow_url}/health"), grace_s=10.0)


def servers_environment() -> dict[str, str]:
    """Of this process, without what belongs to other servers and without secrets."""
    foreign = ("PREFECT_", "MLFLOW_", "PG")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and not is_secret_name(k)}
    return kept | telemetry_off()


def telemetry_off() -> dict[str, str]:
    """Prefect's and MLflow's own settings for it; what they log is kept, for it goes to files."""
    return {name: value for name, value in QUIET.items() if "LOGGING" not in name}


def answers(url: str) -> bool:
    """Whether GET gives 200."""
    import httpx

    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=ANSWER_S, trust_env=False).status_code == 200
    return False


def authorized_json(stack: Stack, path: str, ask: object) -> Any:
    """What Prefect's API answers to a POST of `ask`; None where it does not."""
    import httpx

    with contextlib.suppress(httpx.HTTPError, ValueError):
        auth = (ADMIN, stack.passwords.prefect)
        answer = httpx.post(f"{stack.prefect_url}{path}", json=ask, auth=auth, timeout=ANSWER_S, trust_env=False)
        return answer.raise_for_status().json()
    return None
