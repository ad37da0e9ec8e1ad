"""What the steps of a run are told besides the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from service.contract import WantedPrecision
from service.store.trial import Mode
from training.distributed import Ranks


@dataclass(frozen=True)
class TrialOptions:
    """A share of the requests, or copies of them, before it gets all."""

    mode: Mode
    share: float
    window_s: float
    least_requests: int


@dataclass(frozen=True)
class Options:
    """Where things are, and how the gate is set."""

    store: Path | str = "models"
    cache_dir: Path = Path("~/.cache/triptych")
    device: torch.device = torch.device("cpu")
    ranks: Ranks | None = None
    """The processes that fit together; None is this one alone."""
    judge: str | None = None
    """A model of the store, or the folder of a version, that takes part in the evaluation; None is
    the kind's usual partner."""
    baseline: str | None = None
    """As `judge`: the model whose figures stand beside; None is the kind's own, where published."""
    precision: WantedPrecision = "auto"
    """Of the graph to serve: the gate's choice, or one of them."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Metrics whose floor differs from the kind's own."""
    allowed_losses: Mapping[str, float] = field(default_factory=dict)
    """Metrics that may be so much worse than the served version's though a test is sure of it."""
    trial: TrialOptions | None = None
    """How the version is put on trial when it is published; None serves it at once."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Costs, as multiples of the served version's, whose ceiling differs from the usual one."""
