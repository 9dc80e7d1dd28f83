"""What passes between the parent and a worker: plain data, so that a worker need not import what made it."""

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tasks.loadgen.dialogue import Dialogue
    from tasks.loadgen.history import TurnBodies


class Source(Protocol):
    """Makes the body of any request: a pure function of the seed it holds, the index and the lengths."""

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...

    def body(self, index: int, prompt_tokens: int, output_tokens: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go. The API key is read from the environment by who sends it; it is part of no message."""

    host: str
    port: int
    tls: bool
    host_header: str
    api_key_env: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """One process's share of a trial. Its k-th request has the index `process + k · processes`; with a dialogue that
    holds of conversations, `count` and `due_ns` are of them too, and each has `most_turns` positions and indices.

    `due_ns` are offsets from the start (open loop); `user_due_ns` is when each user of a closed loop comes.
    `count` None: the requests end with `until_ns`, and the lengths are those of all processes, which come round again.
    Else they have one entry a request, or one for all. `knows_prompts`: prompt lengths are asked, not only about right.
    """

    process: int
    processes: int
    target: Target
    source: Source
    count: int | None
    due_ns: "array[int] | None"
    user_due_ns: "array[int]"
    think_ns: int
    window_from_ns: int
    until_ns: int | None
    prompt_tokens: "array[int]"
    output_tokens: "array[int]"
    rate_rps: float
    timeout_ns: int
    fresh_connections: bool
    exact: bool
    needs_done: bool
    folder: Path
    spill_bytes: int
    knows_prompts: bool = True
    dialogue: "Dialogue | None" = None
    turn_bodies: "TurnBodies | None" = None

    @property
    def most_turns(self) -> int:
        """Positions of a conversation; a request by itself is one of one turn."""
        return 1 if self.dialogue is None else self.dialogue.most_turns

    def index(self, position: int) -> int:
        """Of the trial, for the k-th request of this process."""
        conversation, turn = divmod(position, self.most_turns)
        return (self.process + conversation * self.processes) * self.most_turns + turn

    def position(self, index: int) -> int:
        """The inverse of `index`."""
        conversation, turn = divmod(index, self.most_turns)
        return (conversation - self.process) // self.processes * self.most_turns + turn

    def think_ns_before(self, index: int) -> int:
        """What lies between this request's due time and the end that it follows."""
        conversation, turn = divmod(index, self.most_turns)
        if self.dialogue is None or turn == 0:
            return self.think_ns
        return self.dialogue.think_ns(conversation, turn)

    def lengths(self, position: int) -> tuple[int, int]:
        """Prompt and output tokens of a request."""
        at = position if self.count is not None and self.dialogue is None else self.index(position)
        return self.prompt_tokens[at % len(self.prompt_tokens)], self.output_tokens[at % len(self.output_tokens)]


@dataclass(frozen=True, slots=True)
class Ready:
    """Connections are open, bodies encoded, what is needed later is imported."""


@dataclass(frozen=True, slots=True)
class Start:
    """The clock: offsets count from here."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End at once, and keep what was received."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What happened since the last beat; `in_flight` is now. TTFTs are a sample, read off the raw bytes."""

    finished: int
    errors: int
    sent: int
    chunks: int
    in_flight: int
    ttft_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Every request of this process is over."""


@dataclass(frozen=True, slots=True)
class Parse:
    """Every process has measured: CPU may be spent."""


@dataclass(frozen=True, slots=True)
class Share:
    """A worker's account of its share of the trial; `part` holds its records (Arrow IPC).

    `cpu_ns` counts from the first due time to the end of parsing, `measuring_cpu_ns` to the end of measuring,
    which took `measuring_wall_ns`. `tokens` are the token-bearing chunks, `shared` those of one stamp with another.
    """

    part: Path
    last_end_ns: int | None
    events: int
    tokens: int
    shared: int
    stamps: frozenset[str]
    bytes_received: int
    cpu_ns: int
    measuring_cpu_ns: int
    measuring_wall_ns: int
    loop_delay_ns: "array[int]"
    connect_ns: "array[int]"
    clock_step_us: float
    scheduling: str
    findings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Broke:
    """The worker could not go on: its traceback, and where it is the machine's fault and no defect, why."""

    traceback: str
    machine: str = ""
