"""How long a new stream waits for its first character while others run.

`python -m tests.bench.newcomers` keeps `streams` endless texts running over as many connections,
and lets one newcomer after the other ask for a short one, at random moments. A newcomer's wait is
from its request to its first event; the step it is measured in is the running streams' time per
character over the same seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time

import uvloop

from tests.bench.client import Connection, Load, characters, connect

PROMPT = "ROMEO:"
NEWCOMER_CHARS = 2
LONGEST_CHARS = 4000
PAUSE_S = 0.02  # between two newcomers, at most
ALONE_S = 0.5  # of newcomers while nothing else runs
SETTLING_S = 0.5  # until all streams run


def _request(max_tokens: int, seed: int) -> bytes:
    asked = {"prompt": PROMPT, "max_tokens": max_tokens, "seed": seed, "stream": True}
    return Load("/v1/completions", "application/json", json.dumps(asked).encode(), 1, 0).request()


async def _arrivals(port: int, duration_s: float, failures: list[str]) -> list[float]:
    """Newcomers one after the other for so long: how long each waited for its first event."""
    waits_s: list[float] = []
    answered = asyncio.Event()
    draw = random.Random(0)

    def on_answer(connection: Connection) -> bool:
        if connection.answer.startswith(b"HTTP/1.1 200"):
            waits_s.append(connection.first_s - connection.sent_s)
        else:
            failures.append(connection.answer[:500].decode(errors="replace"))
        answered.set()
        return False

    end_s = time.perf_counter() + duration_s
    while time.perf_counter() < end_s:
        (newcomer,) = await connect(port, 1, _request(NEWCOMER_CHARS, len(waits_s)), on_answer)
        await asyncio.sleep(draw.uniform(0, PAUSE_S))  # at any moment of a step
        answered.clear()
        newcomer.send()
        await answered.wait()
    return waits_s


async def _drive(port: int, streams: int, duration_s: float) -> dict[str, object]:
    texts: list[tuple[float, float, bytes]] = []
    failures: list[str] = []
    stop = False

    def on_text(connection: Connection) -> bool:
        if not connection.answer.startswith(b"HTTP/1.1 200"):
            failures.append(connection.answer[:500].decode(errors="replace"))
        texts.append((connection.first_s, connection.last_s, bytes(connection.answer)))
        return not stop

    alone_s = await _arrivals(port, ALONE_S, failures)
    running = await connect(port, streams, b"", on_text)
    for index, connection in enumerate(running):
        # Not all as long as each other: they would end in the same step.
        connection.send(_request(LONGEST_CHARS - 50 * index, index))
    await asyncio.sleep(SETTLING_S)
    waits_s = await _arrivals(port, duration_s, failures)
    stop = True
    await asyncio.gather(*(connection.lost for connection in running))
    if failures:
        return {"failed": len(failures), "failure": failures[0]}
    steps_s = []
    for first_s, last_s, answer in texts:
        count = characters(answer)
        if count > 1:
            steps_s.append((last_s - first_s) / (count - 1))
    return {
        "waits_s": waits_s,
        "alone_s": statistics.median(alone_s),
        "step_s": statistics.median(steps_s),
        "failed": 0,
    }


def main() -> None:
    """Read port, streams and duration as JSON from standard input; write the result as JSON."""
    asked = json.loads(sys.stdin.buffer.readline())
    json.dump(uvloop.run(_drive(asked["port"], asked["streams"], asked["duration_s"])), sys.stdout)


if __name__ == "__main__":
    main()
