"""The store: one folder that holds all that dyno keeps. `./.dyno`, or DYNO_HOME."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import SetupError
from experiments.redaction import without_password


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of a store. Nothing is made before it is needed."""

    root: Path

    @property
    def artifacts(self) -> Path:
        """Weights, checkpoints and compiled engines by content."""
        return self.root / "artifacts"

    @property
    def environments(self) -> Path:
        """A Python environment per engine release."""
        return self.root / "environments"

    @property
    def pins(self) -> Path:
        """Experiments whose artifacts are kept whatever their age."""
        return self.root / "pins"

    @property
    def campaigns(self) -> Path:
        """Records and results."""
        return self.root / "campaigns"

    @property
    def comparisons(self) -> Path:
        """Releases, or settings, compared over launches of their own."""
        return self.root / "comparisons"

    @property
    def replays(self) -> Path:
        """Cells measured again, to see whether they come out as before."""
        return self.root / "replays"

    @property
    def canaries(self) -> Path:
        """What past comparisons saw of the baseline against itself: how much this machine varies."""
        return self.root / "canaries"

    @property
    def leases(self) -> Path:
        """What runs now, and for whom."""
        return self.root / "leases"

    @property
    def launches(self) -> Path:
        """Which variants were launched, on which boot."""
        return self.root / "launches.jsonl"

    @property
    def prefect(self) -> Path:
        """Prefect's home, unless PREFECT_API_URL names a server."""
        return self.root / "prefect"

    @property
    def logs(self) -> Path:
        """What the servers that dyno itself uses said."""
        return self.root / "logs"

    @property
    def tracking_uri(self) -> str:
        """MLFLOW_TRACKING_URI, or the SQLite file in here; always that of stand-ins, which no team's server is told."""
        return (
            "" if stand_ins() else os.environ.get("MLFLOW_TRACKING_URI", "")
        ) or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def shown_tracking_uri(self) -> str:
        """The same without a password: for people and logs."""
        return without_password(self.tracking_uri)

    def make(self) -> "Home":
        """Makes the folder; raises SetupError where that cannot be."""
        try:
            for folder in (self.root, self.leases, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"the store {self.root} cannot be made: {error.strerror}. Set DYNO_HOME to a folder that can."
            ) from error
        return self


def open_home() -> Home:
    """DYNO_HOME, or .dyno in the current folder; absolute, not made yet. What stand-ins answer lies in a store of its
    own within it: nothing that reads measurements ever meets it."""
    root = Path(os.environ.get("DYNO_HOME") or ".dyno").expanduser().absolute()
    return Home(root / "stand-ins" if stand_ins() else root)


def stand_ins() -> Path | None:
    """The folder of programs that stand in the place of engines, from DYNO_STAND_INS; None where engines run. Raises
    SetupError where that is no such folder."""
    said = os.environ.get("DYNO_STAND_INS")
    if not said:
        return None
    folder = Path(said).expanduser().absolute()
    if not (folder / "python").is_file():
        raise SetupError(
            f"DYNO_STAND_INS={said}: no folder of stand-ins, which holds a program `python` beside those of engines. "
            "Unset it, to measure engines."
        )
    return folder


@contextlib.contextmanager
def measuring_alone(home: Home, say: Callable[[str], None]) -> Iterator[None]:
    """One measurement at a time in a store: two at once on one machine would measure each other.

    Waits for another dyno, and says for which; the kernel frees the lock of one that dies.
    """
    with (home.root / "run.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another dyno measures here ({_holder(lock.name)}): waiting until it is done; Ctrl-C to stop")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid()}))
        lock.flush()
        yield


def _holder(path: str) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return f"process {json.loads(Path(path).read_text())['pid']}"
    return "another process"
