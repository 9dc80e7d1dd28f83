"""`dyno images`: the lock of the engines' images, and its digests as their registries have them now."""

from typing import Annotated

import typer

from experiments.errors import EXIT_OK, EXIT_SETUP
from flows.terminal import Json, show

Resolve = Annotated[bool, typer.Option("--resolve", help="ask the registries what each tag stands for, and write that")]


def images(resolve: Resolve = False, as_json: Json = False) -> int:
    """Shows docker/images.lock: which content the image of each engine's release stands for. Exit code 3: a registry
    did not say."""
    from dataclasses import asdict

    from rich.table import Column, Table

    from tasks.serving.image_lock import LOCK, read_lock, resolved, write_lock
    from tasks.serving.registry import digest_of_tag

    found = read_lock()
    if resolve:
        found = resolved(found, digest_of_tag)
        write_lock(found)
    folded = (Column(title, overflow="fold") for title in ("Image", "Digest"))
    table = Table("Engine", "Version", *folded, box=None)
    for image in found:
        table.add_row(image.engine, image.version, image.reference, image.digest or f"none: {image.reason}")
    show(as_json, {"file": str(LOCK), "images": [asdict(image) for image in found]}, table)
    return EXIT_SETUP if resolve and any(image.reason for image in found) else EXIT_OK
