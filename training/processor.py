"""Which processor a figure was measured on."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def describe_processor(cpuinfo: Path = _CPUINFO) -> str:
    """Its name, with family and model where the system tells them.

    A virtual machine's processor may be called no more than "AMD EPYC", whichever generation it
    is of, and the generations differ by a factor of two. "CPU" where nothing is known.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name") or platform.processor() or "CPU"
    if "cpu family" in facts and "model" in facts:
        return f"{name} (family {facts['cpu family']}, model {facts['model']})"
    return name
