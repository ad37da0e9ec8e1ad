"""A run's folder: what each step leaves there for the next, and who wrote it.

run.json          kind, model, preset, configuration, data source, command
checkpoint.pt     to go on from; best.pt: the weights to serve
start.pt          the weights that the fit began with, where they were not random
teacher.onnx      the graph whose answers the fit follows, where it has a teacher; of several, the
                  next is teacher2.onnx
metrics.jsonl     a line for each epoch; curves.png, samples/ and tensorboard/ beside it
fit.json, export.json, verification.json, variants.json, evaluation.json, gate.json
                  each step's result, with the hash of the weights it is of, what else the step
                  read, and the files it made; written last, so that it stands for them
outcome.json      how the run ended
plots/            the evaluation's
new-data/         a copy of the new data that joined the training split; data-check/ is their check
candidate/        what `publish` publishes
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from service.contract import digest_file
from training import atomic
from training.data.gather import source_name
from training.errors import ConfigError, FitError
from training.loop import BEST_FILE, CHECKPOINT_FILE

RUN_FILE = "run.json"
START_FILE = "start.pt"
TEACHER_STEM = "teacher"
TEACHER_FILE = f"{TEACHER_STEM}.onnx"
CURVES_FILE = "curves.png"
PLOTS_FOLDER = "plots"
CANDIDATE_FOLDER = "candidate"
NEW_DATA_FOLDER = "new-data"

ResultT = TypeVar("ResultT")


class RunRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`run.json`: what was asked for. `data` is a path, or None for the kind's usual data."""

    kind: str
    model: str
    preset: str
    config: dict[str, Any]
    data: str | None
    created_at: str
    new_data: str | None = None
    """A folder or an address whose labelled data join the training split."""
    started_from: str = ""
    """Which weights the fit began with, in words; empty: with random ones."""
    taught_by: str = ""
    """Which published version the fit learns from besides the labels; empty: none."""
    data_sha256: str = ""
    """Of the data that the run began on; empty where it was not kept."""


class Run:
    """One run's folder."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder, self.record = folder, record
        self.plots = folder / PLOTS_FOLDER
        self.candidate = folder / CANDIDATE_FOLDER
        self.best, self.start = folder / BEST_FILE, folder / START_FILE
        self.addition: Path | None = None
        """Where the run's new data lie; None if it has none."""
        if record.new_data is not None:
            self.addition = folder / NEW_DATA_FOLDER / source_name(record.new_data)

    @classmethod
    def create(
        cls,
        folder: Path,
        record: RunRecord,
        start: Path | None = None,
        teachers: Sequence[Path] = (),
    ) -> Run:
        """Start a run in a folder that holds none; raises ConfigError if it does. Copies of the
        weights `start` and the graphs of the `teachers` stay with it.
        """
        if (folder / RUN_FILE).exists():
            raise ConfigError(
                f"{folder} holds a run already; go on with it by --resume, or give another "
                "--run-dir",
                field="run_dir",
            )
        folder.mkdir(parents=True, exist_ok=True)
        if start is not None:
            shutil.copyfile(start, folder / START_FILE)
        for number, graph in enumerate(teachers, start=1):
            name = TEACHER_FILE if number == 1 else f"{TEACHER_STEM}{number}.onnx"
            shutil.copyfile(graph, folder / name)
        # Last: a folder without it is no run, whatever else was written before a crash.
        atomic.write(folder / RUN_FILE, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        return cls(folder, record)

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Read a run's folder; raises ConfigError if it holds none."""
        try:
            raw = (folder / RUN_FILE).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{folder} holds no run; start one with `fit` or `run`", field="run_dir"
            ) from error
        try:
            return cls(folder, msgspec.json.decode(raw, type=RunRecord))
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{folder / RUN_FILE}: {error}", field="run_dir") from error

    @property
    def teachers(self) -> list[Path]:
        """The graphs whose answers the fit follows."""
        return sorted(self.folder.glob(f"{TEACHER_STEM}*.onnx"))

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.folder / CHECKPOINT_FILE).exists()

    def weights_sha256(self) -> str:
        """Hash of the weights to serve; raises FitError before the first are there."""
        if not self.best.exists():
            raise FitError(f"{self.folder} has no fitted weights yet; run `fit` first")
        return digest_file(self.best).sha256

    def write(
        self,
        step: str,
        result: msgspec.Struct,
        *,
        reads: Mapping[str, str] | None = None,
        made: Iterable[Path] = (),
    ) -> None:
        """Leave a step's result, marked with the weights that it is of.

        `reads` names what else decided it, `made` are the step's files in the run's folder: see
        `is_done`.
        """
        content = {
            "weights_sha256": self.weights_sha256(),
            "reads": reads or {},
            "made": {str(path.relative_to(self.folder)): digest_file(path).sha256 for path in made},
            "result": result,
        }
        atomic.write(
            self.folder / f"{step}.json",
            msgspec.json.format(msgspec.json.encode(content)) + b"\n",
        )

    def is_done(self, step: str, type_: type[Any], reads: Mapping[str, str]) -> bool:
        """Whether the step's result is there, of the current weights and of the same `reads`, and
        every file that the step made is as it left it.
        """
        try:
            self.read(step, type_, step)
            content = msgspec.json.decode((self.folder / f"{step}.json").read_bytes())
            same: bool = content["reads"] == dict(reads)
            return same and all(
                digest_file(self.folder / path).sha256 == sha256
                for path, sha256 in content["made"].items()
            )
        except (FitError, OSError, KeyError):
            return False

    def was_read(self, step: str) -> dict[str, str]:
        """What a step that is done had read, as `is_done` compares it."""
        reads: dict[str, str] = msgspec.json.decode((self.folder / f"{step}.json").read_bytes())[
            "reads"
        ]
        return reads

    def read(self, step: str, type_: type[ResultT], command: str) -> ResultT:
        """Read a step's result; raises FitError if `command` has to be run first, or again."""
        path = self.folder / f"{step}.json"
        try:
            content = msgspec.json.decode(path.read_bytes())
            result = msgspec.convert(content["result"], type_)
        except OSError as error:
            raise FitError(f"{path} is not there; run `{command}` first") from error
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise FitError(f"{path} cannot be read ({error}); run `{command}` again") from error
        if content["weights_sha256"] != self.weights_sha256():
            raise FitError(f"{path} is of earlier weights; run `{command}` again")
        return result


def new_run_folder(runs: Path, model: str) -> Path:
    """A folder name that sorts by time and that no other run has."""
    now = datetime.now(UTC).strftime("%Y%m%dt%H%M%S")
    return runs / model / f"{now}-{secrets.token_hex(2)}"


def run_folders(runs: Path, model: str) -> list[Path]:
    """Every run of the model, in the order in which they were started."""
    found = sorted((runs / model).glob(f"*/{RUN_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    return [path.parent for path in found]


def latest_run_folder(runs: Path, model: str) -> Path:
    """The model's run that was started last; raises ConfigError if there is none."""
    found = run_folders(runs, model)
    if not found:
        raise ConfigError(
            f"{runs / model} holds no run; start one with `fit` or `run`, or name its folder "
            "with --run-dir",
            field="run_dir",
        )
    return found[-1]
