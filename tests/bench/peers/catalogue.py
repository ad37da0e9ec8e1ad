"""The peers: how each is built, started and asked, set up as its own guide recommends for speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.peers.request import Request, base64_text, element, form, infer, raw

PEERS = Path(__file__).parent
BUILDS = Path(".bench")


@dataclass(frozen=True)
class Peer:
    """A server that does the same work.

    `command` takes its environment's `bin`, a port and a scratch folder; `single` makes a request
    of a JPEG, `tensor` one of a uint8 array [N, H, W, 3].
    """

    name: str
    settings: str
    command: Callable[[Path, int, Path], list[str]]
    ready_path: str
    single: Callable[[bytes], Request]
    tensor: Callable[[Any], Request]
    variables: Callable[[int], dict[str, str]] = lambda _: {}
    prepare: Callable[[Path, Path, dict[str, str]], None] = lambda *_: None

    @property
    def folder(self) -> Path:
        """Its requirements and its server."""
        return PEERS / self.name

    @property
    def bin(self) -> Path:
        """Its environment's commands."""
        return (BUILDS / self.name / "venv" / "bin").absolute()

    def environment(self, graph: Path, port: int) -> dict[str, str]:
        """Variables of its processes: the graph, the shared work, one thread."""
        return {
            **os.environ,
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{PEERS.absolute()}{os.pathsep}{self.folder.absolute()}",
            "BENCH_GRAPH": str(graph.absolute()),
            "OMP_NUM_THREADS": "1",
            **self.variables(port),
        }

    def build(self) -> None:
        """Make its environment, unless it is as pinned; raises CalledProcessError."""
        pins = (self.folder / "requirements.txt").read_text()
        mark = self.bin.parent / "requirements.txt"
        if mark.exists() and mark.read_text() == pins:
            return
        run = [sys.executable, "-m", "venv", "--clear", str(self.bin.parent)]
        subprocess.run(run, check=True)
        pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", "-r", str(self.folder / "requirements.txt")]
        subprocess.run(pip, check=True)
        mark.write_text(pins)

    def version(self) -> str:
        """Its own version, as pinned first."""
        return (self.folder / "requirements.txt").read_text().split("\n", 1)[0]


def _lit(name: str) -> Callable[[Any], Request]:
    def request(content: Any) -> Request:
        body = json.dumps({name: base64_text(content)}).encode()
        return Request("/predict", "application/json", body)

    return request


def _v2_base64(model: str) -> Callable[[Any], Request]:
    def request(content: Any) -> Request:
        tensor = {
            "name": "body",
            "shape": [1],
            "datatype": "BYTES",
            "parameters": {"content_type": "base64"},
            "data": [base64_text(content)],
        }
        body = json.dumps({"inputs": [tensor]}).encode()
        return Request(f"/v2/models/{model}/infer", "application/json", body)

    return request


def _archive(bin_: Path, scratch: Path, env: dict[str, str]) -> None:
    """TorchServe serves archives: pack the handler into one, and write its configuration."""
    folder = PEERS / "torchserve"
    command = [str(bin_ / "torch-model-archiver"), "--model-name", "peer", "--version", "1.0"]
    command += ["--handler", str(folder / "handler.py"), "--extra-files", str(PEERS / "work.py")]
    command += ["--config-file", str(folder / "model-config.yaml"), "--export-path", str(scratch)]
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    port = int(env["BENCH_PORT"])
    addresses = {"inference": port, "management": port + 1, "metrics": port + 2}
    lines = [f"{name}_address=http://127.0.0.1:{at}" for name, at in addresses.items()]
    lines += [f"grpc_inference_port={port + 3}", f"grpc_management_port={port + 4}"]
    lines += ["disable_token_authorization=true", "disable_system_metrics=true"]
    (scratch / "config.properties").write_text("\n".join(lines) + "\n")


CATALOGUE = (
    Peer(
        "fastapi",
        "uvicorn with uvloop and httptools, one worker; no batching; the work on its thread pool; "
        "tensors as raw bytes",
        lambda bin_, port, _: [
            *(str(bin_ / "uvicorn"), "server:app", "--port", str(port), "--workers", "1"),
            *("--no-access-log", "--log-level", "warning"),
        ],
        "/ready",
        raw("/classify", "image/jpeg"),
        raw("/infer"),
    ),
    Peer(
        "litserve",
        "one API server, one worker, fast_queue, max_batch_size 64, batch_timeout 2 ms; pictures "
        "and tensors in base64",
        lambda bin_, port, _: [
            str(bin_ / "python"),
            str(PEERS.absolute() / "litserve/server.py"),
            str(port),
        ],
        "/health",
        _lit("image"),
        _lit("tensor"),
    ),
    Peer(
        "bentoml",
        "one worker, batchable, max_batch_size 64, max_latency_ms 10,000 (it sheds load above "
        "that); pictures as multipart, tensors as an uploaded body",
        lambda bin_, port, _: [
            *(str(bin_ / "bentoml"), "serve", "server:Peer", "--host", "127.0.0.1"),
            *("--port", str(port), "--working-dir", str(PEERS.absolute() / "bentoml")),
        ],
        "/readyz",
        form,
        raw("/infer"),
        variables=lambda _: {
            "BENTOML_HOME": str((BUILDS / "bentoml" / "home").absolute()),
            "BENTOML_DO_NOT_TRACK": "True",
        },
    ),
    Peer(
        "mlserver",
        "one parallel worker, max_batch_size 64, max_batch_time 2 ms, no access log; pictures and "
        "tensors in base64: its REST interface has no binary form",
        lambda bin_, port, _: [
            str(bin_ / "mlserver"),
            "start",
            str(PEERS.absolute() / "mlserver/models"),
        ],
        "/v2/health/ready",
        _v2_base64("pictures"),
        _v2_base64("tensors"),
        variables=lambda port: {
            "MLSERVER_HTTP_PORT": str(port),
            "MLSERVER_GRPC_PORT": str(port + 1),
            "MLSERVER_METRICS_PORT": str(port + 2),
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_PARALLEL_WORKERS": "1",
        },
    ),
    Peer(
        "torchserve",
        "one worker, batchSize 64, maxBatchDelay 2 ms, a handler of onnxruntime without torch, "
        "no access log; tensors as raw bytes",
        lambda bin_, port, scratch: [
            *(str(bin_ / "torchserve"), "--start", "--foreground", "--ncs"),
            *("--model-store", str(scratch), "--models", "peer=peer.mar"),
            *("--ts-config", str(scratch / "config.properties")),
            *("--log-config", str(PEERS.absolute() / "torchserve/log4j2.xml")),
        ],
        "/ping",
        raw("/predictions/peer", "image/jpeg"),
        raw("/predictions/peer"),
        variables=lambda port: {
            "BENCH_PORT": str(port),
            "LOG_LOCATION": str((BUILDS / "torchserve" / "logs").absolute()),
            "METRICS_LOCATION": str((BUILDS / "torchserve" / "logs").absolute()),
        },
        prepare=_archive,
    ),
    Peer(
        "pytriton",
        "Triton's own server; max_batch_size 64, dynamic batcher with 2 ms of delay; one instance "
        "of the work; pictures and tensors in the protocol's binary form",
        lambda bin_, port, _: [
            str(bin_ / "python"),
            str(PEERS.absolute() / "pytriton/server.py"),
            str(port),
        ],
        "/v2/models/tensors/ready",
        element,
        infer("tensors"),
    ),
    Peer(
        "ray",
        "Ray Serve, one replica, max_batch_size 64, batch_wait_timeout_s 2 ms, "
        "RAY_SERVE_THROUGHPUT_OPTIMIZED, no dashboard, no access log; tensors as raw bytes",
        lambda bin_, port, _: [
            str(bin_ / "python"),
            str(PEERS.absolute() / "ray/server.py"),
            str(port),
        ],
        "/-/healthz",
        raw("/classify", "image/jpeg"),
        raw("/infer"),
        variables=lambda _: {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        },
    ),
)
