"""Triton's statistics extension, from the metrics of all workers.

What is measured here, since the server's start and over all versions and protocols:
- `inference_count`: rows that went through the graph (of a model that writes text, a row a
  character); `execution_count`: runs.
- `success`: requests answered, and their whole time; `fail`: how many were not.
- `queue`: requests that began to run, and how long they waited.
- `compute_infer`: runs, and their time.
- `cache_hit`: requests answered from the cache of answers.

The rest is there because the schema demands it, and zero because it is not measured:
`last_inference`, `compute_input`, `compute_output`, `cache_miss`, the time of failures and hits;
`batch_stats` is empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.contract import Manifest

_DESCRIBING = frozenset({"models", "tokenize"})
"""Routes whose requests name a model and run nothing."""

_Sums = dict[tuple[str, str], float]


async def statistics(manifests: Iterable[Manifest]) -> dict[str, Any]:
    """Triton's `model_stats`, of the given models."""
    sums = _sums((await metrics.exposition()).decode())
    return {"model_stats": [_of(manifest, sums) for manifest in manifests]}


def _sums(text: str) -> _Sums:
    """Add up the samples of each series, by its name (requests: and outcome) and its model."""
    sums: _Sums = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if labels.get("route") in _DESCRIBING or not labels.get("model") or "le" in labels:
                continue
            name = sample.name.removeprefix("triptych_")
            if name == "requests_total":
                name = "ok" if labels["outcome"] == "ok" else "failed"
            sums[name, labels["model"]] += sample.value
    return sums


def _of(manifest: Manifest, sums: _Sums) -> dict[str, Any]:
    def of(name: str) -> float:
        return sums.get((name, manifest.name), 0.0)

    def timed(count: str, seconds: str | None = None) -> dict[str, int]:
        return {"count": int(of(count)), "ns": round(of(seconds) * 1e9) if seconds else 0}

    nothing = {"count": 0, "ns": 0}
    return {
        "name": manifest.name,
        "version": manifest.version,
        "last_inference": 0,
        "inference_count": int(of("batch_rows_sum")),
        "execution_count": int(of("batch_rows_count")),
        "inference_stats": {
            "success": timed("ok", "request_seconds_sum"),
            "fail": timed("failed"),
            "queue": timed("queue_seconds_count", "queue_seconds_sum"),
            "compute_input": nothing,
            "compute_infer": timed("inference_seconds_count", "inference_seconds_sum"),
            "compute_output": nothing,
            "cache_hit": timed("cache_hits_total"),
            "cache_miss": nothing,
        },
        "batch_stats": [],
    }
