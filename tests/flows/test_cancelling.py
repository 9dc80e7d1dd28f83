"""A run ends itself where it is cancelled and nobody else ends it."""

import threading

from flows.cancelling import watch


def watched(answers: list[bool], over: threading.Event, *, grace_s: float = 0.0) -> tuple[int, list[bool]]:
    """How often it was ended, and the answers that were not asked for."""
    ends: list[None] = []
    left = list(answers)

    def is_cancelled() -> bool:
        if len(left) == 1:
            over.set()
        return left.pop(0)

    watch(is_cancelled, lambda: ends.append(None), over, every_s=0.001, grace_s=grace_s)
    return len(ends), left


def test_a_run_that_is_to_be_cancelled_ends_once() -> None:
    assert watched([False, False, True, True, False], threading.Event()) == (1, [True, False])


def test_a_run_that_nobody_cancels_goes_on_until_it_is_over() -> None:
    assert watched([False, False, False], threading.Event()) == (0, [])


def test_a_run_that_its_worker_ends_in_time_is_left_to_it() -> None:
    over = threading.Event()
    threading.Timer(0.05, over.set).start()
    assert watched([True, False], over, grace_s=60.0) == (0, [False])
