"""Lanes are lent in turn."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.lanes import Lanes, yield_to_loop

pytestmark = pytest.mark.anyio


async def test_an_ask_is_granted_in_a_later_turn() -> None:
    lanes = Lanes(1)
    granted: list[str] = []
    lanes.ask(lambda: granted.append("a"))
    assert granted == []
    await asyncio.sleep(0)
    assert granted == ["a"]
    lanes.close()


async def test_no_more_are_granted_than_there_are() -> None:
    lanes = Lanes(2)
    granted: list[int] = []
    for number in range(5):
        lanes.ask(lambda number=number: granted.append(number))
    await asyncio.sleep(0)
    assert granted == [0, 1]
    assert lanes.idle == 0
    lanes.release()
    await asyncio.sleep(0)
    assert granted == [0, 1, 2]
    for _ in range(4):
        lanes.release()
    await asyncio.sleep(0)
    assert granted == [0, 1, 2, 3, 4]
    assert lanes.idle == 2
    lanes.close()


async def test_those_who_ask_again_wait_behind_the_others() -> None:
    lanes = Lanes(1)
    order: list[str] = []
    done = asyncio.Event()

    def want(name: str, times: int) -> None:
        def start() -> None:
            order.append(name)
            if times > 1:
                want(name, times - 1)
            elif len(order) == 6:
                done.set()
            lanes.release()

        lanes.ask(start)

    want("a", 3)
    want("b", 3)
    await asyncio.wait_for(done.wait(), 10)
    assert order == ["a", "b"] * 3
    assert lanes.idle == 1
    lanes.close()


async def on_lane(lanes: Lanes, work: Callable[[], Any]) -> Any:
    """Run and wait."""
    future = asyncio.get_running_loop().create_future()

    def done(result: Any, error: BaseException | None) -> None:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    lanes.run(work, done)
    return await future


async def test_work_runs_on_a_lane_and_its_error_comes_back() -> None:
    lanes = Lanes(1)
    name = await on_lane(lanes, lambda: threading.current_thread().name)
    assert name.startswith("lane")
    with pytest.raises(ZeroDivisionError):
        await on_lane(lanes, lambda: 1 // 0)
    assert await on_lane(lanes, lambda: "still there") == "still there"
    lanes.close()


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
async def test_the_loop_goes_before_the_lanes() -> None:
    loops = niceness()
    assert loops < 19, "nothing can be nicer than this test already is"
    lanes = Lanes(1)
    assert await on_lane(lanes, niceness) == min(19, loops + 5)
    assert niceness() == loops
    lanes.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
async def test_what_may_not_be_nicer_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    with ThreadPoolExecutor(1, initializer=yield_to_loop) as threads:
        assert threads.submit(niceness).result() == niceness()


async def test_lanes_work_at_the_same_time() -> None:
    lanes = Lanes(2)
    meeting = threading.Barrier(2, timeout=10)
    await asyncio.gather(*(on_lane(lanes, meeting.wait) for _ in range(2)))
    lanes.close()


async def test_close_waits_for_running_work() -> None:
    lanes = Lanes(1)
    begun, finish = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        finish.wait(10)
        return "done"

    running = asyncio.ensure_future(on_lane(lanes, work))
    await asyncio.to_thread(begun.wait, 10)
    closing = asyncio.ensure_future(asyncio.to_thread(lanes.close))
    await asyncio.sleep(0.01)
    assert not closing.done()
    finish.set()
    await closing
    assert await running == "done"
