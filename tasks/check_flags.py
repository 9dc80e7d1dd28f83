"""Stage: the real parser of a release, its option table, and what it says of every command that we emit for it."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine_adapters import ADAPTERS
from tasks.flags.emitted import emitted_commands
from tasks.flags.parsers import real_parser, requirements
from tasks.flags.report import FlagCheck, check_by_parser, check_by_table
from tasks.flags.table import TABLES, write_table
from tasks.serving.environment import engine_environment

log = logging.getLogger("dyno.flags")


def check_release(engine: str, version: str, *, environments: Path, wheels: Path, tables: Path = TABLES) -> FlagCheck:
    """Writes the table of the release, and holds the same commands against it and against the parser itself: what they
    do not agree on is a problem of the table."""
    adapter = ADAPTERS[engine]
    python = engine_environment(environments, requirements(tuple(ADAPTERS.values())), log.info).python
    parser = real_parser(adapter, version, python=python, folder=wheels, say=log.info)
    log.info("%s %s: building its parser", adapter.title, version)
    write_table(parser.table(), tables)
    by_table = check_by_table(adapter, version, tables)
    commands = [one.arguments for one in emitted_commands(adapter, version)]
    log.info("%s %s: parsing %d commands", adapter.title, version, len(commands))
    found = check_by_parser(adapter, version, parser.problems(commands))
    return found if found.problems or not by_table.problems else by_table


@task(name="check flags", task_run_name="check flags {engine} {version}", cache_policy=NO_CACHE)
def check_flags(engine: str, version: str, environments: Path, wheels: Path) -> FlagCheck:
    """One release, as a stage of a flow."""
    return check_release(engine, version, environments=environments, wheels=wheels)
