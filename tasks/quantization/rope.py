"""Rotary position embedding in config.json, as transformers 4 and 5 write it. Standard library only."""

from collections.abc import Mapping
from typing import Any

Rope = tuple[float | None, dict[str, Any] | None]


def rope_of(config: Mapping[str, Any]) -> Rope:
    """Base and scaling, whichever way they are written; a base of None where the config says none, or one a layer."""
    scaling, theta = config.get("rope_scaling"), config.get("rope_theta")
    parameters = config.get("rope_parameters")
    if theta is None and isinstance(parameters, Mapping) and "rope_theta" in parameters:
        theta = parameters["rope_theta"]
        scaling = {name: value for name, value in parameters.items() if name != "rope_theta"}
    if not isinstance(scaling, Mapping) or _kind(scaling) == "default":
        scaling = None
    return (None if theta is None else float(theta)), (dict(scaling) if scaling else None)


def _kind(scaling: Mapping[str, Any]) -> str:
    return str(scaling.get("rope_type", scaling.get("type", "")))
