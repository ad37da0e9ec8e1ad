"""A model store in seconds: every kind at its tiny preset, fitted on synthetic data, and published
by the real pipeline.

`python -m tests.tiny_store FOLDER` makes one by hand.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

from tests.training.conformance import case
from training.config import to_dict
from training.kinds import kinds
from training.pipeline import Options, Pipeline
from training.runs import Run, RunRecord


def make_run(folder: Path, kind: str, data: Path) -> Run:
    """A run of the kind's tiny preset under its own model's name, not started."""
    record = RunRecord(
        kind=kind,
        model=kinds()[kind].default_model,
        preset="tiny",
        config=to_dict(kinds()[kind].presets["tiny"]),
        data=str(data),
        created_at="2026-01-01T00:00:00Z",
    )
    return Run.create(folder, record)


def build_tiny_store(folder: Path) -> None:
    """Publish `cifar10`, `shakespeare` and `cifar10-gan` in the store `folder`.

    The classifier goes first: the GAN's samples are judged by it.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        temporary = Path(name)
        for kind in sorted(kinds(), key=lambda kind: (kind != "cnn", kind)):
            run = make_run(temporary / "runs" / kind, kind, case(kind).write_data(temporary / kind))
            options = Options(
                store=folder,
                cache_dir=temporary / "cache",
                precision="float32",  # which of two is faster must not decide what tests read
                floors=case(kind).FLOORS,
            )
            Pipeline(run, options).run_all()


if __name__ == "__main__":
    build_tiny_store(Path(sys.argv[1]))
