"""Feedback keeps what it may, in files that are whole, and never stands in a request's way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pyarrow import parquet

from service.contract import Manifest
from service.errors import SettingsError
from service.feedback import Feedback, Observation, Row, check_feedback, open_feedback
from service.feedback.columns import COLUMNS, chosen_columns
from service.feedback.recorder import QUEUE_BYTES, ROW_BYTES
from service.feedback.shelf import FolderShelf, open_shelf
from service.metrics import RequestMeter
from service.settings import Settings
from service.store import Store
from tests.bucket import new_bucket, s3_server
from tests.conftest import ROOT
from training.data.gather import gather
from training.drift.traffic import read_feedback

PRIVATE = {"prompt", "text", "image"}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    store = Store(ROOT / "models")
    return store.manifest("shakespeare", store.current("shakespeare"))


@contextmanager
def recording(folder: Path, **settings: Any) -> Iterator[Feedback]:
    feedback = open_feedback(Settings(feedback=str(folder), **settings))
    yield feedback
    feedback.close()


def seen(text: str, *, size_bytes: int = 100) -> Observation:
    """A prompt that was answered."""

    def rows(_: frozenset[str]) -> list[Row]:
        return [{"prompt": text, "prompt_chars": len(text)}]

    return Observation([text.encode()], 1, size_bytes, rows)


def read(folder: Path) -> list[dict[str, Any]]:
    """Every row, as a reader that is not the writer's sees it."""
    tables = [
        parquet.read_table(path, partitioning=None) for path in sorted(folder.rglob("*.parquet"))
    ]
    return [row for table in tables for row in table.to_pylist()]


def counted(what: str, model: str) -> float:
    return REGISTRY.get_sample_value(f"triptych_feedback_rows_{what}_total", {"model": model}) or 0


def dropped(model: str) -> float:
    return counted("dropped", model)


def test_off_it_keeps_nothing(tmp_path: Path, manifest: Manifest) -> None:
    feedback = open_feedback(Settings())
    feedback.offer(RequestMeter("completions"), manifest, seen, "a prompt")
    feedback.close()
    assert list(tmp_path.iterdir()) == []


def test_rows_lie_by_model_and_day_with_every_public_column(
    tmp_path: Path, manifest: Manifest
) -> None:
    before = counted("kept", manifest.name)
    with recording(tmp_path) as feedback:
        feedback.offer(RequestMeter("completions"), manifest, seen, "To be")
    assert counted("kept", manifest.name) - before == 1
    (row,) = read(tmp_path)
    assert set(row) == {column.name for column in COLUMNS} - PRIVATE
    assert (row["model"], row["version"]) == (manifest.name, manifest.version)
    assert row["route"] == "completions"
    assert row["prompt_chars"] == 5
    assert row["label"] is None
    assert row["latency_ms"] >= 0
    today = datetime.now(UTC)
    assert abs(row["time"] - today) < timedelta(minutes=1)
    (file,) = tmp_path.rglob("*.parquet")
    assert file.parent.parent == tmp_path / manifest.name
    assert file.parent.name in {
        f"date={day.date().isoformat()}" for day in (today, today - timedelta(minutes=1))
    }
    assert not list(tmp_path.rglob("*.partial"))


def test_what_clients_sent_is_kept_only_if_it_is_named(tmp_path: Path, manifest: Manifest) -> None:
    with recording(tmp_path / "named", feedback_fields="prompt, time") as feedback:
        feedback.offer(RequestMeter("completions"), manifest, seen, "a secret")
    assert [set(row) for row in read(tmp_path / "named")] == [{"time", "prompt"}]
    with recording(tmp_path / "usual") as feedback:
        feedback.offer(RequestMeter("completions"), manifest, seen, "a secret")
    (file,) = (tmp_path / "usual").rglob("*.parquet")
    assert b"a secret" not in file.read_bytes()


def test_a_request_is_in_the_sample_or_never(tmp_path: Path, manifest: Manifest) -> None:
    prompts = [f"prompt {number}" for number in range(400)]
    kept = []
    for attempt in ("one", "two"):
        with recording(
            tmp_path / attempt, feedback_share=0.25, feedback_fields="prompt"
        ) as feedback:
            for prompt in prompts:
                feedback.offer(RequestMeter("completions"), manifest, seen, prompt)
        kept.append(sorted(row["prompt"] for row in read(tmp_path / attempt)))
    assert kept[0] == kept[1]
    assert 50 < len(kept[0]) < 150


def test_a_share_of_nothing_keeps_nothing(tmp_path: Path, manifest: Manifest) -> None:
    with recording(tmp_path, feedback_share=0.0) as feedback:
        feedback.offer(RequestMeter("completions"), manifest, seen, "a prompt")
    assert list(tmp_path.iterdir()) == []


def test_a_full_queue_drops_rows_and_counts_them(tmp_path: Path, manifest: Manifest) -> None:
    before, begun, go_on = dropped(manifest.name), threading.Event(), threading.Event()

    def slow(_: frozenset[str]) -> list[Row]:
        begun.set()
        assert go_on.wait(timeout=60)
        return [{"prompt_chars": 1}]

    with recording(tmp_path) as feedback:
        meter = RequestMeter("completions")
        feedback.offer(meter, manifest, lambda: Observation([], 1, 1, slow))
        assert begun.wait(timeout=60)  # the writer is busy, and stays so
        feedback.offer(
            meter, manifest, lambda: seen("fits", size_bytes=QUEUE_BYTES - 2 * ROW_BYTES - 1)
        )
        for _ in range(3):
            feedback.offer(meter, manifest, seen, "does not fit")
        assert dropped(manifest.name) - before == 3
        go_on.set()
    assert sorted(row["prompt_chars"] for row in read(tmp_path)) == [1, 4]
    with recording(tmp_path / "again") as feedback:  # there is room again
        feedback.offer(meter, manifest, seen, "fits as well")
    assert len(read(tmp_path / "again")) == 1


def test_what_fails_here_fails_no_request(
    tmp_path: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise ValueError("broken")

    before = dropped(manifest.name)
    with recording(tmp_path) as feedback:
        meter = RequestMeter("completions")
        feedback.offer(meter, manifest, broken)
        feedback.offer(meter, manifest, lambda: Observation([], 2, 1, broken))
        feedback.offer(meter, manifest, lambda: None)
        feedback.offer(meter, manifest, seen, "whole")
    assert caplog.text.count("was not kept") == 2
    assert dropped(manifest.name) - before == 2
    assert len(read(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_costs_the_rows(
    tmp_path: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    before = dropped(manifest.name)
    with recording(tmp_path) as feedback:
        (tmp_path / manifest.name).write_text("a file is in the way")
        feedback.offer(RequestMeter("completions"), manifest, seen, "lost")
    assert dropped(manifest.name) - before == 1
    assert "1 rows of" in caplog.text


def test_days_go_when_their_time_is_over(tmp_path: Path) -> None:
    shelf = FolderShelf(tmp_path, chosen_columns(""))
    today = date(2026, 3, 10)
    for age in range(5):
        shelf.write("pets", today - timedelta(days=age), [{"label": "cat"}])
    other = tmp_path / "pets" / "date=of birth"
    other.mkdir()
    shelf.expire(today, 0)
    assert len(list(tmp_path.rglob("*.parquet"))) == 5
    shelf.expire(today, 2)
    assert sorted(path.name for path in (tmp_path / "pets").iterdir()) == [
        *("date=2026-03-08", "date=2026-03-09", "date=2026-03-10", "date=of birth"),
    ]


def test_workers_share_a_folder(tmp_path: Path) -> None:
    day = date(2026, 3, 10)
    paths = {
        FolderShelf(tmp_path, chosen_columns("label")).write("pets", day, [{"label": name}])
        for name in ("cat", "dog")
    }
    assert len(paths) == 2
    assert sorted(row["label"] for row in read(tmp_path)) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feedback_fields": "lable"}, "'lable' is not a field; did you mean label"),
        ({"feedback_share": 1.5}, "TRIPTYCH_FEEDBACK_SHARE is 1.5; it is at most 1"),
        ({"feedback": "ftp://bucket/feedback"}, "is no bucket"),
        ({"feedback": "/proc/feedback"}, "cannot be written"),
    ],
)
def test_a_mistake_stops_the_start(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        check_feedback(Settings(**settings))
    assert caught.value.field.startswith("TRIPTYCH_FEEDBACK")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "service.feedback.shelf", raising=False)
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(SettingsError, match=r"triptych\[feedback\]"):
        check_feedback(Settings(feedback=str(tmp_path)))


def test_private_columns_are_these() -> None:
    assert {column.name for column in COLUMNS if column.private} == PRIVATE
    assert not PRIVATE & {column.name for column in chosen_columns("")}
    assert [column.name for column in chosen_columns("image,label")] == ["label", "image"]


def test_the_readme_lists_every_column() -> None:
    section = (ROOT / "README.md").read_text("utf-8").partition("### Feedback\n")[2]
    section = section.partition("\n### ")[0]
    for column in COLUMNS:
        assert f"`{column.name}`" in section


def test_a_bucket_keeps_feedback_as_a_folder_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    today = date(2026, 6, 30)
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        location = new_bucket(variables)
        shelf = open_shelf(location, chosen_columns("label"))
        for age in (0, 1, 40):
            shelf.write("pets", today - timedelta(days=age), [{"label": f"{age} days old"}])
        shelf.expire(today, 30)
        found = read_feedback(gather(location, tmp_path), "pets")
        assert sorted(found["label"]) == ["0 days old", "1 days old"]
        assert sorted(found["day"]) == [today - timedelta(days=1), today]


def test_what_is_no_bucket_is_refused() -> None:
    with pytest.raises(SettingsError, match="is no bucket") as caught:
        open_shelf("ftp://somewhere", chosen_columns("label"))
    assert caught.value.field == "TRIPTYCH_FEEDBACK"
