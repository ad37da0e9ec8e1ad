"""What a run tells while it runs: a progress bar, `metrics.jsonl` and TensorBoard files."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"


class Journal:
    """One line of `metrics.jsonl` for each epoch: {"epoch", "step", "elapsed_s", figures...}.

    Resuming at an epoch cuts the lines of later epochs off, so that the file reads as if the run
    had never stopped.
    """

    def __init__(self, folder: Path, *, epochs: int, steps_per_epoch: int, step: int) -> None:
        self._path = folder / METRICS_FILE
        epoch = step // steps_per_epoch
        kept = [line for line in read_metrics(folder) if line["epoch"] <= epoch]
        folder.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)
        self._bar = tqdm(
            total=epochs * steps_per_epoch,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            mininterval=1.0,
            smoothing=0.05,
            disable=None,  # on a terminal alone: in a log file a bar is noise
        )
        self._epochs = epochs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._writer.close()

    def advance(self, epoch: int) -> None:
        """One step is done; the bar shows rate and time left."""
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}", refresh=False)
        self._bar.update()

    def record(self, line: dict[str, Any]) -> None:
        """Write an epoch's figures everywhere."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for key, value in line.items():
            if key not in ("epoch", "step"):
                self._writer.add_scalar(key, value, line["step"])
        shown = {key: f"{value:.4g}" for key, value in line.items() if key not in ("epoch", "step")}
        tqdm.write(f"epoch {line['epoch']:>3}  " + "  ".join(f"{k} {v}" for k, v in shown.items()))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The epochs recorded so far; empty before the first. A line cut short by a crash, and what
    might follow it, is left out: the checkpoint is older than it.
    """
    path = folder / METRICS_FILE
    lines: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return lines
