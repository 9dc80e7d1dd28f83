"""`dyno images`: the lock of the engines' images, and its digests as their registries have them now."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from experiments.errors import EXIT_OK, EXIT_SETUP

Resolve = Annotated[
    bool, typer.Option("--resolve", help="ask the registries for the digest of each tag, and write them")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def images(resolve: Resolve = False, as_json: Json = False) -> int:
    """Shows docker/images.lock: which content each engine release's image tag stands for."""
    from dataclasses import asdict

    from tasks.serving.image_lock import LOCK, read_lock, resolved, write_lock
    from tasks.serving.registry import digest_of_tag

    known = read_lock()
    found = resolved(known, digest_of_tag) if resolve else known
    if resolve:
        write_lock(found)
    if as_json:
        print(json.dumps({"file": str(LOCK), "images": [asdict(image) for image in found]}, indent=1))
    else:
        table = Table("Engine", "Version", "Image", "Digest", box=None)
        for image in found:
            table.add_row(image.engine, image.version, image.reference, image.digest or f"none: {image.reason}")
        Console(highlight=False, width=None).print(table)
    return EXIT_SETUP if resolve and any(image.reason for image in found) else EXIT_OK
