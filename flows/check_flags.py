"""Every flag that we emit, against the real parsers of engine releases: `make check-flags`, or a deployment."""

import logging
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from engine_adapters import ADAPTERS
from experiments.errors import EXIT_MEASUREMENT, DynoError, InputError
from experiments.schema.requests import FlagsRequest
from tasks.campaigns.home import open_home
from tasks.check_flags import check_flags, check_release
from tasks.flags.report import FlagCheck, check_by_table
from tasks.flags.table import known_versions

EVERY_RELEASE = FlagsRequest()


def releases_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """`engine==version` each; none names all that have a table made of a wheel. Raises InputError."""
    engines = [name for name, adapter in ADAPTERS.items() if adapter.option_source]
    if not words:
        return [(name, version) for name in engines for version in known_versions(name)]
    found = [(name, version) for name, _, version in (word.partition("==") for word in words)]
    if wrong := [name for name, version in found if name not in engines or not version]:
        raise InputError(f"{', '.join(wrong)}: write engine==version, with one of {', '.join(engines)}")
    return found


def transcribed_releases() -> list[tuple[str, str]]:
    """Those whose parser no wheel holds: their tables are transcribed from source."""
    names = [name for name, adapter in ADAPTERS.items() if adapter.option_source is None]
    return [(name, version) for name in names for version in known_versions(name)]


def _by_tables() -> list[FlagCheck]:
    return [check_by_table(ADAPTERS[engine], version) for engine, version in transcribed_releases()]


@flow(name="check-flags", flow_run_name="check our flags against the real parsers", persist_result=False)
def check_flags_of(request: FlagsRequest = EVERY_RELEASE) -> State[Any]:
    """All of them, whatever the first one finds; the environment and the wheels are kept in the store. The state is
    failed where a parser refuses a flag.

    Args:
        request: which releases
    """
    home = open_home().make()
    folders = (home.environments, home.root / "parsers")
    found = [check_flags(engine, version, *folders) for engine, version in releases_of(request.releases)]
    found += [] if request.releases else _by_tables()
    lines = [f"- {line}" for check in found for line in lines_of(check)]
    create_markdown_artifact(key="flags", markdown="\n".join(lines), description="every flag that we emit")
    refused = [f"{check.engine} {check.version}" for check in found if check.problems]
    if refused:
        return Failed(message=f"flags are refused by {', '.join(refused)}")
    return Completed(message=f"{len(found)} releases take all of our flags")


def lines_of(check: FlagCheck) -> list[str]:
    """For people: one line where all is well."""
    problems = [f"  {changed}: {said}" for changed, said in check.problems]
    verdict = f"{len(problems)} refused" if problems else "all taken"
    head = f"{check.engine} {check.version}: {check.commands} commands with {check.options} options, {verdict}"
    return [f"{head} ({check.parser})", *problems]


def main(words: Sequence[str]) -> int:
    """Without Prefect's server: one process, one release after another."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    home, refused = open_home(), False
    parsed = (
        check_release(engine, version, environments=home.environments, wheels=home.root / "parsers")
        for engine, version in releases_of(words)
    )
    for check in chain([] if words else _by_tables(), parsed):
        print("\n".join(lines_of(check)), flush=True)
        refused |= bool(check.problems)
    return EXIT_MEASUREMENT if refused else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DynoError as error:
        print(error.message, error.log_excerpt, sep="\n", file=sys.stderr)
        sys.exit(error.exit_code)
