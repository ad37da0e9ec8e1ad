"""What each worker counted, from the files in which prometheus_client keeps their samples."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client.multiprocess import MultiProcessCollector

from service.metrics import FLUSH_S


def requests_by_worker(home: Path) -> dict[int, int]:
    """Requests answered, by the worker's process id."""
    time.sleep(2 * FLUSH_S)  # until what was counted is written
    folder = home / "prometheus_multiproc_dir"
    counted: dict[int, int] = {}
    for path in folder.glob("counter_*.db"):
        pid = int(path.stem.removeprefix("counter_"))
        samples = [
            sample
            for metric in MultiProcessCollector.merge([str(path)])
            for sample in metric.samples
            if sample.name == "triptych_requests_total"
        ]
        if samples:
            counted[pid] = int(sum(sample.value for sample in samples))
    return counted
