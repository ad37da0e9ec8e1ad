"""What can go wrong in training, for people: every message says what to do next.

The command line prints the message alone, without a traceback, and exits with the code that
`training.cli` documents.
"""

from __future__ import annotations

from service.errors import TriptychError


class TrainingError(TriptychError):
    """Root of every error that `training` raises on purpose."""

    code = "training"


class ConfigError(TrainingError):
    """A setting is misspelt, of the wrong type, out of range, or at odds with another."""

    code = "config"


class DataError(TrainingError):
    """Training data are missing, damaged, unreachable or not of the expected layout."""

    code = "data"


class DataRefusedError(TrainingError):
    """New data do not fit what is there: unknown classes, another balance, other features."""

    code = "data_refused"


class DriftError(TrainingError):
    """What clients send is no longer like the training data."""

    code = "drift"


class GateRefusedError(TrainingError):
    """The candidate misses a floor, or is worse than the served version beyond the tolerance."""

    code = "gate_refused"


class AlreadyRunningError(TrainingError):
    """Another process works on a run of this model."""

    code = "already_running"


class FailedRunError(TrainingError):
    """A run ended before its time; the message says at which step, and how to go on."""

    code = "run_failed"


class PublishError(TrainingError):
    """The candidate cannot become a version: incomplete, altered, or already published."""

    code = "publish"


class StoreError(TrainingError):
    """Something in the model store is not whole."""

    code = "store"


class FitError(TrainingError):
    """A run cannot go on: a loss that is not finite, or a checkpoint of another run."""

    code = "fit"


class InterruptedFitError(FitError):
    """The user stopped the run; its checkpoint is saved."""

    code = "interrupted"


class DivergedError(FitError):
    """A loss became infinite or not a number."""

    code = "diverged"


class ExportError(TrainingError):
    """The exported graph does not do what the network does."""

    code = "export"


class ReproductionError(TrainingError):
    """What is measured now is not what was published."""

    code = "reproduction"
