"""Where a model comes from: code revision, library versions, data."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import onnx
import torch

from service import session

ROOT = Path(__file__).resolve().parent.parent


def code_revision() -> str:
    """The commit of this checkout, `+changes` behind it where files differ; or `unknown`."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--", "training", "service")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+changes" if changes else head


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return result.stdout.strip()


def library_versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "onnx": onnx.__version__,
        "numpy": np.__version__,
        **session.versions(),
    }
