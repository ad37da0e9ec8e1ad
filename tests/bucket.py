"""A real S3 API on this machine, and a bucket in it, for tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import obstore
from obstore.store import S3Store

from tests.ports import free_port

KEYS = {
    "AWS_ACCESS_KEY_ID": "triptych",
    "AWS_SECRET_ACCESS_KEY": "triptych",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """moto's server in a process of its own; yields the `AWS_*` variables that lead to it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MOTO_S3_CUSTOM_ENDPOINTS": url},
    )
    try:
        for _ in range(300):
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
                break
            assert process.poll() is None, "moto's server ended"
            time.sleep(0.1)
        yield KEYS | {"AWS_ENDPOINT_URL": url}
    finally:
        process.terminate()
        process.wait(10)


def new_bucket(variables: dict[str, str]) -> str:
    """Make a bucket; returns `s3://bucket/models`."""
    name = f"b{uuid.uuid4().hex[:12]}"
    request = urllib.request.Request(f"{variables['AWS_ENDPOINT_URL']}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=10).close()
    return f"s3://{name}/models"


def raw(location: str, variables: dict[str, str]) -> S3Store:
    """The bucket beneath everything of ours, to break things in."""
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=variables["AWS_ENDPOINT_URL"],
        access_key_id=variables["AWS_ACCESS_KEY_ID"],
        secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region=variables["AWS_REGION"],
        client_options={"allow_http": True},
    )


def keys(store: S3Store) -> list[str]:
    """Everything in it, sorted."""
    return sorted(one["path"] for page in obstore.list(store) for one in page)


class Unreliable:
    """A way to a server that can be told to fail: passes bytes through, hangs, or answers 500."""

    def __init__(self, target: str) -> None:
        self.mode: Literal["through", "hang", "500"] = "through"
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: Literal["through", "hang", "500"]) -> None:
        """Fail so from now on; connections that are open end, as behind a balancer."""
        self.mode = mode
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.set("hang")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "hang":
            return
        if self.mode == "500":
            with contextlib.suppress(OSError):
                client.recv(65536)
                client.sendall(
                    b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                client.close()
            return
        server = socket.create_connection(self._target)
        self._open.append(server)
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
            one.close()
