"""What a blocking client has to do beyond what one for asyncio does; and that both have the same
methods."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator

import pytest

from tests.client.scripted import answer, scripted
from triptych.client import AsyncClient, Client, calls
from triptych.client.errors import InvalidInputError
from triptych.client.progress import bar

FROG = b'{"model": "m", "version": "v", "predictions": [{"label": "frog", "index": 6, "score": 1}]}'


def test_leaving_batches_does_not_wait_for_one_that_would_be_sent_again() -> None:
    with scripted(answer(200, FROG)) as server, Client(server.url, timeout_s=60) as client:

        def images() -> Iterator[bytes]:
            yield from (b"a", b"b")
            while not server.requests:  # the first is on its way once the third is asked for
                time.sleep(0.01)
            server.then(answer(503, retry_after="50"))
            yield b"c"

        found = client.classify_many(images(), batch_images=1, concurrency=2)
        assert next(found).label == "frog"
        while len(server.requests) < 2:
            time.sleep(0.01)
        began_s = time.monotonic()
        assert isinstance(found, Iterator)
        found.close()  # type: ignore[attr-defined]  # it is a generator
        assert time.monotonic() - began_s < 40
        assert len(server.requests) == 2


def test_both_clients_have_the_same_methods_with_the_words_of_their_calls() -> None:
    names = {name for name in vars(Client) if not name.startswith("_")}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert names >= {"classify", "classify_many", "generate", "stream", "sample", "infer"}
    for client in (Client, AsyncClient):
        assert inspect.getdoc(client.classify) == inspect.getdoc(calls.classify)
        parameters = list(inspect.signature(client.classify).parameters)
        assert parameters == ["self", *inspect.signature(calls.classify).parameters]
    assert inspect.signature(Client.classify).return_annotation == "Classification"
    assert inspect.signature(AsyncClient.stream).return_annotation == "AsyncTextStream"


def test_a_bar_that_is_wanted_needs_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    bar(False, 3, "image").close()
    with pytest.raises(InvalidInputError, match=r"pip install 'triptych\[client\]'"):
        bar(True, 3, "image")
