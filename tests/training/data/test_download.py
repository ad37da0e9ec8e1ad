"""Downloads against a real server on the loopback: whole, cut, damaged, absent."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training.data.download import fetch
from training.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; `server.plan` says how each request is to go wrong."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        step = self.server.plan.pop(0) if self.server.plan else "whole"
        if step.isdigit():
            self.send_error(int(step))
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.server.content
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted and step != "no ranges" else 0
        if wanted and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if step == "cut":
            self.wfile.write(content[start : start + 100_000])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[str] = []
        self.ranges: list[str | None] = []
        self.content = CONTENT
        self.url = f"http://127.0.0.1:{self.server_port}/file"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: Server, target: Path, md5: str = MD5) -> Path:
    return fetch(server.url, target, md5=md5, pause_s=0.01)


def test_a_download_is_checked_put_in_place_and_not_repeated(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "file.bin"
    assert get(server, target) == target
    assert target.read_bytes() == CONTENT
    assert get(server, target) == target
    assert server.ranges == [None]
    assert [path.name for path in target.parent.iterdir() if path.name[0] != "."] == ["file.bin"]


def test_a_cut_connection_is_resumed_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "cut"]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]


def test_the_next_run_resumes_too(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "503", "503", "503"]
    with pytest.raises(DataError, match="100,000 bytes are kept"):
        get(server, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=100000-"


def test_a_server_without_ranges_sends_the_whole_again(server: Server, tmp_path: Path) -> None:
    server.plan = ["cut", "no ranges"]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    get(server, tmp_path / "file.bin")
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_of_another_file_is_given_up(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=14-", None]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"its md5 is {MD5}, not 0000"):
        get(server, tmp_path / "file.bin", md5="0" * 32)
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == []


def test_a_damaged_copy_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_absent_files_are_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.plan = ["404"]
    with pytest.raises(DataError, match=r"answered 404; check the network"):
        get(server, tmp_path / "file.bin")
    assert len(server.ranges) == 1


def test_servers_in_trouble_are_asked_again(server: Server, tmp_path: Path) -> None:
    server.plan = ["503", "500"]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    server.url = server.url.replace("/file", "/moved")
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(DataError, match="cannot be reached") as caught:
            fetch(url, tmp_path / "file.bin", md5=MD5, pause_s=0.01)
    assert f"put it at {tmp_path / 'file.bin'}" in caught.value.message
    assert "--data" in caught.value.message


def test_two_at_once_take_turns(server: Server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=get, args=(server, tmp_path / "file.bin")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == [None]
