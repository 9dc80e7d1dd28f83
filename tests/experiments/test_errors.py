"""Errors travel: between processes whole, and a stop is found behind what hides it."""

import pickle

import pytest

from experiments.errors import SETUP_STAGES, DynoError, InputError, LaunchError, Problem, ServerDied, hidden_stop


def test_an_error_survives_being_pickled() -> None:
    error = pickle.loads(pickle.dumps(LaunchError("it did not start", log_excerpt="last words")))
    assert (type(error), str(error), error.log_excerpt, error.stage) == (
        LaunchError,
        "it did not start",
        "last words",
        "launch",
    )


def test_all_problems_stand_in_the_message() -> None:
    error = InputError(problems=(Problem("f.yaml", "a[0].b", "is wrong"), Problem("f.yaml", "", "is worse")))
    assert str(error) == "f.yaml: a[0].b: is wrong\nf.yaml: is worse"


def test_a_stop_is_found_behind_an_exception_that_was_raised_while_it_was_handled() -> None:
    def clumsy() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ValueError("clumsy") from None

    with pytest.raises(ValueError, match="clumsy") as raised:
        clumsy()
    assert isinstance(hidden_stop(raised.value), KeyboardInterrupt)


def test_an_exception_that_hides_nothing_is_no_stop() -> None:
    assert hidden_stop(ServerDied("x")) is None
    assert hidden_stop(None) is None


def test_a_stage_that_fails_exits_as_the_error_of_that_stage_does() -> None:
    errors = [kind for kind in _below(DynoError) if kind.stage]
    assert {kind.stage for kind in errors} >= {"download", "pull", "launch", "load sweep"}
    assert {kind.stage for kind in errors if kind.exit_code == 3} - {"publish"} <= SETUP_STAGES
    assert not {kind.stage for kind in errors if kind.exit_code == 4} & SETUP_STAGES


def _below(kind: type[DynoError]) -> list[type[DynoError]]:
    return [one for child in kind.__subclasses__() for one in (child, *_below(child))]
