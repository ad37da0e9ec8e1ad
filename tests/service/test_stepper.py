"""Continuous batching against a loop that steps one sequence at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

import pytest

from service.cache import Cache
from service.errors import NotReadyError, OverloadedError, TooLargeError
from service.metrics import ModelMetrics
from service.sequences import Prompt, Stream
from service.stepper import Stepper
from tests.service.recurrent import (
    POISON,
    SIMPLE,
    STATE,
    VOCABULARY,
    Graph,
    Turnstile,
    Written,
    draw_prompt,
    never_poisonous,
    write_alone,
)

pytestmark = pytest.mark.anyio


async def collect(stream: Stream) -> Written:
    tokens = [one async for batch in stream for one in batch]
    return Written(tokens, stream.finish_reason, stream.scored)


Make = Callable[..., tuple[Graph, Stepper]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Graph, Stepper]] = []

    def build(
        *, batch: int = 64, queue: int = 1024, interval_s: float = 0.0, cache_bytes: int = 0
    ) -> tuple[Graph, Stepper]:
        graph = Graph()
        stepper = Stepper(
            graph,
            state_width=STATE,
            vocabulary=VOCABULARY,
            metrics=ModelMetrics("test"),
            max_batch_rows=batch,
            max_queue_rows=queue,
            stream_interval_s=interval_s,
            cache=Cache(cache_bytes),
            digest="graph",
        )
        made.append((graph, stepper))
        return graph, stepper

    yield build
    for graph, stepper in made:
        graph.gate.set()
        stepper.close()


async def test_alone_a_sequence_is_that_of_the_plain_loop(make: Make) -> None:
    _, stepper = make()
    rng = random.Random(0)
    for _ in range(40):
        prompt = draw_prompt(rng)
        assert await collect(stepper.submit(prompt)) == write_alone(prompt)


@pytest.mark.parametrize("batch", [1, 3, 64])
async def test_in_company_every_sequence_is_that_of_the_plain_loop(make: Make, batch: int) -> None:
    graph, stepper = make(batch=batch)
    rng = random.Random(batch)
    prompts = [draw_prompt(rng) for _ in range(80)]
    tasks = []
    for prompt in prompts:
        tasks.append(asyncio.ensure_future(collect(stepper.submit(prompt))))
        if rng.random() < 0.2:
            await asyncio.sleep(0.002)
    found = await asyncio.wait_for(asyncio.gather(*tasks), 60)
    assert found == [write_alone(prompt) for prompt in prompts]
    assert max(rows for rows, _ in graph.shapes) <= batch
    assert stepper.queued_rows == 0


async def test_sequences_are_stepped_together(make: Make) -> None:
    graph, stepper = make()
    graph.gate.clear()
    streams = [stepper.submit(replace(SIMPLE, row=row)) for row in range(10)]
    graph.gate.set()
    await asyncio.gather(*map(collect, streams))
    assert max(rows for rows, _ in graph.shapes) >= 9
    assert len(graph.shapes) < 60


async def test_a_newcomer_joins_the_running_batch(make: Make) -> None:
    graph, stepper = make()
    turnstile = graph.gate = Turnstile()
    first = stepper.submit(replace(SIMPLE, max_tokens=3000, stream=True))
    for _ in SIMPLE.tokens:
        turnstile.admit()
    await asyncio.wait_for(anext(first), 30)
    newcomer = stepper.submit(SIMPLE)
    # One step that is under way, the newcomer's prompt, and a step for each of its tokens.
    for _ in range(1 + len(SIMPLE.tokens) + SIMPLE.max_tokens):
        turnstile.admit()
    second = await asyncio.wait_for(collect(newcomer), 30)
    assert second == write_alone(SIMPLE)
    assert first.finish_reason is None
    assert any(rows == 2 for rows, _ in graph.shapes)
    first.cancel()


async def test_where_more_wait_than_may_join_they_join_together(make: Make) -> None:
    graph, stepper = make(batch=16)
    graph.gate.clear()
    prompt = replace(SIMPLE, tokens=(1, 2))
    # Texts end one by one; those that wait could be read one by one.
    streams = [stepper.submit(replace(prompt, row=row, max_tokens=20 + row)) for row in range(80)]
    graph.gate.set()
    found = await asyncio.wait_for(asyncio.gather(*map(collect, streams)), 60)
    read = [rows for rows, length in graph.shapes if length == 2]
    assert sum(read) == 80
    assert len(read) <= 2 + (80 - 16) / 2
    assert found == [write_alone(stream.prompt) for stream in streams]


async def test_nobody_waits_long_for_company(make: Make) -> None:
    graph, stepper = make(batch=32)
    graph.gate.clear()
    prompt = replace(SIMPLE, tokens=(1, 2), max_tokens=4)
    long = [stepper.submit(replace(prompt, row=row, max_tokens=3000)) for row in range(31)]
    brief = [stepper.submit(replace(prompt, row=row)) for row in range(31, 36)]
    graph.gate.set()
    await asyncio.wait_for(asyncio.gather(*map(collect, brief)), 60)
    for stream in long:
        stream.cancel()
    runs = [(shape == (31, 1), len(list(same))) for shape, same in groupby(graph.shapes)]
    waits = [steps for with_a_free_place, steps in runs[:-1] if with_a_free_place]
    assert len(waits) >= 3
    assert max(waits) <= 8


async def test_tokens_are_streamed_as_they_come(make: Make) -> None:
    graph, stepper = make()
    turnstile = graph.gate = Turnstile()
    prompt = replace(SIMPLE, max_tokens=30, stream=True)
    stream = stepper.submit(prompt)
    turnstile.admit()  # three tokens are read as two and one
    batches = []
    for _ in range(prompt.max_tokens):
        turnstile.admit()
        batches.append(await asyncio.wait_for(anext(stream), 30))
    # No step began before the token of the one before it was in the client's hands.
    assert [len(batch) for batch in batches] == [1] * prompt.max_tokens
    assert [one for batch in batches for one in batch] == write_alone(prompt).tokens
    assert stream.finish_reason == "length"


async def test_without_streaming_all_tokens_come_at_once(make: Make) -> None:
    _, stepper = make()
    batches = [batch async for batch in stepper.submit(SIMPLE)]
    assert [len(batch) for batch in batches] == [SIMPLE.max_tokens]


async def test_no_tokens_asked_for_reads_the_prompt_alone(make: Make) -> None:
    graph, stepper = make()
    prompt = replace(SIMPLE, max_tokens=0, score_prompt=True, top_logprobs=2)
    written = await collect(stepper.submit(prompt))
    assert written.tokens == []
    assert written.finish == "length"
    assert [one.index for one in written.scored] == [1, 2, 3]
    assert written.scored[0].logprob is None
    assert written.scored[1].logprob is not None
    assert sum(rows * length for rows, length in graph.shapes) == 3


async def test_a_stop_ends_the_text_and_is_part_of_it(make: Make) -> None:
    _, stepper = make()
    free = [one.index for one in write_alone(SIMPLE).tokens]
    stop = tuple(free[5:7])
    written = await collect(stepper.submit(replace(SIMPLE, stops=(stop,))))
    found = [one.index for one in written.tokens]
    assert written.finish == "stop"
    assert found == free[: len(found)]
    assert tuple(found[-2:]) == stop


async def test_the_last_token_can_be_the_stop(make: Make) -> None:
    _, stepper = make()
    free = [one.index for one in write_alone(SIMPLE).tokens]
    stop = (free[0],)
    written = await collect(stepper.submit(replace(SIMPLE, max_tokens=1, stops=(stop,))))
    assert written.finish == "stop"


async def test_a_cancelled_sequence_leaves_its_place(make: Make) -> None:
    graph, stepper = make(batch=1)
    endless = stepper.submit(replace(SIMPLE, max_tokens=20_000, stream=True))
    await anext(aiter(endless))
    waiting = asyncio.ensure_future(collect(stepper.submit(SIMPLE)))
    endless.cancel()
    assert await asyncio.wait_for(waiting, 30) == write_alone(SIMPLE)
    steps = len(graph.shapes)
    await asyncio.sleep(0.02)
    assert len(graph.shapes) == steps


async def test_cancelled_while_waiting_a_sequence_leaves_the_queue(make: Make) -> None:
    """Clients that went away must not keep others out while the batch is full."""
    _, stepper = make(batch=1, queue=3)
    endless = stepper.submit(replace(SIMPLE, max_tokens=20_000, stream=True))
    running = aiter(endless)
    await anext(running)
    waiting = [stepper.submit(SIMPLE) for _ in range(3)]
    with pytest.raises(OverloadedError):
        stepper.admit(1)
    for stream in waiting:
        stream.cancel()
    for _ in range(1000):
        if stepper.queued_rows == 0:
            break
        await anext(running)
    stepper.admit(3)
    endless.cancel()


async def test_a_full_queue_refuses(make: Make) -> None:
    graph, stepper = make(batch=1, queue=2)
    graph.gate.clear()
    first = stepper.submit(SIMPLE)
    await asyncio.to_thread(graph.entered.acquire)
    waiting = [stepper.submit(SIMPLE) for _ in range(2)]
    with pytest.raises(OverloadedError, match="2 sequences are waiting; the limit is 2") as caught:
        stepper.submit(SIMPLE)
    assert caught.value.retry_after_s > 0
    with pytest.raises(TooLargeError, match="3 sequences in a request; the limit is 2"):
        stepper.admit(3)
    graph.gate.set()
    for stream in (first, *waiting):
        assert await collect(stream) == write_alone(SIMPLE)
    stepper.admit(2)


async def test_an_error_fails_those_in_flight_and_no_one_after(make: Make) -> None:
    graph, stepper = make(batch=2)
    graph.armed = True
    clean = never_poisonous()
    graph.gate.clear()
    bad = [stepper.submit(replace(clean, tokens=(POISON,))) for _ in range(2)]
    after = stepper.submit(clean)
    graph.gate.set()
    for stream in bad:
        with pytest.raises(ValueError, match="poison"):
            await collect(stream)
    assert await asyncio.wait_for(collect(after), 30) == write_alone(clean)
    assert await asyncio.wait_for(collect(stepper.submit(clean)), 30) == write_alone(clean)
    assert stepper.queued_rows == 0


async def test_a_poisonous_prompt_fails_alone(make: Make) -> None:
    graph, stepper = make()
    clean = never_poisonous()
    running = stepper.submit(replace(clean, max_tokens=200, stream=True))
    begun = await anext(running)
    graph.armed = True
    graph.gate.clear()
    bad = stepper.submit(replace(clean, tokens=(POISON,)))
    beside = stepper.submit(clean)
    graph.gate.set()
    with pytest.raises(ValueError, match="poison"):
        await collect(bad)
    assert await asyncio.wait_for(collect(beside), 30) == write_alone(clean)
    rest = await asyncio.wait_for(collect(running), 30)
    assert begun + rest.tokens == write_alone(replace(clean, max_tokens=200)).tokens


async def test_a_row_that_turns_poisonous_fails_alone(make: Make) -> None:
    """Greedy text comes upon the token that an armed graph fails on; its neighbour does not."""
    graph, stepper = make()
    graph.armed = True
    clean = replace(never_poisonous(), max_tokens=100)
    turning = next(
        prompt
        for prompt in (replace(SIMPLE, seed=seed) for seed in range(100))
        if POISON in [one.index for one in write_alone(prompt).tokens[:-1]]
    )
    streams = [stepper.submit(prompt) for prompt in (clean, turning, clean)]
    with pytest.raises(ValueError, match="poison"):
        await collect(streams[1])
    for stream in (streams[0], streams[2]):
        assert await asyncio.wait_for(collect(stream), 30) == write_alone(clean)


async def test_tokens_come_together_in_an_interval(make: Make) -> None:
    """In few bundles, of which none is lost."""
    _, stepper = make(interval_s=0.05)
    prompt = replace(SIMPLE, max_tokens=300, stream=True)
    batches = [batch async for batch in stepper.submit(prompt)]
    assert len(batches) < 100
    assert [one for batch in batches for one in batch] == write_alone(prompt).tokens


async def test_close_finishes_what_was_submitted(make: Make) -> None:
    graph, stepper = make(batch=2)
    graph.gate.clear()
    streams = [stepper.submit(replace(SIMPLE, row=row)) for row in range(5)]
    closing = asyncio.ensure_future(asyncio.to_thread(stepper.close))
    graph.gate.set()
    for row, stream in enumerate(streams):
        assert await collect(stream) == write_alone(replace(SIMPLE, row=row))
    await asyncio.wait_for(closing, 30)
    with pytest.raises(NotReadyError):
        stepper.submit(SIMPLE)


async def test_nobody_is_lost_among_many_who_come_and_go(make: Make) -> None:
    _, stepper = make(batch=5, queue=100_000)
    rng = random.Random(9)

    async def client(prompt: Prompt) -> Written | None:
        stream = stepper.submit(prompt)
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.01)
            stream.cancel()
            return None
        return await collect(stream)

    prompts = [replace(draw_prompt(rng), max_tokens=rng.choice([0, 1, 5])) for _ in range(300)]
    tasks = []
    for prompt in prompts:
        tasks.append(asyncio.ensure_future(client(prompt)))
        if rng.random() < 0.1:
            await asyncio.sleep(0.001)
    answers = await asyncio.wait_for(asyncio.gather(*tasks), 60)
    kept = [(p, a) for p, a in zip(prompts, answers, strict=True) if a is not None]
    assert len(kept) > 100
    for prompt, answer in kept[::5]:
        assert answer == write_alone(prompt)


async def test_the_urgent_join_first(make: Make) -> None:
    graph, stepper = make(batch=1)
    graph.gate.clear()
    first = asyncio.ensure_future(collect(stepper.submit(SIMPLE)))
    await asyncio.to_thread(graph.entered.acquire)
    ended: list[int] = []

    async def one(number: int, priority: int) -> None:
        await collect(stepper.submit(replace(SIMPLE, row=number, priority=priority)))
        ended.append(number)

    tasks = [asyncio.ensure_future(one(*asked)) for asked in ((1, 3), (2, 2), (3, 1), (4, 2))]
    await asyncio.sleep(0)
    graph.gate.set()
    await asyncio.wait_for(asyncio.gather(first, *tasks), 30)
    assert ended == [3, 2, 4, 1]


async def test_the_same_again_comes_from_the_cache(make: Make) -> None:
    graph, stepper = make(cache_bytes=100_000)
    prompt = replace(SIMPLE, repeatable=True, top_logprobs=2, score_prompt=True)
    first = await collect(stepper.submit(prompt))
    runs = len(graph.shapes)
    assert await collect(stepper.submit(prompt)) == first
    assert await collect(stepper.submit(replace(prompt, stream=True, priority=1))) == first
    assert len(graph.shapes) == runs
    assert await collect(stepper.submit(replace(prompt, seed=6))) != first
    assert len(graph.shapes) > runs


async def test_a_sequence_that_was_cut_off_is_not_kept(make: Make) -> None:
    _, stepper = make(cache_bytes=100_000)
    prompt = replace(SIMPLE, max_tokens=500, stream=True, repeatable=True)
    begun = stepper.submit(prompt)
    await anext(begun)
    begun.cancel()
    assert await collect(stepper.submit(prompt)) == write_alone(prompt)


async def test_a_seed_of_the_services_own_is_not_kept(make: Make) -> None:
    graph, stepper = make(cache_bytes=100_000)
    await collect(stepper.submit(SIMPLE))
    runs = len(graph.shapes)
    await collect(stepper.submit(SIMPLE))
    assert len(graph.shapes) == 2 * runs
