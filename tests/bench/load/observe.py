"""A service seen from outside: its models, and what its metrics say of a stretch of time."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_RUNS = {
    "runs": "triptych_inference_seconds_count",
    "seconds": "triptych_inference_seconds_sum",
    "rows": "triptych_batch_rows_sum",
}


def get(host: str, port: int, path: str) -> str:
    """The body of a GET; raises OSError if it is not answered with 200."""
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def models(host: str, port: int) -> list[dict[str, Any]]:
    """`data` of `/v1/models`."""
    found: list[dict[str, Any]] = json.loads(get(host, port, "/v1/models"))["data"]
    return found


def totals(exposition: str) -> dict[str, dict[str, float]]:
    """Of each model: runs so far, their seconds and their rows."""
    found: dict[str, dict[str, float]] = {}
    names = {sample: key for key, sample in _RUNS.items()}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if key := names.get(sample.name):
                model = found.setdefault(sample.labels["model"], dict.fromkeys(_RUNS, 0.0))
                model[key] += sample.value
    return found


def between(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Mean rows and mean seconds of a run between two looks, of each model that ran."""
    found = {}
    for name, now in after.items():
        then = before.get(name, dict.fromkeys(_RUNS, 0.0))
        runs = now["runs"] - then["runs"]
        if runs > 0:
            found[name] = {
                "runs": runs,
                "rows": (now["rows"] - then["rows"]) / runs,
                "seconds": (now["seconds"] - then["seconds"]) / runs,
            }
    return found
