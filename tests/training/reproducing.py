"""The command that measures a published version again, from its files."""

from __future__ import annotations

from pathlib import Path

from training.cli import main


def reproduce(version: Path, data: Path, cache_dir: Path, *words: str) -> int:
    """Its exit code; reports go to `reports/` beside the store that holds the folder `version`."""
    store = version.parent.parent
    places = ["--store", str(store), "--out", str(store.parent / "reports")]
    return main(["reproduce", *places, "--data", str(data), "--cache-dir", str(cache_dir), *words])
