"""The tracking store: MlflowClient with explicit run ids. No active run, no global state, nothing printed."""

import contextlib
import fcntl
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from experiments.errors import PublishError
from experiments.redaction import redacted, without_password
from experiments.schema.comparison import ChangeVerdict, ComparisonResult
from experiments.schema.result import CellResult
from tasks.tracking.comparison_figures import comparison_metrics, comparison_name, comparison_tags
from tasks.tracking.description import cell_description
from tasks.tracking.figures import (
    between_metrics,
    build_metrics,
    cell_config,
    cell_row,
    checkpoint_metrics,
    cold_start_metrics,
    comparable_params,
    cost_metrics,
    invocation_description,
    params,
    point_metrics,
    quality_metrics,
    run_name,
    run_status,
    tags,
)
from tasks.tracking.inputs import CONTEXT, workload_input
from tasks.tracking.owner import Owner

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

Status = Literal["FINISHED", "FAILED", "KILLED"]
Series = Mapping[str, Sequence[tuple[int, float]]]
"""By name samples in the order of time: milliseconds since 1970, and the value."""

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Each unless the user set it. An unreachable server costs 5 s with these, and 247 s with MLflow's own."""

LOG_LIMIT_BYTES = 64 * 2**20

_PARENT = "mlflow.parentRunId"
_NOTE = "mlflow.note.content"
_OWNER = "dyno.owner"


class TrackingStore:
    """Invocations, cells and launches in one MLflow store. Every method raises PublishError where it is out of reach.

    Publishing the same thing again changes nothing: runs are found by their tags, metrics have fixed timestamps.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        """`folder` holds the lock, and the artifacts of an SQLite store (`folder/mlartifacts`)."""
        self.uri = uri
        self.folder = folder
        self._client: MlflowClient | None = None

    def open_invocation(
        self,
        experiment: str,
        *,
        campaign: str,
        config: Mapping[str, object],
        description: str = "",
        prefect_run_id: str = "",
        prefect_run_url: str = "",
    ) -> str:
        """A new RUNNING parent run; its id. `config` is the whole experiment, as params and as experiment.json."""
        found = {
            "dyno.kind": "invocation",
            "dyno.campaign": campaign,
            _OWNER: str(Owner.this_process()),
            "prefect.flow_run_id": prefect_run_id,
            "prefect.flow_run_url": prefect_run_url,
            _NOTE: description,
        }
        with self._publishing("open the invocation's run"):
            client = self._open()
            run = client.create_run(
                self._experiment_id(experiment),
                start_time=_now_ms(),
                tags={name: value for name, value in found.items() if value},
                run_name=campaign,
            )
            run_id = str(run.info.run_id)
            self._log_params(run_id, params(config))
            client.log_dict(run_id, _json(redacted(config)), "experiment.json")
            return run_id

    def publish_cell(
        self,
        cell: CellResult,
        *,
        invocation_run_id: str = "",
        files: Mapping[str, Path] | None = None,
        records: Mapping[str, Path] | None = None,
        series: Series | None = None,
        extra_tags: Mapping[str, str] | None = None,
    ) -> str:
        """The cell's run and, below it, that of its launch; the id of the first.

        `files` go to both, `records` and `series` to the cell's alone, which its launches name: the key is the artifact
        path, the value a file or a folder. A cell that was published under another invocation stays there; this
        invocation lists it. Stores count their launches each for itself: the flow run tells those of two hosts apart.
        Where another host measured the cell later and its result is there, that stays, and only the launch is added.
        """
        with self._publishing(f"take the cell {cell.cell_id}"):
            experiment_id = self._experiment_id(cell.experiment)
            is_cell = {"dyno.kind": "cell", "dyno.cell_id": cell.cell_id, "dyno.campaign": cell.campaign}
            is_launch = {**is_cell, "dyno.kind": "launch", "dyno.launch": str(cell.launch)}
            is_launch |= {"prefect.flow_run_id": cell.prefect_run_id} if cell.prefect_run_id else {}
            with self._locked():
                cell_run = self._find_or_create(experiment_id, is_cell, invocation_run_id, run_name(cell), cell)
                launch_name = f"launch {cell.launch}"
                launch_run = self._find_or_create(experiment_id, is_launch, cell_run, launch_name, cell)
            published = cell.model_copy(update={"mlflow_run_id": cell_run})
            self._log_input((launch_run, cell_run), published)
            own = {"dyno.records": f"points/ of run {cell_run}"}
            self._publish(launch_run, published, files or {}, own | dict(extra_tags or {}))
            if self._has_later(cell_run, cell):
                return cell_run
            self._log_series(cell_run, series or {})
            self._publish(cell_run, published, {**(files or {}), **(records or {})}, extra_tags or {})
            return cell_run

    def close_invocation(
        self,
        run_id: str,
        *,
        status: Status,
        measured: Sequence[CellResult] = (),
        kept: Sequence[CellResult] = (),
        files: Mapping[str, Path] | None = None,
        description: str = "",
    ) -> None:
        """Ends the run. Its cells.json and its description list every cell, those kept from before with their runs."""
        with self._publishing("close the invocation's run"):
            client = self._open()
            rows = [cell_row(cell, kept=False) for cell in measured] + [cell_row(cell, kept=True) for cell in kept]
            experiment_id = client.get_run(run_id).info.experiment_id
            client.log_dict(run_id, {"cells": _json(redacted(rows))}, "cells.json")
            client.set_tag(run_id, _NOTE, invocation_description(description, rows, experiment_id))
            client.set_tag(run_id, "dyno.kept_cells", " ".join(cell.cell_id for cell in kept) or "none")
            self._log_files(run_id, files or {})
            client.set_terminated(run_id, status=status, end_time=_now_ms())

    def publish_comparison(
        self, result: ComparisonResult, *, config: Mapping[str, object], files: Mapping[str, Path]
    ) -> str:
        """The run of a comparison, in the MLflow experiment of its experiment file; its id."""
        with self._publishing(f"take the comparison {result.id}"):
            client = self._open()
            identity = {"dyno.kind": "comparison", "dyno.comparison": result.id}
            experiment_id = self._experiment_id(result.experiment)
            with self._locked():
                run_id = self._run_of(experiment_id, identity, result.started_at, comparison_name(result))
            self._log_params(run_id, params(config))
            found = {**comparison_tags(result), _NOTE: f"**{result.verdict.value}**: {result.reason}"}
            client.log_batch(run_id, metrics=_comparison_metrics(result), tags=_run_tags(found))
            self._log_files(run_id, files)
            client.set_terminated(run_id, status="FINISHED", end_time=_ms(result.ended_at))
            return run_id

    def fetch_cell(self, experiment: str, *, campaign: str, cell_id: str, folder: Path) -> CellResult | None:
        """What was published of a cell, and its files below `folder`; None where nothing was, or what is there was not
        written by this version."""
        with self._publishing(f"give the cell {cell_id}"):
            client = self._open()
            found = client.get_experiment_by_name(experiment)
            query = f"tags.`dyno.kind` = 'cell' and tags.`dyno.cell_id` = '{cell_id}' and tags.`dyno.campaign` = "
            runs = client.search_runs([found.experiment_id], f"{query}'{campaign}'", max_results=1) if found else []
            if not runs:
                return None
            run_id = str(runs[0].info.run_id)
            folder.mkdir(parents=True, exist_ok=True)
            for artifact in client.list_artifacts(run_id):
                client.download_artifacts(run_id, artifact.path, str(folder))
        return _fetched(folder / "cell.json", run_id)

    def measured_versions(self, experiment: str, engine: str) -> frozenset[str]:
        """The releases of an engine of which a cell of the experiment was measured, on whatever host."""
        with self._publishing("say what was measured"):
            client = self._open()
            found = client.get_experiment_by_name(experiment)
            query = f"tags.`dyno.kind` = 'cell' and tags.`dyno.state` = 'measured' and tags.engine = '{engine}'"
            runs = client.search_runs([found.experiment_id], query, max_results=1000) if found else []
        return frozenset(str(run.data.tags["engine_version"]) for run in runs)

    def known_comparison(
        self, experiment: str, *, engine: str, from_version: str, to_version: str
    ) -> ComparisonResult | None:
        """The latest verdict that any host has published of these two releases; None where there is none, or this
        version cannot read it."""
        with self._publishing("say what was compared"):
            client = self._open()
            found = client.get_experiment_by_name(experiment)
            wanted = {"dyno.kind": "comparison", "engine": engine, "from": from_version, "to": to_version}
            query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in wanted.items())
            query += f" and tags.verdict != '{ChangeVerdict.VOID.value}'"
            newest = ["attributes.start_time DESC"]
            runs = client.search_runs([found.experiment_id], query, max_results=1, order_by=newest) if found else []
            if not runs:
                return None
            run_id = str(runs[0].info.run_id)
            with tempfile.TemporaryDirectory(prefix="dyno-comparison-") as folder:
                client.download_artifacts(run_id, "comparison.json", folder)
                return _fetched_comparison(Path(folder) / "comparison.json", run_id)

    def tag_run(self, run_id: str, values: Mapping[str, str]) -> None:
        """Adds what became known later, such as prefect.flow_run_id."""
        with self._publishing("tag a run"):
            for name, value in values.items():
                self._open().set_tag(run_id, name, value)

    def add_files(self, run_id: str, files: Mapping[str, Path]) -> None:
        """Artifacts (name, file or folder) beside those that a run has. Raises PublishError."""
        with self._publishing("take files"):
            self._log_files(run_id, files)

    def sweep_dead_invocations(self) -> list[str]:
        """Ends as KILLED the runs that a dead process left RUNNING; their ids."""
        with self._publishing("end the runs of dead processes"):
            client = self._open()
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            running = client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000)
            dead = [run.info.run_id for run in running if _is_dead(run.data.tags)]
            for run_id in dead:
                client.set_terminated(run_id, status="KILLED", end_time=_now_ms())
            return dead

    def run_url(self, run_id: str) -> str:
        """Where a browser finds the run on an MLflow server; "" where the store is a file."""
        if not self.uri.startswith("http"):
            return ""
        with self._publishing("find a run"):
            experiment_id = self._open().get_run(run_id).info.experiment_id
        return f"{without_password(self.uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"

    def _open(self) -> "MlflowClient":
        """MLflow's import costs seconds: it waits until something is published."""
        if self._client is None:
            for name, value in SETTINGS.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            # Each of its retries would be a line; that they failed is said once.
            logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
            with self._locked():  # two processes that create or migrate one SQLite file at once would break it
                self._client = MlflowClient(tracking_uri=self.uri)
                self._client.search_experiments(max_results=1)
        return self._client

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "mlflow.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _publishing(self, what: str) -> Iterator[None]:
        """MLflow, SQLAlchemy and the file system fail each in its own way: a person meets one error."""
        try:
            yield
        except _store_errors() as error:
            raise PublishError(
                f"the tracking store {without_password(self.uri)} did not {what}: {_first_line(error)}. The results "
                "are on disk: check MLFLOW_TRACKING_URI and that the store can be reached and written, then run the "
                "same command again"
            ) from error

    def _experiment_id(self, name: str) -> str:
        client = self._open()
        with self._locked():
            found = client.get_experiment_by_name(name)
            if found is None:
                return str(client.create_experiment(name, artifact_location=self._artifact_location(name)))
        if found.lifecycle_stage == "deleted":
            raise PublishError(
                f"the experiment {name} was deleted in MLflow: bring it back with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`, or give the experiment file another name"
            )
        return str(found.experiment_id)

    def _artifact_location(self, experiment: str) -> str | None:
        """A server chooses for itself; beside an SQLite file, MLflow would take the folder one happens to be in."""
        if not self.uri.startswith("sqlite"):
            return None
        return (self.folder / "mlartifacts" / experiment).absolute().as_uri()

    def _find_or_create(
        self, experiment_id: str, identity: Mapping[str, str], parent: str, name: str, cell: CellResult
    ) -> str:
        return self._run_of(experiment_id, identity, cell.started_at, name, {_PARENT: parent} if parent else {})

    def _run_of(
        self,
        experiment_id: str,
        identity: Mapping[str, str],
        started_at: str,
        name: str,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """The run that bears these tags: found, or made."""
        client = self._open()
        query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in identity.items())
        found = client.search_runs([experiment_id], query, max_results=1)
        if found:
            return str(found[0].info.run_id)
        known = {**identity, _OWNER: str(Owner.this_process()), **more}
        run = client.create_run(experiment_id, start_time=_ms(started_at), tags=known, run_name=name)
        return str(run.info.run_id)

    def _has_later(self, run_id: str, cell: CellResult) -> bool:
        known = self._open().get_run(run_id).data.tags.get("dyno.ended_at", "")
        return bool(known and cell.ended_at) and datetime.fromisoformat(known) > datetime.fromisoformat(cell.ended_at)

    def _publish(self, run_id: str, cell: CellResult, files: Mapping[str, Path], extra_tags: Mapping[str, str]) -> None:
        client = self._open()
        self._log_params(run_id, comparable_params(cell))
        found = {**tags(cell), **extra_tags, _NOTE: cell_description(cell)}
        client.log_batch(run_id, metrics=_metrics(cell), tags=_run_tags(found))
        client.log_dict(run_id, _json(redacted(cell_config(cell))), "config.json")
        client.log_dict(run_id, _json(redacted(cell.provenance)), "environment.json")
        client.log_dict(run_id, _json(redacted(cell.model_dump(mode="json"))), "cell.json")
        self._log_files(run_id, files)
        client.set_terminated(run_id, status=run_status(cell.state), end_time=_ms(cell.ended_at))

    def _log_params(self, run_id: str, values: Mapping[str, str]) -> None:
        """Params cannot change: what is there stays, the JSON artifact is the newest."""
        from mlflow.entities import Param

        there = self._open().get_run(run_id).data.params
        new = [Param(name, value) for name, value in values.items() if name not in there]
        self._open().log_batch(run_id, params=new)

    def _log_input(self, run_ids: Sequence[str], cell: CellResult) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        told = workload_input(cell)
        dataset = Dataset(told.name, told.digest, told.source_type, told.source, profile=told.profile)
        with self._locked():  # a dataset that two processes log at once would be there twice
            for run_id in run_ids:
                self._open().log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXT)])])

    def _log_series(self, run_id: str, series: Series) -> None:
        from mlflow.entities import Metric

        found = [
            Metric(_key(name), value, at_ms, step)
            for name, samples in series.items()
            for step, (at_ms, value) in enumerate(samples)
        ]
        self._open().log_batch(run_id, metrics=found)

    def _log_files(self, run_id: str, files: Mapping[str, Path]) -> None:
        for artifact, local in files.items():
            for path in sorted(local.rglob("*")) if local.is_dir() else [local]:
                if path.is_file() and path.suffix != ".partial":
                    at = Path(artifact) / path.relative_to(local) if local.is_dir() else Path(artifact)
                    self._log_file(run_id, path, at)

    def _log_file(self, run_id: str, path: Path, at: Path) -> None:
        """JSON and logs are text that may quote a secret; anything else goes as it is."""
        client = self._open()
        if path.suffix in (".json", ".log", ".txt", ".html"):
            client.log_text(run_id, _text(path), at.as_posix())
        elif path.name == at.name:
            client.log_artifact(run_id, str(path), at.parent.as_posix() if at.parent != Path() else None)
        else:
            raise PublishError(f"the artifact {at} must have the name of its file, {path.name}")


def _fetched(file: Path, run_id: str) -> CellResult | None:
    try:
        return CellResult.model_validate_json(file.read_bytes()).model_copy(update={"mlflow_run_id": run_id})
    except (OSError, ValidationError):
        return None


def _fetched_comparison(file: Path, run_id: str) -> ComparisonResult | None:
    try:
        result = ComparisonResult.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return result.model_copy(update={"mlflow_run_id": run_id})


@dataclass(frozen=True, slots=True)
class _At:
    ms: int
    step: int


def _metrics(cell: CellResult) -> "list[Metric]":
    """Each point at its start and, over all launches, its step; headlines without one. Fixed times make publishing
    repeatable."""
    from mlflow.entities import Metric

    whole = {**cell.headlines, **between_metrics(cell), **cost_metrics(cell), **checkpoint_metrics(cell)}
    whole |= {**quality_metrics(cell), **cold_start_metrics(cell)}
    found = [(name, value, _At(_ms(cell.ended_at), 0)) for name, value in whole.items()]
    for step, point in enumerate(cell.points):
        at = _At(_ms(point.started_at), step)
        found += [(name, value, at) for name, value in point_metrics(point).items()]
    found += [(name, value, _At(_ms(cell.ended_at), 0)) for name, value in build_metrics(cell).items()]
    found += [(f"stage_s/{stage}", seconds, _At(_ms(cell.ended_at), 0)) for stage, seconds in cell.stages_s.items()]
    return [Metric(_key(name), value, at.ms, at.step) for name, value, at in found]


def _comparison_metrics(result: ComparisonResult) -> "list[Metric]":
    from mlflow.entities import Metric

    at = _ms(result.ended_at)
    return [Metric(_key(name), value, at, 0) for name, value in comparison_metrics(result).items()]


def _run_tags(values: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in values.items()]


def _key(name: str) -> str:
    """Letters, digits and _ - . space / are what a metric's name may have."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _store_errors() -> tuple[type[Exception], ...]:
    """Asked only when something was raised: until then nothing of it need be imported."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def _text(path: Path) -> str:
    """JSON without its secrets by name as well as by form; of a long log the end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_LIMIT_BYTES))
        text = file.read().decode(errors="replace")
    if path.suffix == ".json":
        with contextlib.suppress(ValueError):
            return json.dumps(redacted(json.loads(text)), indent=1, ensure_ascii=False)
    return str(redacted(text))


def _is_dead(found: Mapping[str, str]) -> bool:
    owner = Owner.read(found.get(_OWNER, ""))
    return owner is not None and owner.is_dead()


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _ms(text: str) -> int:
    """Milliseconds since 1970 of an ISO date; the epoch itself where a result has no date."""
    return int(datetime.fromisoformat(text).timestamp() * 1000) if text else 0


def _json(value: object) -> Any:
    return json.loads(json.dumps(value, default=str))


def _first_line(error: Exception) -> str:
    return str(redacted((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")))
