"""Where a figure was measured."""

from __future__ import annotations

import os
import platform
import resource
import time
from datetime import UTC, datetime
from importlib.metadata import version

import psutil

from training.processor import describe_processor


def describe_machine() -> dict[str, str]:
    """Processor, cores, system, versions and date."""
    return {
        "processor": describe_processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{_memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "bentoml", "numpy", "uvicorn")},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def machine_cpu_s() -> float:
    """CPU-seconds that the whole machine has worked so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def children_cpu_s() -> float:
    """CPU-seconds of this process's children that have ended: clients, among others."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def others_cpu_s(server_cpu_s: float) -> float:
    """CPU-seconds of all but a server, this process and its children that have ended."""
    return machine_cpu_s() - server_cpu_s - time.process_time() - children_cpu_s()
