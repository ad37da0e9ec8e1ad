"""One visit to a server: start it, see that it answers rightly, load it, weigh it, stop it."""

from __future__ import annotations

import base64
import http.client
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.store import Store
from tests.bench.bare import open_graph
from tests.bench.bodies import image_batch, sample_jpeg
from tests.bench.cases import BATCH
from tests.bench.peers.catalogue import Peer
from tests.bench.peers.request import Request, infer, raw
from tests.bench.process import Server, running
from tests.bench.rounds import LoadError, run_load
from tests.bench.server import serving
from tests.ports import free_port

SINGLES = (1, 16, 64)
TENSORS = (1, 4)
ANSWER_TIMEOUT_S = 60.0
WARM_S = 1.5


class WrongAnswerError(RuntimeError):
    """A server that does not give the graph's own answer."""


@dataclass(frozen=True)
class Work:
    """The graph, what is sent, and what the answers must hold."""

    graph: Path
    jpeg: bytes
    images: NDArray[np.uint8]
    label: str
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, store: Path, name: str) -> Work:
        """The store's classifier, its answer from a bare run."""
        reader = Store(store)
        version = reader.current(name)
        manifest = reader.verified(name, version)
        graph = reader.folder(name, version) / manifest.graph
        height, width = (int(axis) for axis in manifest.input("image").shape[1:3])
        jpeg = sample_jpeg(reader, height=height, width=width)
        image_NHWC = image_batch(jpeg, BATCH)
        (found,) = open_graph(str(graph)).run(["probability"], {"image": image_NHWC})
        return cls(graph, jpeg, image_NHWC, manifest.labels[int(found[0].argmax())], found)


@contextmanager
def _started(peer: Peer, work: Work, cores: set[int]) -> Iterator[Server]:
    port = free_port()
    env = peer.environment(work.graph, port)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        peer.prepare(peer.bin, scratch, env)
        with running(
            peer.command(peer.bin, port, scratch),
            env=env,
            port=port,
            ready_path=peer.ready_path,
            cores=cores,
            log=scratch / "server.out",
        ) as server:
            yield server


def visit(peer: Peer, work: Work, duration_s: float) -> dict[str, Any]:
    """Figures of a peer; raises StartError, WrongAnswerError."""
    cores = os.sched_getaffinity(0)
    with _started(peer, work, cores) as server:
        return _loaded(server, work, peer.single, peer.tensor, duration_s, cores)


def visit_triptych(store: Path, name: str, work: Work, duration_s: float) -> dict[str, Any]:
    """The same figures of the service."""
    cores = os.sched_getaffinity(0)
    with serving(store, cores=cores) as server:
        single = raw("/v1/classify?top_k=1", "image/jpeg")
        return _loaded(server, work, single, infer(name), duration_s, cores)


def _loaded(
    server: Server,
    work: Work,
    single: Callable[[bytes], Request],
    tensor: Callable[[Any], Request],
    duration_s: float,
    cores: set[int],
) -> dict[str, Any]:
    one, many = single(work.jpeg), tensor(work.images)
    answer = _ask(server.port, one)
    if work.label.encode() not in answer:
        raise WrongAnswerError(f"no {work.label!r} in {answer[:200]!r}")
    found: dict[str, Any] = {"ready_s": server.ready_s, "loads": {}}
    for load, request, units, counts in (
        ("single", one, 1, SINGLES),
        ("tensor", many, BATCH, TENSORS),
    ):
        for connections in counts:
            key = f"{load}@{connections}"
            try:
                if load == "tensor" and connections == counts[0]:
                    _check_tensor(_ask(server.port, request), work)
                run_load(request.load(connections, WARM_S), units, server, cores)
                result = run_load(request.load(connections, duration_s), units, server, cores)
            except (LoadError, WrongAnswerError) as error:
                found["loads"][key] = {"error": str(error)}
                continue
            del result["latencies_s"]
            found["loads"][key] = result
    found["tree_pss_mib"] = sum(server.pss_mib())
    return found


def _ask(port: int, request: Request) -> bytes:
    """The answer's body; waits for a server that says it is ready before its workers are."""
    limit_s = time.perf_counter() + ANSWER_TIMEOUT_S
    while True:
        try:
            status, body = _post(port, request)
        except ConnectionError as error:
            status, body = 503, str(error).encode()
        if status == 200:
            return body
        if time.perf_counter() > limit_s or status < 500:
            raise WrongAnswerError(f"{status}: {body[:300]!r}")
        time.sleep(0.2)


def _post(port: int, request: Request) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    headers = {"content-type": request.content_type, **request.headers}
    try:
        connection.request("POST", request.path, request.body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _check_tensor(answer: bytes, work: Work) -> None:
    """The probabilities' bytes must be in the answer, raw or in base64."""
    expected = work.probabilities.tobytes()
    if not any(form in answer for form in (expected, base64.b64encode(expected))):
        raise WrongAnswerError(f"not the graph's probabilities: {answer[:100]!r}")
