"""`make audit` against a database that knows, one that does not know, and one that is not there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.audit import ALL, SERVING, read_allowed, read_pins
from tests.deploy.conftest import DEPLOY, ROOT
from tests.ports import free_port


class Database(BaseHTTPRequestHandler):
    """OSV's query API: a vulnerability of one package, nothing of all others."""

    vulnerable = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = asked["package"]["name"]
        vulns = []
        if name == self.vulnerable:
            events = [{"introduced": "0"}, {"fixed": "99.0"}]
            vulns = [
                {
                    "id": "GHSA-test-test-test",
                    "aliases": ["CVE-2026-99999"],
                    "summary": "made up",
                    "affected": [
                        {
                            "package": {"name": name, "ecosystem": "PyPI"},
                            "ranges": [{"type": "ECOSYSTEM", "events": events}],
                        }
                    ],
                }
            ]
        body = json.dumps({"vulns": vulns} if vulns else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Not to the test's output."""


@pytest.fixture
def database() -> Iterator[str]:
    """URL of a running one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / "audit.py", "-s", "osv", "--osv-url", url, *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_vulnerability_in_what_serves_fails(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "vulnerable", "starlette")
    done = audit(database, "--lenient")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "serves: starlette==" in done.stdout
    assert "CVE-2026-99999, GHSA-test-test-test; fixed in 99.0" in done.stdout


def test_a_vulnerability_in_what_tests_is_told(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "vulnerable", "pytest")
    done = audit(database)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not serve: pytest==" in done.stdout
    assert f"{len(read_pins(*SERVING, ALL))} packages audited, 0 unknown" in done.stdout


@pytest.mark.parametrize(("options", "code"), [((), 3), (("--lenient",), 0)])
def test_a_database_that_is_not_there(options: tuple[str, ...], code: int) -> None:
    done = audit(f"http://127.0.0.1:{free_port()}/v1/query", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert "not audited, the database cannot be reached" in done.stdout


def test_allowed_until_a_day() -> None:
    text = '[[allowed]]\nid = "CVE-1"\nreason = "not called"\nuntil = 2026-06-30\n'
    assert read_allowed(text, date(2026, 6, 30)) == {"CVE-1": "not called"}
    assert read_allowed(text, date(2026, 7, 1)) == {}
    with pytest.raises(KeyError, match="reason"):
        read_allowed('[[allowed]]\nid = "CVE-1"\nuntil = 2026-06-30\n', date(2026, 6, 1))


def test_every_ci_run_asks() -> None:
    assert "make audit" in (ROOT / ".ci" / "run").read_text()
