"""`triptych` against a scripted server: exit codes, words on stderr, output that nobody reads."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.scripted import Scripted, answer, hang, pieces, scripted
from tests.client.test_network import DONE, event
from tests.conftest import ROOT
from tests.pictures import picture
from triptych.cli import main

PREDICTED = {"label": "frog", "index": 6, "score": 0.5, "top": []}


def predictions(*labels: str) -> bytes:
    rows = [PREDICTED | {"label": label} for label in labels]
    return json.dumps({"model": "m", "version": "v", "predictions": rows}).encode()


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as running:
        yield running


def run(server: Scripted, *words: object) -> int:
    return main([*map(str, words), "--url", server.url, "--retries", "0"])


def start(*words: object, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "triptych", *map(str, words)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "TRIPTYCH" not in name},
        **options,
    )


def test_refused_is_3(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    body = b'{"error": {"message": "must be\\nfrom 0 to 2", "param": "temperature"}}'
    server.then(answer(400, body))
    assert run(server, "generate", "--prompt", "a", "--temperature", 3) == 3
    found = capsys.readouterr()
    assert found.err == "triptych: temperature: must be from 0 to 2\n"
    assert found.out == ""


@pytest.mark.parametrize("status", [401, 404, 413, 429])
def test_other_refusals_are_3_too(server: Scripted, status: int) -> None:
    server.then(answer(status))
    assert run(server, "models") == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_fails_is_4(server: Scripted, status: int) -> None:
    server.then(answer(status))
    assert run(server, "models") == 4


def test_no_server_another_server_and_no_answer_are_4(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    server.then(answer(200, b"<html>"), hang)
    assert run(server, "models") == 4
    assert run(server, "models", "--timeout", "0.2") == 4
    assert main(["models", "--url", "http://127.0.0.1:1", "--retries", "0"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "http://127.0.0.1:1" in lines[2]


def test_health_says_what_is_wrong(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    body = b'{"ready": false, "serving": {}, "problems": {"cifar10": "no file"}}'
    server.then(answer(503, body), answer(200, b'{"ready": true}'))
    assert run(server, "health") == 4
    assert json.loads(capsys.readouterr().out)["problems"] == {"cifar10": "no file"}
    assert run(server, "health") == 0


@pytest.mark.parametrize(
    "words",
    [
        ["classify", "none.png"],
        ["classify", "-", "-"],
        ["classify", "a.png", "-o", "heat.png"],
        ["classify", "a.png", "a.png", "--explain", "-o", "heat.png"],
        ["classify", "a.png", "--explain", "-o", "heat.jpg"],
        ["classify", "empty"],
        ["sample", "-o", "grid.jpg"],
        ["infer", "m", "image"],
        ["infer", "m", "image=none.npy"],
        ["infer", "m", "image=a.png"],
        ["infer", "m", "image=a.npy", "-o", "out.csv"],
        ["models", "--timeout", "0"],
        ["generate", "--prompt", "a", "--retries", "-1"],
        ["models", "--url", "localhost"],
    ],
)
def test_wrong_usage_is_2_and_a_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(picture())
    Path("empty").mkdir()
    assert main(words) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert len(found.err.splitlines()) == 1
    assert found.err.startswith("triptych: ")


@pytest.mark.parametrize("words", [[], ["paint"], ["classify"], ["sample", "-n", "x"]])
def test_what_is_no_command_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: triptych" in capsys.readouterr().err


def test_files_folders_and_patterns(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/b.PNG", "in/deep/a.jpg", "in/notes.txt", "one.png", "two.png"):
        (tmp_path / name).write_bytes(picture())
    server.then(answer(200, predictions("a", "b", "c", "d")))
    words = [tmp_path / "in", tmp_path / "one.png", f"{tmp_path}/t*.png"]
    assert run(server, "classify", *words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [Path(row["file"]).relative_to(tmp_path).as_posix() for row in rows]
    assert names == ["in/b.PNG", "in/deep/a.jpg", "one.png", "two.png"]
    assert [row["label"] for row in rows] == ["a", "b", "c", "d"]
    assert {(row["model"], row["version"]) for row in rows} == {("m", "v")}


def test_a_bad_file_is_named_and_the_others_answered(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    body = b'{"error": {"message": "images[0] is no image", "param": "images[0]"}}'
    server.then(answer(422, body), answer(200, predictions("frog")))
    assert run(server, "classify", tmp_path / "a.png", tmp_path / "b.png") == 3
    found = capsys.readouterr()
    assert found.err == f"triptych: {tmp_path / 'a.png'} is no image\n"
    assert json.loads(found.out)["file"] == str(tmp_path / "b.png")


def test_a_name_that_is_no_text(
    server: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(path)).write_bytes(picture())
    server.then(answer(200, predictions("frog")))
    assert run(server, "classify", os.fsdecode(path)) == 0
    assert json.loads(capsys.readouterr().out)["file"].endswith("\N{REPLACEMENT CHARACTER}.png")


def test_the_key_is_sent_and_taken_from_the_environment(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.then(answer(200, b'{"ready": true}'), answer(200, b'{"ready": true}'))
    assert run(server, "health", "--api-key", "given") == 0
    monkeypatch.setenv("TRIPTYCH_API_KEY", "kept")
    monkeypatch.setenv("TRIPTYCH_URL", server.url)
    assert main(["health"]) == 0
    keys = [one.headers["authorization"] for one in server.requests]
    assert keys == ["Bearer given", "Bearer kept"]


def test_a_prompt_from_stdin_is_sent_as_it_is(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ROMEO:\n"))
    server.then(pieces(event("ab"), event("c"), DONE))
    assert run(server, "generate", "--max-tokens", 3, "--stop", "x", "--stop", "y") == 0
    assert capsys.readouterr().out == "abc"
    asked = json.loads(server.requests[0].body)
    assert (asked["prompt"], asked["stop"]) == ("ROMEO:\n", ["x", "y"])
    assert "echo" not in asked


def test_a_stream_that_breaks_is_4_and_keeps_what_came(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    server.then(pieces(event("ab")))
    assert run(server, "generate", "--prompt", "x") == 4
    found = capsys.readouterr()
    assert found.out == "ab"
    assert len(found.err.splitlines()) == 1


ENDLESS = [part for _ in range(1500) for part in (event("text "), 0.01)]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children inherit an ignored SIGINT, which tests run in the background may have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_during_a_stream(server: Scripted) -> None:
    server.then(pieces(*ENDLESS))
    with start(
        *("generate", "--prompt", "x", "--url", server.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"text "
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaint == b"triptych: interrupted\n"
    assert server.left.wait(10), "the server goes on writing for nobody"


def test_output_that_nobody_reads_ends_the_stream(server: Scripted) -> None:
    server.then(pieces(*ENDLESS))
    command = f"{sys.executable} -m triptych generate --prompt x --url {server.url}"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 10; code=${{PIPESTATUS[0]}}; echo; echo $code"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"text text \n141\n"
    assert done.stderr == b""
    assert server.left.wait(10)


def test_a_terminal_gets_text_for_people(server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    top = [{"label": "frog", "index": 6, "score": 0.5}, {"label": "cat", "index": 3, "score": 0.25}]
    row = PREDICTED | {"top": top}
    body = json.dumps({"model": "m", "version": "v", "predictions": [row]}).encode()
    server.then(answer(200, body), pieces(event("ab"), DONE))
    ours, theirs = pty.openpty()
    words = ("classify", tmp_path / "a.png", "--url", server.url)
    with start(*words, stdout=theirs, stdin=theirs) as process:
        assert process.wait(60) == 0
    with start("generate", "--prompt", "x", "--url", server.url, stdout=theirs) as process:
        assert process.wait(60) == 0
    shown = os.read(ours, 10_000).decode()
    os.close(theirs)
    os.close(ours)
    assert shown == f"{tmp_path / 'a.png'}: frog 0.500, cat 0.250\r\nab\r\n"


def test_a_bar_shows_how_far_many_files_are(server: Scripted, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture())
    server.then(answer(200, predictions("frog", "cat")))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with start(
        *("classify", tmp_path, "--url", server.url), stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        found, _ = process.communicate(timeout=60)
    shown = os.read(ours, 10_000).decode()
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 0
    assert len(found.splitlines()) == 2
    assert "2/2" in shown


def test_version() -> None:
    with start("--version", stdout=subprocess.PIPE) as process:
        found, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    name, version = found.decode().split()
    assert name == "triptych"
    assert version[0].isdigit()
