"""`triptych-train data check`, `triptych-train drift`, and the check before a run's fit."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.contract import DataRecord
from training.data.gather import gather, is_address
from training.drift.check import Check
from training.drift.profile import profile_traffic
from training.drift.report import (
    format_check,
    format_drift,
    make_report,
    write_check,
    write_report,
)
from training.errors import ConfigError, DataError, DataRefusedError, DriftError
from training.kinds import kinds
from training.kinds.base import Kind
from training.measures.drift import Limits, compare
from training.pipeline import Pipeline
from training.publish import verified_manifest, version_folder

CHECK_FOLDER = "data-check"


def limits_of(arguments: argparse.Namespace) -> Limits:
    """The thresholds of a command line; raises ConfigError for one that cannot be."""
    limits = Limits(
        psi_note=arguments.psi_note,
        psi_refuse=arguments.psi_refuse,
        significance=arguments.significance,
        share_ratio=arguments.share_ratio,
    )
    if not 0 <= limits.psi_note <= limits.psi_refuse:
        raise ConfigError(
            "--psi-note must be 0 or more, and --psi-refuse no less than that", field="psi_note"
        )
    if not 0 < limits.significance < 1:
        raise ConfigError("--significance must lie between 0 and 1", field="significance")
    if not limits.share_ratio >= 1:
        raise ConfigError("--share-ratio must be 1 or more", field="share_ratio")
    return limits


def check_data(arguments: argparse.Namespace) -> None:
    """Check new data; raises DataRefusedError if they do not fit, DataError if unreadable."""
    if arguments.data is None:
        raise ConfigError("say what to check: --data FOLDER", field="data")
    kind, limits = kinds()[arguments.kind], limits_of(arguments)
    cache_dir = arguments.cache_dir.expanduser()
    if arguments.against_model is None:
        reference = kind.load_data(arguments.against, cache_dir)
    else:
        record = _served(arguments.store, arguments.against_model, kind)[1]
        places = [Path(arguments.against)] if arguments.against else []
        reference = kind.load_recorded(record, places, cache_dir, option="--against")
    with gathered(arguments.data) as folder:
        check, expected, observed = kind.check_new(reference, folder, limits)
    print(format_check(check))
    print(write_check(check, expected, observed, arguments.out))
    _refuse(check)


@contextmanager
def admitted(pipeline: Pipeline, limits: Limits) -> Iterator[None]:
    """Check a run's new data, and let the run read a copy of them while the block makes its folder.

    The copy and the report of the check move into the folder at the end. Nothing is done for a run
    without new data. Raises DataRefusedError if they do not fit, DataError if they are unreadable.
    """
    run = pipeline.run
    if run.record.new_data is None:
        yield
        return
    final, kind = run.addition, pipeline.kind
    assert final is not None
    base = kind.load_data(run.record.data, pipeline.options.cache_dir.expanduser())
    with gathered(run.record.new_data) as copy:
        check, expected, observed = kind.check_new(base, copy, limits)
        pipeline.say(format_check(check))
        _refuse(check)
        joined, left_out = kind.join(base, copy)
        pipeline.say(
            f"new data: {_count(kind.record(joined))} join the training split; {left_out} are held "
            "out for tests already, and left out"
        )
        run.addition = copy
        try:
            yield
        finally:
            run.addition = final
        if run.folder.exists():  # not in a dry run
            final.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(copy, final)
            write_check(check, expected, observed, run.folder / CHECK_FOLDER)


def watch(arguments: argparse.Namespace) -> None:
    """Compare live traffic with the training data of the served version; raises DriftError."""
    from training.drift.traffic import read_feedback  # noqa: PLC0415 - Arrow takes a while to load

    limits = limits_of(arguments)
    if arguments.days is not None and arguments.days < 1:
        raise ConfigError("--days must be 1 or more", field="days")
    version, record, kind = _served(arguments.store, arguments.model)
    with _feedback(arguments.feedback) as folder:
        rows = read_feedback(folder, arguments.model, days=arguments.days)
    observed = profile_traffic(rows)
    data = kind.load_recorded(record, arguments.data, arguments.cache_dir.expanduser())
    expected = kind.profile(data)
    drift = compare(expected, observed, limits)
    if not drift:
        raise DataError(
            f"the feedback of {arguments.model} has nothing to compare with the training data of a "
            f"{kind.name}; name more in TRIPTYCH_FEEDBACK_FIELDS"
        )
    report = make_report(arguments.model, version, rows, drift, limits)
    print(f"{arguments.model} {version}: {report.rows:,} rows of feedback")
    print(format_drift(drift))
    print("\n".join(f"  note: {note}" for note in report.notes) or "  nothing to note")
    print(write_report(report, expected, observed, rows, arguments.out))
    if report.drifted:
        raise DriftError("the traffic has drifted:\n  " + "\n  ".join(report.drifted))


def _served(
    store: Path | str, name: str, kind: Kind[Any, Any] | None = None
) -> tuple[str, DataRecord, Kind[Any, Any]]:
    """Version, data and kind of a published model; raises ConfigError if it is none of `kind`."""
    folder = version_folder(store, name)
    if folder is None:
        raise ConfigError(f"{store} holds no model {name!r}", field="model")
    manifest = verified_manifest(folder)
    if manifest.kind not in kinds() or (kind is not None and manifest.kind != kind.name):
        raise ConfigError(f"{name} is a {manifest.kind}", field="kind")
    return manifest.version, manifest.data, kinds()[manifest.kind]


@contextmanager
def _feedback(source: str) -> Iterator[Path]:
    """A folder that holds the feedback, while the block lasts."""
    if not is_address(source):
        yield Path(source)
        return
    with gathered(source) as folder:
        yield folder


@contextmanager
def gathered(source: str) -> Iterator[Path]:
    """A copy of new data, while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="triptych-new-data-") as place:
        yield gather(source, Path(place))


def _refuse(check: Check) -> None:
    if check.verdict == "refused":
        raise DataRefusedError(
            f"{check.source} does not fit {check.reference}:\n  " + "\n  ".join(check.problems)
        )


def _count(record: DataRecord) -> str:
    return ", ".join(f"{count:,}" for count in record.parts[-1].examples.values())
