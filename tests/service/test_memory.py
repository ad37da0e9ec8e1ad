"""What is left alone after the start is not lost, and what is dropped later is still collected."""

from __future__ import annotations

import gc
import weakref

from service import memory


class Node:
    other: object


def test_cycles_made_later_are_still_collected() -> None:
    memory.bound_arenas()
    try:
        memory.settle()
        assert gc.get_freeze_count() > 0
        one, two = Node(), Node()
        one.other, two.other = two, one
        gone = weakref.ref(one)
        del one, two
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()
