from __future__ import annotations

from pathlib import Path

from tests.synthetic import write_text

FLOORS = {"val_loss_nats": 100.0, "sample_recited_share": 1.0}


def write_data(folder: Path) -> Path:
    return write_text(folder / "text.txt")
