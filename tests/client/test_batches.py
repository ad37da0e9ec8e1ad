"""Many images: cut into requests, halved where that is too many, one refused without the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.client.test_exchange import Drive
from triptych.client import InvalidInputError, NotFoundError, Prediction, TooLargeError
from triptych.client.batches import Batches, Outcome, classify_each, classify_many
from triptych.client.call import Reply
from triptych.client.exchange import Pause, Steps


class Service:
    """Answers as the service does: the label is the image's own text; `bad...` is no image."""

    def __init__(self, max_images: int = 100, max_bytes: int = 10**9) -> None:
        self.max_images, self.max_bytes = max_images, max_bytes
        self.sizes: list[int] = []

    def answer(self, files: Sequence[bytes]) -> Reply:
        self.sizes.append(len(files))
        if sum(map(len, files)) > self.max_bytes:
            return refusal(413, "body", "the body is larger than the limit")
        if len(files) > self.max_images:
            return refusal(413, "files", "too many files")
        for row, content in enumerate(files):
            if content.startswith(b"bad"):
                field = "image" if len(files) == 1 else f"images[{row}]"
                return refusal(422, field, f"{field} is not an image")
        rows = [{"label": one.decode(), "index": 0, "score": 1.0, "top": []} for one in files]
        body = {"model": "m", "version": "v", "predictions": rows}
        return Reply(200, {}, json.dumps(body).encode())

    def run(self, plan: Batches[Any]) -> list[Any]:
        return [one for work in plan.work for one in self._do(work.steps(Drive().options))]

    def _do(self, steps: Steps[Sequence[Any]]) -> Sequence[Any]:
        try:
            step = next(steps)
            while True:
                assert not isinstance(step, Pause)
                step = steps.send(self.answer(step.call.files))
        except StopIteration as stop:
            found: Sequence[Any] = stop.value
            return found


def refusal(status: int, param: str | None, message: str) -> Reply:
    return Reply(status, {}, json.dumps({"error": {"message": message, "param": param}}).encode())


def named(count: int) -> list[bytes]:
    return [f"{number}".encode() for number in range(count)]


def labels(found: Iterable[Outcome]) -> list[str]:
    return [one.label if isinstance(one, Prediction) else f"! {one.param}" for one in found]


@pytest.mark.parametrize("count", [0, 1, 6, 7, 20])
def test_every_image_has_its_prediction_in_order(count: int) -> None:
    service = Service()
    found = service.run(classify_many(named(count), batch_images=7))
    assert labels(found) == [str(number) for number in range(count)]
    assert all((one.model, one.version) == ("m", "v") for one in found)
    assert service.sizes == [7] * (count // 7) + ([count % 7] if count % 7 else [])


def test_what_is_too_much_for_a_request_is_halved() -> None:
    service = Service(max_images=3)
    found = service.run(classify_many(named(10), batch_images=10))
    assert labels(found) == [str(number) for number in range(10)]
    assert service.sizes == [10, 5, 2, 2, 1, 2, 2, 1]
    small = Service(max_bytes=40)
    assert len(small.run(classify_many([b"x" * 15] * 8, batch_images=8))) == 8
    assert small.sizes == [8, 4, 2, 2, 4, 2, 2]


def test_what_a_request_may_hold_is_learnt_once() -> None:
    service = Service(max_images=4)
    assert len(service.run(classify_many(named(30), batch_images=10))) == 30
    assert [size for size in service.sizes if size > 4] == [10, 5]


def test_requests_are_cut_by_bytes_as_well() -> None:
    service = Service()
    service.run(classify_many([b"x" * 3 * 2**20] * 3))
    assert service.sizes == [1, 1, 1]


def test_an_image_that_alone_is_too_large_is_its_own_fault() -> None:
    service = Service(max_bytes=40)
    images = [b"a", b"x" * 41, b"b"]
    assert labels(service.run(classify_each(images))) == ["a", "! images[1]", "b"]
    with pytest.raises(TooLargeError) as caught:
        service.run(classify_many(images))
    assert caught.value.param == "images[1]"


def test_a_bad_image_is_named_by_its_number_among_all() -> None:
    images = named(10)
    images[8] = b"bad"
    with pytest.raises(InvalidInputError, match=r"^images\[8\] is not an image$") as caught:
        Service().run(classify_many(images, batch_images=4))
    assert caught.value.param == "images[8]"


def test_bad_images_do_not_keep_the_others_from_their_answers(tmp_path: Path) -> None:
    images: list[Any] = named(10)
    images[0] = images[4] = images[9] = b"bad"
    images[5], images[6] = 7, tmp_path / "none.png"
    for batch_images in (1, 3, 10):
        found = Service().run(classify_each(images, batch_images=batch_images))
        expected = ["! images[0]", "1", "2", "3", "! images[4]", "! images[5]", "! images[6]",
                    "7", "8", "! images[9]"]  # fmt: skip
        assert labels(found) == expected
        assert "none.png" in found[6].message


def test_an_error_of_all_of_them_is_raised() -> None:
    class Lost(Service):
        def answer(self, files: Sequence[bytes]) -> Reply:
            return refusal(404, "model", "there is no model called 'x'")

    with pytest.raises(NotFoundError):
        Lost().run(classify_each(named(3), model="x"))

    class Strict(Service):
        def answer(self, files: Sequence[bytes]) -> Reply:
            return refusal(400, "top_k", "top_k is wrong")

    with pytest.raises(InvalidInputError) as caught:
        Strict().run(classify_each(named(1), top_k=0))
    assert caught.value.param == "top_k"


def test_images_are_read_as_they_are_needed() -> None:
    taken: list[int] = []

    def images() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"x"

    plan = classify_many(images(), batch_images=5)
    next(plan.work)
    assert len(taken) == 6
    assert plan.total is None


@pytest.mark.parametrize("name", ["batch_images", "concurrency"])
def test_impossible_sizes_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        classify_many([], **{name: 0})  # type: ignore[arg-type]
    assert caught.value.param == name
