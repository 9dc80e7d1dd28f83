"""Stage: the proof that nothing of a launch is left."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from experiments.errors import MeasurementError
from tasks.serving.lease import session_members
from tasks.serving.server import Server

log = logging.getLogger("dyno.teardown")


@task(name="teardown", cache_policy=NO_CACHE)
def teardown(server: Server) -> None:
    """Raises MeasurementError where a process of the launch survived its end."""
    if server.process is None:
        log.info("left as it was found: dyno did not start it")
        return
    container = server.process.container
    if container is not None and container.exists():
        raise MeasurementError(f"the container {container.name} is still there; remove it by hand and report this")
    session = server.process.session
    left = session_members(session) if session else []
    if left:
        raise MeasurementError(f"processes of the launch are still alive: {left}; end them by hand and report this")
    log.info("ended; no process of it is left")
