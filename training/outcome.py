"""How a run ended: `outcome.json` in its folder. One that is under way, or was killed, has none."""

from __future__ import annotations

from typing import Literal

import msgspec

from training import atomic
from training.runs import Run

OUTCOME_FILE = "outcome.json"
State = Literal["published", "refused", "failed", "interrupted"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`step` is the last one begun; `version` is empty unless it was published."""

    state: State
    step: str
    message: str = ""
    version: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing is left to go on with."""
        return self.state in ("published", "refused")


def write_outcome(run: Run, outcome: Outcome) -> None:
    """Replace what the folder says; raises OSError."""
    content = msgspec.json.format(msgspec.json.encode(outcome)) + b"\n"
    atomic.write(run.folder / OUTCOME_FILE, content)


def clear_outcome(run: Run) -> None:
    """The run goes on."""
    (run.folder / OUTCOME_FILE).unlink(missing_ok=True)


def read_outcome(run: Run) -> Outcome | None:
    """None for a run without one; one that cannot be read says nothing either."""
    try:
        return msgspec.json.decode((run.folder / OUTCOME_FILE).read_bytes(), type=Outcome)
    except (OSError, msgspec.MsgspecError):
        return None
