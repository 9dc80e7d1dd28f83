"""Stand-ins, programs in the place of engines: said aloud by every command, and refused by those that judge engines."""

from experiments.errors import InputError
from flows.terminal import note
from tasks.campaigns.home import stand_ins

TAKE_THEM = frozenset({"validate", "plan", "run", "retry", "command", "ui", "store", "engines", "images"})


def announce_stand_ins(command: str) -> None:
    """Nothing where engines run. Raises InputError for a command whose result would be taken for an engine's."""
    folder = stand_ins()
    if folder is None:
        return
    if command not in TAKE_THEM:
        raise InputError(
            f"dyno {command} is for engines, and DYNO_STAND_INS={folder} puts stand-ins in their place: unset it"
        )
    note(f"STAND-INS run in the place of engines ({folder}): no figure that follows is a measurement")
