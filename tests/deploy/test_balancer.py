"""Replicas behind the load balancers that deploy/ configures: restarts and a kill under load."""

from __future__ import annotations

import asyncio
import csv
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY, program
from tests.deploy.replicas import Replica, Traffic, replicas
from tests.e2e.load import PROBES, TEXT, Probe, read_json
from tests.ports import free_port

HAPROXY = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
NGINX = (DEPLOY / "nginx" / "nginx.conf").read_text()
pytestmark = pytest.mark.timeout(900)  # a core that is shared with other tests is slow to start on

BALANCERS = ("haproxy", "nginx")
REPLICAS = 3
CLIENTS = 8  # of each balancer
SEEN_S = 1.0  # for the balancer to see that a replica is back, as the runbook says

WHOLE = tuple(probe for probe in PROBES if probe.name != "stream")
"""What a balancer can ask again: nothing of the answer goes out before all of it is there."""
LONG = Probe("long", "/v1/completions", {"json": TEXT | {"max_tokens": 4000}}, read_json)
"""Takes long enough to be in flight when a replica is killed."""


@dataclass(frozen=True)
class Balancer:
    """A running load balancer."""

    url: str
    log: Path
    socket: Path

    def in_flight(self, server: str) -> int:
        """Requests that HAProxy waits for from a server."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            client.sendall(b"show stat\n")
            with client.makefile() as answer:
                rows = list(csv.DictReader(answer.read().removeprefix("# ").splitlines()))
        (found,) = (row for row in rows if row["svname"] == server)
        return int(found["scur"])


def at_ports(text: str, port: int, behind: list[Replica]) -> str:
    """A committed configuration with its ports replaced by those of this test."""
    ports = {3000: port} | {3001 + index: one.port for index, one in enumerate(behind)}
    assert len(ports) == 1 + REPLICAS
    return re.sub(r"(?<=127\.0\.0\.1:)300\d", lambda found: str(ports[int(found[0])]), text)


@contextmanager
def balancing(name: str, text: str, folder: Path, behind: list[Replica]) -> Iterator[Balancer]:
    """Run `name` (haproxy, nginx) with this configuration on a free port."""
    folder.mkdir()
    port = free_port()
    admin = folder / "admin.sock"
    file = folder / "configuration"
    text = at_ports(text, port, behind)
    file.write_text(text.replace("/tmp/triptych-haproxy.sock", str(admin)))
    arguments = {"haproxy": ["-f", file], "nginx": ["-p", folder, "-c", file]}[name]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [program(name), *arguments], stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            await_port(port)
            yield Balancer(f"http://127.0.0.1:{port}", folder / "log", admin)
        finally:
            process.terminate()


def await_port(port: int) -> None:
    end_s = time.monotonic() + 10
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.fixture(scope="module")
def behind(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    """Three ready replicas on one store."""
    if not any(map(shutil.which, BALANCERS)):
        pytest.skip(f"none of these programs is installed: {', '.join(BALANCERS)}")
    with replicas(REPLICAS, tiny_store, tmp_path_factory.mktemp("replicas")) as found:
        yield found


@pytest.fixture(scope="module")
def balancers(
    behind: list[Replica], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Balancer]]:
    """Those that are installed, with their committed configurations; and HAProxy as `plain`,
    which sends a request again only if the connection was refused."""
    folder = tmp_path_factory.mktemp("balancers")
    with ExitStack() as stack:
        wanted = {"haproxy": ("haproxy", HAPROXY), "nginx": ("nginx", NGINX)}
        wanted["plain"] = ("haproxy", re.sub(r"(retry-on conn-failure).*", r"\1", HAPROXY))
        yield {
            name: stack.enter_context(balancing(binary, text, folder / name, behind))
            for name, (binary, text) in wanted.items()
            if shutil.which(binary)
        }


@asynccontextmanager
async def under_load(traffic: Mapping[str, Traffic]) -> AsyncIterator[None]:
    """All clients ask from before the body to after it."""

    async def until_answered() -> None:
        for each in traffic.values():
            await each.until_answered(2 * len(PROBES))

    async with asyncio.TaskGroup() as group:
        for each in traffic.values():
            group.create_task(each.run())
        try:
            await until_answered()
            yield
            await until_answered()
        finally:
            for each in traffic.values():
                each.stopping = True


async def restart(behind: list[Replica], traffic: dict[str, Traffic]) -> dict[str, Traffic]:
    """Restart every replica, one after another, under load."""
    async with under_load(traffic):
        for replica in behind:
            await asyncio.to_thread(replica.stop)
            replica.start()
            await asyncio.to_thread(replica.await_ready)
            await asyncio.sleep(SEEN_S)
    return traffic


@dataclass(frozen=True)
class Killed:
    """What each balancer's clients got while the first replica was killed, when that was, and how
    many requests it then had from `plain`."""

    traffic: dict[str, Traffic]
    at_s: float
    in_flight: int


async def kill(behind: list[Replica], traffic: dict[str, Traffic], plain: Balancer) -> Killed:
    """Kill the first replica under load, with requests in flight on it."""
    processes = behind[0].processes()  # to look for them takes longer than a request
    async with under_load(traffic), asyncio.timeout(120):
        while not (in_flight := plain.in_flight("replica-1")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # Nothing is sent in between: the clients run on this loop.
        behind[0].kill(processes)
        killed_s = time.monotonic()
    return Killed(traffic, killed_s, in_flight)


@pytest.fixture(scope="module")
def after_restarts(behind: list[Replica], balancers: dict[str, Balancer]) -> dict[str, Traffic]:
    """What each balancer's clients got while all replicas were restarted."""
    traffic = {
        name: Traffic(balancers[name].url, PROBES, CLIENTS)
        for name in BALANCERS
        if name in balancers
    }
    return asyncio.run(restart(behind, traffic))


@pytest.fixture(scope="module")
def after_kill(
    behind: list[Replica], balancers: dict[str, Balancer], after_restarts: dict[str, Traffic]
) -> Killed:
    """After the restarts: the first replica stays away."""
    del after_restarts
    if "plain" not in balancers:
        pytest.skip("haproxy is not installed")
    traffic = {
        name: Traffic(balancers[name].url, WHOLE, CLIENTS)
        for name in BALANCERS
        if name in balancers
    }
    traffic["plain"] = Traffic(balancers["plain"].url, (LONG,), CLIENTS)
    return asyncio.run(kill(behind, traffic, balancers["plain"]))


@pytest.mark.parametrize("name", BALANCERS)
def test_a_rolling_restart_fails_no_request(after_restarts: dict[str, Traffic], name: str) -> None:
    program(name)
    traffic = after_restarts[name]
    assert traffic.failures == []
    assert set(traffic.contents) == {probe.name for probe in PROBES}
    for probe, contents in traffic.contents.items():
        assert len(contents) == 1, f"replicas answered {probe} differently"


@pytest.mark.parametrize("name", BALANCERS)
def test_a_kill_fails_no_request_that_can_be_sent_again(after_kill: Killed, name: str) -> None:
    program(name)
    traffic = after_kill.traffic[name]
    assert traffic.failures == []
    assert {len(contents) for contents in traffic.contents.values()} == {1}


def test_a_kill_fails_only_what_was_in_flight_there(after_kill: Killed) -> None:
    """Without the balancer's second try, so that the test above shows what that does."""
    failures = after_kill.traffic["plain"].failures
    assert 1 <= len(failures) <= after_kill.in_flight < CLIENTS
    for failure in failures:
        assert failure.began_s <= after_kill.at_s <= failure.ended_s


@pytest.mark.parametrize("name", BALANCERS)
def test_configuration_is_valid(tmp_path: Path, name: str) -> None:
    check = {
        "haproxy": ["-c", "-f", DEPLOY / "haproxy" / "haproxy.cfg"],
        "nginx": ["-t", "-p", tmp_path, "-c", DEPLOY / "nginx" / "nginx.conf"],
    }
    done = subprocess.run(
        [program(name), *check[name]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
