"""What a home of models must be able to do: a folder can, and so can a bucket.

Keys are paths below the home, `<name>/CURRENT` for one. A version is there once its manifest is.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from service.contract import CURRENT_FILE

TRIAL_FILE = "TRIAL"
FOLLOWED = (CURRENT_FILE, TRIAL_FILE)
"""What a service watches of every model."""


class Expected(Enum):
    """What must be under a key for a write to happen, where it is not a tag."""

    ANYTHING = "anything"
    NOTHING = "nothing"


ANYTHING: Final = Expected.ANYTHING
NOTHING: Final = Expected.NOTHING


@dataclass(frozen=True)
class Blob:
    """Content under a key. `tag` changes with it."""

    content: bytes
    tag: str


class Home(abc.ABC):
    """Where models live. Every call blocks, and may be made from any thread.

    All raise StoreAwayError where the home cannot be reached or refuses, and OSError where a disk
    does. None leaves half of anything behind that a reader could take for a whole.
    """

    location: str
    """As a user would write it."""
    missing: str
    """What to say when there is no such home."""

    # --- keys -------------------------------------------------------------------------------

    @abc.abstractmethod
    def read(self, key: str) -> Blob | None:
        """What is under a key; None if nothing is."""

    @abc.abstractmethod
    def write(self, key: str, content: bytes, *, expected: str | Expected = ANYTHING) -> None:
        """Replace what is under a key in one step.

        Raises StoreConflictError, with nothing written, unless a blob of tag `expected` (or
        nothing) is there.
        """

    @abc.abstractmethod
    def entries(self, folder: str) -> list[str]:
        """Names of what lies right under the key `folder`, sorted; [] if there is none."""

    @abc.abstractmethod
    def clear(self, folder: str) -> None:
        """Remove what lies right under the key `folder`."""

    # --- versions ---------------------------------------------------------------------------

    @abc.abstractmethod
    def names(self) -> list[str] | None:
        """Models that have a CURRENT, sorted; None if there is no such home."""

    def quick_names(self) -> list[str]:
        """As `names`, where that takes no longer than an event loop may wait; else nothing."""
        return []

    @abc.abstractmethod
    def versions(self, name: str) -> list[str]:
        """Whole versions of a model, sorted by name."""

    @abc.abstractmethod
    def place(self, name: str, version: str, source: Path, files: Sequence[str]) -> None:
        """Make a version of files in the folder `source`, the manifest among them.

        Raises StoreConflictError if the version is there already.
        """

    @abc.abstractmethod
    def folder(self, name: str, version: str) -> Path:
        """A folder of this machine that holds the version's files, fetched where need be."""

    @abc.abstractmethod
    def refetch(self, name: str, version: str) -> bool:
        """Fetch a version anew, where `folder` is a copy that has been damaged; False if not."""

    @abc.abstractmethod
    def remove(self, name: str, version: str) -> None:
        """Remove a version; a reader sees all of it or nothing."""

    @abc.abstractmethod
    def sweep(self, name: str, *, older_than_s: float = 0.0) -> list[str]:
        """Remove what publishers that died have left; returns what that was."""

    @abc.abstractmethod
    def alone(self, name: str) -> AbstractContextManager[None]:
        """Keep other publishers of a model out, where the home can."""

    # --- following --------------------------------------------------------------------------

    @property
    def watchable(self) -> bool:
        """Whether `changes` can begin: a bucket that is away will be back."""
        return True

    @abc.abstractmethod
    def changes(self) -> AsyncIterator[set[str]]:
        """Yield names of models of which something in `FOLLOWED` was replaced, as it happens."""

    def remembered(self) -> dict[str, str]:
        """The version last known to be served of each model whose files are on this machine."""
        return {}


def content_tag(content: bytes) -> str:
    """A tag for content that brings none."""
    return hashlib.sha256(content).hexdigest()
