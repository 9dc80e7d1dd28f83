"""A person's own prices: a YAML file of hardware and US dollars an hour for the whole of it, named by DYNO_PRICES."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from experiments.errors import InputError, Problem
from experiments.schema.hardware import Hardware
from experiments.schema.read import catalog, nearest

VARIABLE = "DYNO_PRICES"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars an hour for the whole of the hardware; `low` and `high` are equal where one price is known."""

    low: float
    high: float
    source: str


def price_of(hardware: Hardware, prices: Mapping[str, float]) -> Price | None:
    """The person's own price stands above the catalog's, which is a range that was found on a date."""
    if hardware.name in prices:
        own = prices[hardware.name]
        return Price(own, own, "given")
    found = hardware.usd_per_hour
    return Price(found.low, found.high, f"{found.source}, {found.dated}") if found else None


def read_prices(path: Path) -> dict[str, float]:
    """`{h100-sxm: 2.49, cpu: 0.20}`. Raises InputError with all problems of the file."""
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(body, dict):
        raise InputError(f"{path}: is not a mapping of hardware to US dollars an hour, such as {{h100-sxm: 2.49}}")
    known = catalog("hardware")
    problems = [found for name, value in body.items() if (found := _problem(path, name, value, known))]
    if problems:
        raise InputError(problems=tuple(problems))
    return {str(name): float(value) for name, value in body.items()}


def own_prices(environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Of the file that DYNO_PRICES names; none where it names none. Raises InputError."""
    named = (os.environ if environment is None else environment).get(VARIABLE)
    return read_prices(Path(named).expanduser()) if named else {}


def _problem(path: Path, name: object, value: object, known: Mapping[str, object]) -> Problem | None:
    if not isinstance(name, str) or name not in known:
        return Problem(str(path), str(name), f"unknown hardware.{nearest(str(name), known)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        return Problem(str(path), name, f"{value!r} is no price: give US dollars an hour, such as 2.49")
    return None
