"""One-shot batches: who goes with whom, who waits, who is refused, and that nobody is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from service.answer import Answer
from service.batcher import Batcher
from service.errors import DeadlineExceededError, OverloadedError, TooLargeError
from service.metrics import ModelMetrics
from tests.service.held import POISON, Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make
    for one in made:
        one.graph.gate.set()
        one.lanes.close()


Make = Callable[..., Bench]


async def settled() -> None:
    """Let what is ready on the loop run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def doubles(task: Awaitable[Answer]) -> list[int]:
    found: list[int] = (await task).outputs["double"][:, 0].tolist()
    return found


async def test_requests_of_one_turn_go_together(bench: Make) -> None:
    one = bench()
    tasks = [one.send(number) for number in range(5)]
    assert [await doubles(task) for task in tasks] == [[0], [2], [4], [6], [8]]
    assert one.graph.runs == [[0, 1, 2, 3, 4]]


async def test_what_waits_while_a_batch_runs_makes_the_next(bench: Make) -> None:
    one = bench()
    first = await one.hold(1)
    later = []
    for number in (2, 3, 4):
        later.append(one.send(number))
        await settled()
    assert one.batcher.queued_rows == 3
    one.graph.gate.set()
    assert [await doubles(task) for task in (first, *later)] == [[2], [4], [6], [8]]
    assert one.graph.runs == [[1], [2, 3, 4]]
    assert one.batcher.queued_rows == 0


async def test_idle_lanes_share_what_is_waiting(bench: Make) -> None:
    one = bench(lanes=4, batch=64)
    one.graph.gate.clear()
    tasks = [one.send(number) for number in range(8)]
    for _ in range(4):
        await one.graph.until_running()
    one.graph.gate.set()
    await asyncio.gather(*tasks)
    assert sorted(map(len, one.graph.runs)) == [2, 2, 2, 2]


async def test_a_request_larger_than_a_batch_is_split_and_rejoined(bench: Make) -> None:
    one = bench(batch=4)
    assert await doubles(one.send(*range(11))) == [2 * number for number in range(11)]
    assert list(map(len, one.graph.runs)) == [4, 4, 3]


async def test_parts_that_end_out_of_order_are_rejoined_in_order(bench: Make) -> None:
    one = bench(lanes=3, batch=4, queue=256)
    big = [one.send(*range(start, start + 50)) for start in (0, 100, 200)]
    assert [await doubles(task) for task in big] == [
        [2 * number for number in range(start, start + 50)] for start in (0, 100, 200)
    ]


async def test_a_large_request_leaves_the_small_ones_their_share(bench: Make) -> None:
    one = bench(batch=8)
    first = await one.hold(0)
    large = one.send(*range(100, 130))
    await settled()
    small = [one.send(number) for number in (1, 2, 3)]
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, large, *small)
    second = one.graph.runs[1]
    assert {1, 2, 3} <= set(second)
    assert len(second) == 8
    assert await doubles(large) == [2 * number for number in range(100, 130)]


async def test_more_requests_than_a_batch_holds_go_in_order_of_arrival(bench: Make) -> None:
    one = bench(batch=2)
    first = await one.hold(0)
    later = [one.send(number) for number in range(1, 6)]
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, *later)
    assert one.graph.runs == [[0], [1, 2], [3, 4], [5]]


async def test_a_full_queue_refuses_before_any_work(bench: Make) -> None:
    one = bench(queue=4)
    first = await one.hold(0)
    waiting = one.send(1, 2, 3)
    await settled()
    with pytest.raises(OverloadedError, match="3 rows are waiting; the limit is 4") as caught:
        await one.send(4, 5)
    assert caught.value.retry_after_s > 0
    with pytest.raises(OverloadedError):
        one.batcher.admit(2)
    one.batcher.admit(1)
    with pytest.raises(TooLargeError, match="5 rows in a request; the limit is 4"):
        await one.send(*range(5))
    one.graph.gate.set()
    await asyncio.gather(first, waiting)
    one.batcher.admit(4)
    assert [4, 5] not in one.graph.runs


async def test_retry_after_is_estimated_from_the_rate(bench: Make) -> None:
    one = bench(queue=10)
    await asyncio.gather(*(one.send(number) for number in range(8)))
    first = await one.hold(0)
    waiting = one.send(*range(10))
    await settled()
    with pytest.raises(OverloadedError) as caught:
        one.batcher.admit(1)
    assert 0 < caught.value.retry_after_s < 30
    one.graph.gate.set()
    await asyncio.gather(first, waiting)


async def test_a_wait_that_would_be_too_long_is_refused_before_any_work(bench: Make) -> None:
    """However slow the machine: a run that took a while, and so many rows behind the next."""
    one = bench(queue=1024, queue_s=0.05, batch=1)
    first = await one.hold(0)
    await asyncio.sleep(0.02)
    one.graph.gate.set()
    await first
    second = await one.hold(1)
    waiting = one.send(2, 3, 4)  # nobody waits before them: they may
    await settled()
    with pytest.raises(OverloadedError, match=r"4 rows are ahead.*the limit is 0\.05 s"):
        one.batcher.admit(1)
    with pytest.raises(OverloadedError, match=r"the limit is 0\.05 s"):
        await one.send(9)
    decoded = asyncio.ensure_future(
        one.batcher.submit({"x": np.array([[10]])}, ["double"], timeout_s=0, admitted=True)
    )
    await settled()
    one.graph.gate.set()
    assert await doubles(decoded) == [20]
    await asyncio.gather(second, waiting)
    one.batcher.admit(500)  # nothing waits
    assert [9] not in one.graph.runs


async def test_rows_that_are_decoded_or_encoded_take_room(bench: Make) -> None:
    one = bench(queue=4)
    with one.batcher.aside(3):
        one.batcher.admit(1)
        with pytest.raises(OverloadedError, match="3 rows are waiting; the limit is 4"):
            one.batcher.admit(2)
    one.batcher.admit(4)


async def test_a_deadline_takes_the_request_out_of_the_queue(bench: Make) -> None:
    one = bench()
    first = await one.hold(0)
    late = one.send(1, 2, timeout_s=0.02)
    other = one.send(3)
    with pytest.raises(DeadlineExceededError, match=r"0\.02 s"):
        await late
    assert one.batcher.queued_rows == 1
    one.graph.gate.set()
    await asyncio.gather(first, other)
    assert one.graph.runs == [[0], [3]]


async def test_a_deadline_answers_a_request_that_is_running(bench: Make) -> None:
    one = bench()
    with pytest.raises(DeadlineExceededError):
        one.graph.gate.clear()
        await one.send(1, timeout_s=0.02)
    one.graph.gate.set()
    assert await doubles(one.send(2)) == [4]


async def test_cancelling_takes_the_rows_out(bench: Make) -> None:
    one = bench(batch=2)
    first = await one.hold(0)
    gone, other = one.send(*range(1, 8)), one.send(9)
    await settled()
    assert one.batcher.queued_rows == 8
    gone.cancel()
    await settled()
    assert one.batcher.queued_rows == 1
    one.graph.gate.set()
    await asyncio.gather(first, other)
    assert one.graph.runs == [[0], [9]]


async def test_cancelling_halfway_stops_the_rest(bench: Make) -> None:
    one = bench(batch=2)
    big = await one.hold(*range(10))
    big.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await big
    one.graph.gate.set()
    assert await doubles(one.send(20)) == [40]
    assert one.graph.runs == [[0, 1], [20]]
    assert one.batcher.queued_rows == 0


async def test_what_was_taken_out_is_not_kept(bench: Make) -> None:
    one = bench(batch=2)
    first = await one.hold(0)
    rows = np.arange(6)[:, None]
    gone = weakref.ref(rows)
    task = asyncio.ensure_future(one.batcher.submit({"x": rows}, ["double"], timeout_s=0))
    del rows
    await settled()
    task.cancel()
    await settled()
    del task
    gc.collect()
    assert gone() is None
    one.graph.gate.set()
    await first


async def test_a_poisonous_request_fails_alone(bench: Make) -> None:
    one = bench()
    good, bad, other = one.send(1, 2), one.send(3, POISON), one.send(4)
    assert await doubles(good) == [2, 4]
    assert await doubles(other) == [8]
    with pytest.raises(ValueError, match="poison"):
        await bad
    assert one.graph.runs[0] == [1, 2, 3, POISON, 4]
    assert one.batcher.queued_rows == 0
    assert await doubles(one.send(5)) == [10]


async def test_poison_in_one_part_fails_the_whole_request_and_no_other(bench: Make) -> None:
    one = bench(batch=4)
    bad = one.send(*range(6), POISON, *range(6))
    good = [one.send(number) for number in range(50, 56)]
    with pytest.raises(ValueError, match="poison"):
        await bad
    assert [await doubles(task) for task in good] == [[2 * number] for number in range(50, 56)]
    assert one.batcher.queued_rows == 0


async def test_a_batch_computes_the_union_of_outputs_and_each_gets_its_own(bench: Make) -> None:
    one = bench()
    both = one.send(1, outputs=("double", "negative"))
    negative = one.send(2, outputs=("negative",))
    assert set((await both).outputs) == {"double", "negative"}
    assert set((await negative).outputs) == {"negative"}
    assert one.graph.wanted == [("double", "negative")]
    await one.send(3, outputs=("negative",))
    assert one.graph.wanted[-1] == ("negative",)


async def test_times_are_reported(bench: Make) -> None:
    one = bench()
    first = await one.hold(0)
    later = one.send(1)
    await asyncio.sleep(0.03)
    one.graph.gate.set()
    held, waited = await first, await later
    assert held.inference_s >= 0.02
    assert waited.queue_s >= 0.02
    assert held.queue_s < held.inference_s


async def test_two_batchers_share_lanes_in_turn(bench: Make) -> None:
    one = bench(batch=1)
    other = Batcher(
        one.graph.run, one.lanes, ModelMetrics("other"), max_batch_rows=1, max_queue_rows=64
    )
    first = await one.hold(0)
    ours = [one.send(number) for number in (1, 2, 3)]
    theirs = [
        asyncio.ensure_future(other.submit({"x": np.array([[number]])}, ["double"], timeout_s=0))
        for number in (11, 12, 13)
    ]
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, *ours, *theirs)
    assert one.graph.runs == [[0], [1], [11], [2], [12], [3], [13]]


@pytest.mark.parametrize(("seed", "lanes"), [(0, 1), (1, 2), (2, 4)])
async def test_nobody_is_lost_among_many_who_come_and_go(
    bench: Make, seed: int, lanes: int
) -> None:
    one = bench(lanes=lanes, batch=8, queue=100_000)
    rng = random.Random(seed)
    tasks: list[tuple[list[int], asyncio.Task[Answer]]] = []
    for _ in range(500):
        rows = [rng.randrange(1000) for _ in range(rng.choice([1, 1, 1, 2, 7, 8, 9, 30]))]
        if rng.random() < 0.05:
            rows[rng.randrange(len(rows))] = POISON
        timeout_s = rng.choice([0, 0, 0, 0.001, 30])
        tasks.append((rows, one.send(*rows, timeout_s=timeout_s)))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.choice([0, 0, 0.0005]))
        if rng.random() < 0.2:
            rng.choice(tasks)[1].cancel()
    answers = await asyncio.wait_for(
        asyncio.gather(*(task for _, task in tasks), return_exceptions=True), 60
    )
    answered = 0
    for (rows, _), answer in zip(tasks, answers, strict=True):
        if isinstance(answer, Answer):
            assert answer.outputs["double"][:, 0].tolist() == [2 * row for row in rows]
            answered += 1
        elif isinstance(answer, ValueError):
            assert POISON in rows
        else:
            assert isinstance(answer, DeadlineExceededError | asyncio.CancelledError)
    assert answered > 200
    assert one.batcher.queued_rows == 0
    assert await doubles(one.send(1)) == [2]
    await settled()
    assert one.lanes.idle == lanes
    assert max(map(len, one.graph.runs)) <= 8


async def test_the_urgent_go_first_and_the_patient_last(bench: Make) -> None:
    one = bench(batch=2)
    first = await one.hold(0)
    later = [
        one.send(number, priority=priority)
        for number, priority in ((1, 3), (2, 2), (3, 1), (4, 2), (5, 1))
    ]
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, *later)
    assert one.graph.runs == [[0], [3, 5], [2, 4], [1]]


async def test_the_patient_fill_what_the_urgent_leave(bench: Make) -> None:
    one = bench(batch=4)
    first = await one.hold(0)
    later = [one.send(1, 2, 3, priority=3), one.send(9, priority=1)]
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, *later)
    assert one.graph.runs == [[0], [9, 1, 2, 3]]


async def test_requests_of_other_shapes_go_in_batches_of_their_own(bench: Make) -> None:
    one = bench()
    first = await one.hold(0)
    narrow = [one.send(number) for number in (1, 2)]
    wide = [one.send(number, width=3) for number in (3, 4)]
    narrow.append(one.send(5))
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, *narrow, *wide)
    assert one.graph.runs == [[0], [1, 2, 5], [3, 4]]


async def test_the_same_again_comes_from_the_cache(bench: Make) -> None:
    one = bench(cache_bytes=10_000)
    assert await doubles(one.send(1, 2)) == [2, 4]
    assert await doubles(one.send(1, 2)) == [2, 4]
    assert one.graph.runs == [[1, 2]]
    assert await doubles(one.send(2, 1)) == [4, 2]
    negative = (await one.send(1, 2, outputs=("negative",))).outputs["negative"]
    assert negative[:, 0].tolist() == [-1, -2]
    assert len((await one.send(1, 2, width=2)).outputs["double"][0]) == 2
    assert one.graph.runs == [[1, 2], [2, 1], [1, 2], [1, 2]]


async def test_a_cached_answer_does_not_hold_its_whole_batch(bench: Make) -> None:
    one = bench(cache_bytes=10_000)
    first = await one.hold(0)
    small, large = one.send(1), one.send(*range(2, 9))
    await settled()
    one.graph.gate.set()
    await asyncio.gather(first, small, large)
    kept = (await one.send(1)).outputs["double"]
    assert kept.base is None


async def test_lone_brief_requests_run_without_a_change_of_thread(bench: Make) -> None:
    one = bench()
    for number in range(4):
        assert await doubles(one.send(number)) == [2 * number]
    assert one.graph.threads[0] != threading.get_ident()  # nothing is known of the first
    assert one.graph.threads[-1] == threading.get_ident()
    with pytest.raises(ValueError, match="poison"):
        await one.send(POISON)
    assert await doubles(one.send(7)) == [14]


async def test_a_long_run_stays_off_the_loop(bench: Make) -> None:
    one = bench()
    one.graph.gate.clear()
    for _ in range(3):
        task = one.send(1)
        await one.graph.until_running()
        asyncio.get_running_loop().call_later(0.01, one.graph.gate.set)
        await task
        one.graph.gate.clear()
    assert threading.get_ident() not in one.graph.threads
