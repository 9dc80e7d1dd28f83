"""Kills what it likes, when it likes, in a stack of its own, and looks whether what dyno promises holds afterwards.

    python -m tests.stack.chaos [--rounds 5] [--seed 1] [--victims engine flow-a …] [--kinds matrix client release]

Each round starts something, waits a while, kills a process or two (or cancels), waits until all has ended, and prints a
line; below it what was violated. Exit status 1 where anything was. A seed gives the same choices, not the same timing.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import httpx

from tasks.serving.lease import is_alive, leases
from tests.stack.conftest import (
    EXPERIMENT,
    Stack,
    command_line,
    engines,
    flow_processes,
    processes,
    results,
    running_stack,
    trials,
)

Kind = Literal["matrix", "client", "release"]
KINDS: tuple[Kind, ...] = ("matrix", "client", "release")
MEASURING = ("host-a", "host-b")
STORES = (*MEASURING, "control")
SERVICES = ("postgres", "redis", "prefect", "mlflow", *STORES)
VICTIMS = (
    *SERVICES,
    "engine",
    "guard",
    "flow",
    "matrix-flow",
    "client",
    "cancel",
    "supervisor",
    "service-guard",
    "taker",
)
COMES_AND_GOES = frozenset({"engine", "guard", "flow", "matrix-flow", "taker"})
FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
ENDS_WITHIN_S = 600.0
SETTLES_WITHIN_S = 150.0
"""Slots that a killed holder had, and services that are started again."""

RELEASES = ("2026.9.11063", "2026.10.11549")


@dataclass(slots=True)
class Round:
    """What a round did and saw."""

    number: int
    kind: Kind
    stack: Stack
    folder: Path
    runs: list[str] = field(default_factory=list)
    client: "subprocess.Popen[bytes] | None" = None
    done: list[str] = field(default_factory=list)
    kept: dict[Path, bytes] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        return f"chaos-{self.number}"

    @property
    def file(self) -> Path:
        return self.folder / f"{self.experiment}.yaml"

    @property
    def client_store(self) -> Path:
        return self.folder / "client"

    @property
    def store(self) -> Path:
        """Where what was asked for arrives."""
        return self.client_store if self.kind == "client" else self.stack.host("control")

    def violated(self, what: str) -> None:
        self.violations.append(what)


def attempted(ask: Callable[[], Any], otherwise: Any) -> Any:
    """For services that may be away."""
    try:
        return ask()
    except (httpx.HTTPError, OSError, ValueError, AssertionError, KeyError):
        return otherwise


def within(limit_s: float, is_true: Callable[[], object]) -> bool:
    limit = time.monotonic() + limit_s
    while not attempted(is_true, False):
        if time.monotonic() > limit:
            return False
        time.sleep(1.0)
    return True


def pids(stack: Stack) -> dict[str, int | None]:
    """Of the services, as the supervisor last wrote them."""
    body = json.loads((stack.home / "stack" / "state.json").read_text())
    return {one["name"]: one["pid"] for one in body["services"]}


def write_experiment(one: Round, quantizations: str) -> None:
    text = EXPERIMENT.replace("QUANTIZATION", quantizations)
    text = text.replace("min_seconds: 1.5, max_seconds: 3", "min_seconds: 0.5, max_seconds: 1")
    text = text.replace(", {name: long-out, prompt_tokens: 8, output_tokens: 16}", "")
    one.file.write_text(text)


def begin(one: Round, rng: random.Random) -> None:
    write_experiment(one, "q8_0" if one.kind == "release" else rng.choice(["[q8_0, q4_k_m]", "[f16, q8_0, q4_k_m]"]))
    if one.kind == "matrix":
        one.runs.append(one.stack.run("full-matrix", {"request": {"experiments": [str(one.file)]}}))
    elif one.kind == "client":
        start_client(one)
    elif rng.random() < 0.25:
        fire(one)
    else:
        request = {"engine": "llama_cpp", "version": RELEASES[1], "previous": RELEASES[0], "canary": False}
        asked = {"experiments": [str(one.file)], "launches": 2, "budget_minutes": 3}
        one.runs.append(one.stack.run("engine-release", {"request": request | asked}))


def start_client(one: Round) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", str(one.file), "--pool", "dyno", "--json"]
    env = one.stack.environment | {"DYNO_HOME": str(one.client_store)}
    with (one.folder / f"{one.experiment}.log").open("ab") as log:
        one.client = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def fire(one: Round) -> None:
    """The event of a release, by hand; its run is found again by when it came."""
    if one.stack.dyno("deploy", "--experiment", str(one.file)).returncode:
        one.violated("dyno deploy failed")
    known = {run["id"] for run in flow_runs(one.stack)}
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "dyno.engine.released",
        "resource": {"prefect.resource.id": "dyno.engine.llama_cpp", "prefect.resource.name": "llama_cpp"},
        "payload": {"engine": "llama_cpp", "version": RELEASES[1], "previous": RELEASES[0]},
        "related": [],
    }
    one.stack.api.post("/events", json=[event]).raise_for_status()
    found: list[str] = []

    def came() -> bool:
        found[:] = [run["id"] for run in flow_runs(one.stack) if run["id"] not in known and "against" in run["name"]]
        return bool(found)

    if not within(60, came):
        one.violated("the event of a release started nothing")
    one.runs += found


def flow_runs(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := stack.post("/flow_runs/filter", {"limit": 200, "offset": len(found), "sort": "ID_DESC"}):
        found += page
    return found


def targets(one: Round, victim: str, rng: random.Random) -> list[int]:
    """The processes of a victim, as far as there are any now."""
    stack = one.stack
    host = stack.host(rng.choice(MEASURING))
    if victim == "engine":
        return [pid for name in MEASURING for pid in engines(stack.host(name))][:1]
    if victim == "guard":
        return guards(stack.host("host-a")) or guards(stack.host("host-b"))
    if victim == "flow":
        return flow_processes(host) or [pid for name in MEASURING for pid in flow_processes(stack.host(name))]
    if victim == "matrix-flow":
        return flow_processes(stack.host("control"))
    if victim == "client":
        return [one.client.pid] if one.client and one.client.poll() is None else []
    if victim == "supervisor":
        return [stack.supervisor()]
    if victim == "taker":
        known = pids(stack)
        return [pid for name in takers(stack) if (pid := known.get(name))]
    if victim == "service-guard":
        return guards(stack.home, exactly=True)[:1]
    return [pid for pid in [pids(stack).get(victim)] if pid]


def takers(stack: Stack) -> list[str]:
    """Workers one of which has taken a run that has not begun."""
    taken = {run["work_pool_name"] for run in flow_runs(stack) if run["state_type"] == "PENDING"}
    return ["control"] if "dyno-control" in taken else list(MEASURING) if taken else []


def guards(store: Path, *, exactly: bool = False) -> list[int]:
    """The guards of what a store runs; `exactly`: of the stack's own services, in any order."""
    folder = str(store / "leases")
    found = [pid for pid in processes("guard.py", folder) if any(w.endswith("guard.py") for w in command_line(pid))]
    found = [pid for pid in found if any(word.startswith(folder) for word in command_line(pid))]
    return random.sample(found, len(found)) if exactly else found


def hit(one: Round, victim: str, rng: random.Random, signals: Sequence[str]) -> None:
    """Kills it, or notes that there was nothing to kill."""
    one.kept |= {file: file.read_bytes() for file in measured_files(one)}
    if victim == "cancel":
        for run in one.runs:
            attempted(lambda run=run: one.stack.cancel(run), None)  # type: ignore[misc]
        one.done.append("cancel" if one.runs else "cancel (nothing)")
        return
    number = signal.SIGKILL if victim in ("supervisor", "taker") else signal.Signals[f"SIG{rng.choice(signals)}"]
    found = awaited(one, victim, rng)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    one.done.append(f"{signal.Signals(number).name} {victim}{'' if found else ' (nothing)'}")
    if victim == "supervisor" and found:
        rise_again(one, rng)


def awaited(one: Round, victim: str, rng: random.Random) -> list[int]:
    """What is not there yet is waited for, and then a moment more; not for a run that is over."""
    for _ in range(200 if victim in COMES_AND_GOES else 1):
        found: list[int] = attempted(lambda: targets(one, victim, rng), [])
        if found and victim != "taker" and victim in COMES_AND_GOES:
            time.sleep(rng.uniform(0, 8))
            found = attempted(lambda: targets(one, victim, rng), [])
        is_over = one.runs and attempted(lambda: one.stack.state(one.runs[0]), "") in FINAL
        if found or is_over or (one.client and one.client.poll() is not None):
            return found
        time.sleep(0.3)
    return []


def rise_again(one: Round, rng: random.Random) -> None:
    """After the supervisor was killed: at once, or when all that it ran has ended, as it must."""
    if rng.random() < 0.5:
        one.done.append("up at once")
    elif not within(60, lambda: not of_stack(one.stack)):
        one.violated(f"the supervisor is dead, and of its stack there are left: {of_stack(one.stack)}")
    up = one.stack.dyno("stack", "up")
    if up.returncode:
        one.violated(f"dyno stack up after a kill of the supervisor: {up.stderr[-600:]}")
        up = one.stack.dyno("stack", "up")
        one.violated(f"and once more: {up.returncode}")
    one.stack.__post_init__()


def of_stack(stack: Stack) -> list[str]:
    """Processes that are not zombies and name the folder of the stack."""
    return [f"{pid} {' '.join(command_line(pid))[:100]}" for pid in processes(str(stack.home)) if command_line(pid)[:1]]


def measured_files(one: Round) -> Iterator[Path]:
    for name in STORES:
        yield from trials(one.stack.host(name), one.experiment)
        yield from (one.stack.host(name) / "comparisons").glob("*/launches/*.json")


def wait_for_end(one: Round) -> None:
    began = time.monotonic()
    if one.client is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.client.wait(ENDS_WITHIN_S)
        one.done.append(f"client {one.client.returncode}")
        if one.client.returncode not in (0, 3, 4):
            start_client(one)
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.client.wait(ENDS_WITHIN_S)
            one.done.append(f"again {one.client.returncode}")
        if one.client.returncode is None:
            one.violated("the client does not end")
            one.client.kill()
    if not within(ENDS_WITHIN_S, lambda: not goes_on(one) and not unfinished(one.stack)):
        one.violated(f"runs that do not end: {unfinished(one.stack)}")
    one.done.append(f"ended after {time.monotonic() - began:.0f} s")


def unfinished(stack: Stack) -> list[str]:
    """Runs that are neither over nor due later."""
    now = datetime.now(UTC).isoformat()
    return [
        f"{run['name']} ({run['state_type']}/{run['state_name']} {run['id']})"
        for run in flow_runs(stack)
        if run["state_type"] not in FINAL
        and not (run["state_type"] == "SCHEDULED" and run["expected_start_time"] > now)
    ]


def goes_on(one: Round) -> bool:
    """Whether a run has crashed, and an automation has the time yet to schedule it again; once it ran that is at once,
    twice it is not."""
    limit_s = {0: 180.0, 1: 30.0}
    for run in (one.stack.api.get(f"/flow_runs/{run}").raise_for_status().json() for run in one.runs):
        since = datetime.now(UTC) - datetime.fromisoformat(run["state"]["timestamp"])
        if run["state_type"] == "CRASHED" and since.total_seconds() < limit_s.get(run["run_count"], 0.0):
            return True
    return False


def check(one: Round) -> None:
    """Adds what does not hold."""
    stack = one.stack
    if not within(SETTLES_WITHIN_S, lambda: all(service["well"] for service in stack.status().values())):
        one.violated(f"services are not well: {attempted(stack.status, 'no status')}")
    elif set(stack.status()) != set(SERVICES):
        one.violated(f"services are missing: {sorted(stack.status())}")
    elif missing := [name for name, service in stack.status().items() if not service["pid"]]:
        one.violated(f"status does not know the process of {missing}")
    if not within(SETTLES_WITHIN_S, lambda: not held(stack)):
        one.violated(f"slots are held: {held(stack)}")
    check_processes(one)
    for file, text in one.kept.items():
        if not file.exists() or file.read_bytes() != text:
            one.violated(f"{file.relative_to(stack.home)} was measured, and is {'other' if file.exists() else 'gone'}")
    if one.kind == "release":
        check_release(one)
    else:
        check_cells(one)
    check_runs(one)


def held(stack: Stack) -> list[str]:
    limits = stack.post("/v2/concurrency_limits/filter", {})
    return [f"{one['name']}: {one['active_slots']}" for one in limits if one["active_slots"]]


def check_processes(one: Round) -> None:
    for name in STORES:
        store = one.stack.host(name)
        if not within(60, lambda store=store: not (engines(store) or guards(store))):  # type: ignore[misc]
            one.violated(f"{name}: engines {engines(store)} and guards {guards(store)} are left")
        for lease in leases(store / "leases"):
            whose = "of one that lives" if is_alive(lease.owner) else "of one that is dead"
            one.violated(f"{name}: a lease is left, {whose}: {lease.what}")
        if not within(60, lambda store=store: not flow_processes(store)):  # type: ignore[misc]
            one.violated(f"{name}: flow processes are left: {flow_processes(store)}")


def check_cells(one: Round) -> None:
    """Every cell that was asked for arrived, or is named; MLflow and the store say the same of it, once."""
    asked = cells_asked(one)
    here = results(one.store, one.experiment)
    tagged = attempted(lambda: one.stack.runs(one.experiment, "cell"), [])
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for run in tagged:
        by_cell.setdefault(run["dyno.cell_id"], []).append(run)
    for cell, runs in by_cell.items():
        if len(runs) > 1:
            one.violated(f"cell {cell} is in MLflow {len(runs)} times")
    expected = {"measured": "FINISHED", "invalid": "FINISHED", "failed": "FAILED"}
    for cell, result in here.items():
        told = {run["status"] for run in by_cell.get(cell, [])}
        if told != {expected.get(result["state"], "")}:
            one.violated(f"cell {cell}: {result['state']} in the store, {told or 'not there'} in MLflow")
    missing = asked - set(here)
    one.done.append(f"{len(here)} of {asked and len(asked)} cells: {sorted({r['state'] for r in here.values()})}")
    is_cancelled = "cancel" in one.done
    ended = [one.stack.api.get(f"/flow_runs/{run}").json() for run in one.runs]
    is_named = any("not arrive" in (run["state"]["message"] or "") for run in ended) or "not arrive" in client_log(one)
    if missing and not is_cancelled and not is_named:
        one.violated(f"{len(missing)} cells neither arrived nor are named: {[state_of(run) for run in ended]}")
    if not is_cancelled and any(result["state"] != "measured" for result in here.values()):
        bad = {f"{r['state']} at {r['stage']}: {r['cause']}" for r in here.values() if r["state"] != "measured"}
        one.done.append(f"not measured: {sorted(bad)}")


def client_log(one: Round) -> str:
    file = one.folder / f"{one.experiment}.log"
    return file.read_text(errors="replace") if file.exists() else ""


def cells_asked(one: Round) -> set[str]:
    said = one.stack.dyno("plan", str(one.file), "--json", store=one.folder / "plan")
    return {cell["cell_id"] for cell in json.loads(said.stdout)["cells"] if cell["state"] == "to measure"}


def check_release(one: Round) -> None:
    """One comparison, with a verdict in the store, in MLflow and in an event; or its absence is named."""
    found = []
    for name in MEASURING:
        for file in (one.stack.host(name) / "comparisons").glob("*/comparison.json"):
            body = json.loads(file.read_text())
            if body["experiment"] == one.experiment and body["ended_at"]:
                found.append(body)
    told = attempted(lambda: one.stack.runs(one.experiment, "comparison"), [])
    ended = [one.stack.api.get(f"/flow_runs/{run}").json() for run in one.runs]
    one.done.append(f"verdicts {[body['verdict'] for body in found]}, {[state_of(run) for run in ended]}")
    if {body["id"] for body in found} != {run["dyno.comparison"] for run in told}:
        one.violated(
            f"verdicts of {[b['id'] for b in found]} on disk, of {[r['dyno.comparison'] for r in told]} in MLflow"
        )
    if len(found) > 1:
        one.violated("judged more than once")
    is_named = all(run["state_type"] == "FAILED" for run in ended) or "cancel" in one.done
    if not found and not is_named:
        one.violated(f"no verdict, and nobody says why: {[state_of(run) for run in ended]}")


def state_of(run: dict[str, Any]) -> str:
    return f"{run['state_name']}: {(run['state'] or {}).get('message') or ''}"[:200]


def check_runs(one: Round) -> None:
    for kind in ("cell", "invocation", "launch", "comparison"):
        known = attempted(lambda kind=kind: one.stack.runs(one.experiment, kind), [])  # type: ignore[misc]
        open_ = [run["run_id"] for run in known if run["status"] == "RUNNING"]
        if open_:
            one.violated(f"MLflow runs of kind {kind} are left running: {open_}")


def play(number: int, stack: Stack, folder: Path, args: argparse.Namespace) -> Round:
    """One round. Every choice comes from the seed and the round's number."""
    rng = random.Random(f"{args.seed}-{number}")
    one = Round(number, rng.choice(args.kinds), stack, folder)
    kinds = {"client": "client", "cancel": "matrix release", "matrix-flow": "matrix"}
    fits = [victim for victim in args.victims if one.kind in kinds.get(victim, one.kind)]
    victims = rng.sample(fits, min(len(fits), 2 if rng.random() < 0.25 else 1))
    began = time.monotonic()
    begin(one, rng)
    wait_s = rng.uniform(1.0, args.longest_wait)
    one.done.append(f"{wait_s:.0f} s")
    time.sleep(wait_s)
    for victim in victims:
        hit(one, victim, rng, args.signals)
        time.sleep(rng.uniform(0, 3))
    wait_for_end(one)
    check(one)
    print(f"round {number} {one.kind}: {'; '.join(one.done)}; {time.monotonic() - began:.0f} s in all", flush=True)
    for what in one.violations:
        print(f"    VIOLATED {what}", flush=True)
    return one


def calm(number: int, stack: Stack, folder: Path) -> Round:
    """A matrix that nobody disturbs must pass."""
    one = Round(number, "matrix", stack, folder)
    write_experiment(one, "[f16, q8_0]")
    one.runs.append(stack.run("full-matrix", {"request": {"experiments": [str(one.file)]}}))
    wait_for_end(one)
    check(one)
    if (state := stack.state(one.runs[0])) != "COMPLETED":
        one.violated(f"an undisturbed matrix is {state}")
    print(f"calm round: {'; '.join(one.done)}", *one.violations, sep="\n    VIOLATED ", flush=True)
    return one


def down(stack: Stack) -> list[str]:
    """Nothing of the stack is left after it was told to end."""
    if (done := stack.dyno("stack", "down")).returncode:
        return [f"dyno stack down ended with {done.returncode}: {done.stderr}"]
    left = of_stack(stack)
    return [f"after dyno stack down there are left: {left}"] if left else []


def main(words: Sequence[str] | None = None) -> int:
    """1 where something was violated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--signals", nargs="+", choices=("KILL", "TERM"), default=("KILL", "KILL", "TERM"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--longest-wait", type=float, default=70.0, metavar="SECONDS")
    args = parser.parse_args(words)
    kept = os.environ.get("DYNO_TEST_ENVIRONMENTS")
    violated, left = 0, list[str]()
    with running_stack(Path(kept) if kept else Path(".dyno/environments").absolute()) as stack:
        print(f"seed {args.seed}, stack {stack.home}", flush=True)
        folder = stack.home / "chaos"
        folder.mkdir()
        for number in range(args.first, args.first + args.rounds):
            violated += bool(play(number, stack, folder, args).violations)
        violated += bool(calm(args.first + args.rounds, stack, folder).violations)
        left = down(stack)
        print(*left, sep="\n    VIOLATED ", flush=True)
    print(f"{violated + bool(left)} rounds of {args.rounds + 1} violated something", flush=True)
    return int(bool(violated or left))


if __name__ == "__main__":
    sys.exit(main())
