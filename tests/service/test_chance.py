"""Seeds and identifiers tell things apart, in every worker."""

from __future__ import annotations

import os

from service.chance import fresh_id, fresh_seed, fresh_span_id


def test_fresh_seeds_are_exact_in_every_json_reader() -> None:
    seeds = [fresh_seed() for _ in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**53 and int(float(seed)) == seed for seed in seeds)
    assert max(seeds) > 2**52


def test_ids_are_hexadecimal_and_differ() -> None:
    ids = {fresh_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 32 and int(one, 16) for one in ids)
    spans = {fresh_span_id() for _ in range(1000)}
    assert len(spans) == 1000
    assert all(0 < one < 2**64 for one in spans)


def test_a_forked_worker_draws_its_own() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, fresh_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() != fresh_id()
