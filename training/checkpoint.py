"""Files with weights: written whole or not at all, read without running any code in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from training.atomic import replacing
from training.errors import FitError


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; a reader sees the old file or the new one."""
    with replacing(path) as file:
        torch.save(content, file)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, onto the CPU; raises FitError for a missing or damaged file."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FitError(f"{path} is not there; run `fit` first") from error
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise FitError(f"{path} is damaged or not a checkpoint: {error}") from error
    return content
