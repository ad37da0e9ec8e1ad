"""What is left alone after the start is not lost, and what is dropped later is still collected."""

from __future__ import annotations

import gc
import weakref

from service import memory


class Node:
    other: object


def test_cycles_made_later_are_still_collected() -> None:
    memory.bound_arenas()
    before = gc.get_threshold()
    try:
        memory.settle()
        assert gc.get_freeze_count() > 0
        # The collector must not go through a thousand waiting requests for each few that come.
        assert gc.get_threshold()[0] >= 100_000
        one, two = Node(), Node()
        one.other, two.other = two, one
        gone = weakref.ref(one)
        del one, two
        gc.collect()
        assert gone() is None
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
