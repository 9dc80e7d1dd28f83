"""Stage: the image of the engine's release, for a variant that runs in a container."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from experiments.errors import PullError
from experiments.schema.variant import Variant
from tasks.serving.container_cli import find_cli
from tasks.serving.images import EngineImage, check_image_release, engine_image

log = logging.getLogger("dyno.pull")


@task(name="pull", task_run_name="pull {variant.engine} {variant.engine_version}", cache_policy=NO_CACHE)
def pull(variant: Variant) -> EngineImage:
    """The image by its digest, had from its registry where it is not here. Raises PullError where it cannot be had,
    WrongVersion where another release is in it."""
    adapter = ADAPTERS[variant.engine]
    asked = adapter.launch_spec(variant).image
    if not asked:
        raise PullError(
            f"no image of {adapter.title} {variant.engine_version} is known; runtime: environment needs none"
        )
    found = engine_image(find_cli(), asked, lambda text: log.debug("%s", text, extra={"live": text}))
    check_image_release(found, adapter.release_package, variant.engine_version)
    log.info("%s is %s", found.asked, found.digest or found.image_id)
    return found
