"""`dyno profile CELL`: a profiler's trace of a few requests, to open in Perfetto."""

from typing import Annotated, Any

import typer

from flows.terminal import Json, logs_shown, print_json

VIEWER = "ui.perfetto.dev, or chrome://tracing"


def profile(
    cell: Annotated[str, typer.Argument(help="a cell's id, or the first letters of it", metavar="CELL")],
    requests: Annotated[int, typer.Option(min=1, max=1000, help="how many, one after the other")] = 4,
    as_json: Json = False,
) -> None:
    """Traces a few requests of a cell on a launch of its own, with the engine's own profiler; the trace opens in
    Perfetto. Nothing is measured: tracing costs time."""
    with logs_shown():
        body = profile_cell(cell, requests)
    if as_json:
        print_json(body)
        return
    for trace in body["traces"]:
        print(f"{trace['file']}  {trace['bytes'] / 1e6:.1f} MB, {trace['events']} events")
    print(
        f"open them in {VIEWER}" + (f"; also in MLflow's run {body['mlflow_run_id']}" if body["mlflow_run_id"] else "")
    )


def profile_cell(cell_id: str, requests: int) -> dict[str, Any]:
    """What was traced, as JSON. Raises InputError for a cell that is not there, or an engine without a profiler."""
    from flows.launch_command import find_cell
    from flows.local_api import quiet_environment
    from tasks.campaigns.home import measuring_alone, open_home

    found = find_cell(cell_id)
    home = open_home().make()
    quiet_environment(home)
    from tasks import profile as stage

    stage.profiler_of(found.variant)
    with measuring_alone(home, stage.log.info):
        folder = stage.new_folder(found.campaign.cell_folder(found.cell_id))
        profiled = stage.profile(found.variant, found.workload, folder, home, requests=requests)
    run_id = stage.publish_profile(profiled, found.result, home)
    traces = [
        {"file": str(trace.file), "bytes": trace.bytes, "events": trace.events, "format": "chrome"}
        for trace in profiled.traces
    ]
    body = {"cell_id": found.cell_id, "requests": requests, "folder": str(folder), "traces": traces}
    return {**body, "mlflow_run_id": run_id, "opens_in": VIEWER}
