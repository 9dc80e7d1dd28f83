"""Whether the process that a run belongs to is dead."""

import subprocess
import sys
from dataclasses import replace

import pytest

from tasks.tracking.owner import Owner


def test_a_living_process_is_not_dead() -> None:
    assert not Owner.this_process().is_dead()


def test_an_owner_survives_its_text() -> None:
    assert Owner.read(str(Owner.this_process())) == Owner.this_process()


@pytest.mark.parametrize("text", ["", "x", "a:b:notanumber:1"])
def test_other_texts_are_no_owner(text: str) -> None:
    assert Owner.read(text) is None


def test_an_ended_process_is_dead() -> None:
    program = "from tasks.tracking.owner import Owner; print(Owner.this_process())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    owner = Owner.read(said)
    assert owner is not None
    assert owner.is_dead()


def test_a_later_process_of_the_same_number_is_another_one() -> None:
    assert replace(Owner.this_process(), started="1").is_dead()


def test_an_earlier_boot_is_dead_and_another_machine_unknown() -> None:
    assert replace(Owner.this_process(), boot="before").is_dead()
    assert not replace(Owner.this_process(), machine="elsewhere", boot="before", pid=1).is_dead()
