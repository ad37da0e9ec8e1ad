"""A real Prometheus on the shipped rules, with one service as its target."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.ports import free_port

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
RULES = ("rules.yml", "alerts.yml")


def rules(file: str) -> list[dict[str, Any]]:
    """Every rule of one of the files."""
    groups = yaml.safe_load((SHIPPED / file).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


class Prometheus:
    """Its API, as far as we ask it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path: str, **parameters: object) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}") as answer:
            content = json.load(answer)
        assert content["status"] == "success"
        return content["data"]

    def ask(self, query: str) -> list[Any]:
        """A query's result now: series with a `value` each."""
        result: list[Any] = self.get("query", query=query)["result"]
        return result

    def ask_range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[Any]:
        """A query's result over time: series with `values` each."""
        data = self.get("query_range", query=query, start=start_s, end=end_s, step=step_s)
        result: list[Any] = data["result"]
        return result

    def firing(self) -> dict[str, dict[str, str]]:
        """Alerts that fire, by name, with the labels of one of each."""
        return {
            alert["labels"]["alertname"]: alert["labels"]
            for alert in self.get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def wait_for(self, query: str, timeout_s: float = 20.0) -> None:
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                if self.ask(query):
                    return
            except OSError:
                pass  # it is starting
            assert time.monotonic() < end_s, f"no result of {query} after {timeout_s} s"
            time.sleep(0.2)


@contextmanager
def scraping(binary: str, service_port: int, folder: Path) -> Iterator[Prometheus]:
    """The shipped configuration and rules, the very files; but scraped and judged each second."""
    configuration = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = [{"targets": [f"127.0.0.1:{service_port}"]}]
    configuration["scrape_configs"][0]["static_configs"] = targets
    assert tuple(configuration["rule_files"]) == RULES
    folder.mkdir(exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    for file in RULES:
        shutil.copy(SHIPPED / file, folder)
    port = free_port()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as server,
    ):
        try:
            running = Prometheus(port)
            running.wait_for('count_over_time(up{job="triptych"}[10s]) >= 2')
            yield running
        finally:
            server.terminate()
