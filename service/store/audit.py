"""What was done to a model of the store, by whom and when: entries that are only ever added.

`<name>/.audit/<number>.json`, numbered from 1 without gaps. Each holds the hash of the one before,
so that one which was changed or taken out later shows.
"""

from __future__ import annotations

import getpass
import hashlib
import socket
from datetime import UTC, datetime
from typing import Literal

import msgspec

from service.errors import ContractError, StoreConflictError
from service.store.home import NOTHING, Home

AUDIT_FOLDER = ".audit"

Action = Literal[
    "placed",
    "published",
    "promoted",
    "rolled back",
    "trial started",
    "trial passed",
    "trial failed",
    "trial stopped",
    "removed",
]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that was done. `before` is the version that was served until then."""

    number: int
    at: str
    action: Action
    version: str
    before: str = ""
    who: str
    note: str = ""
    previous_sha256: str = ""
    schema_version: Literal[1] = 1


_decoder = msgspec.json.Decoder(Entry)


class Audit:
    """The log of one model."""

    def __init__(self, home: Home, name: str) -> None:
        self._home, self._folder = home, f"{name}/{AUDIT_FOLDER}"

    def entries(self) -> list[Entry]:
        """Every entry, the oldest first.

        Raises:
            ContractError: one is missing, malformed, or not the one that its successor knew.

        """
        found: list[Entry] = []
        sha256 = ""
        for number, file in enumerate(self._home.entries(self._folder), start=1):
            where = f"{self._home.location}/{self._folder}/{file}"
            if file != _file(number):
                raise ContractError(f"{self._folder} lacks entry {number}, or {file} is not one")
            blob = self._home.read(f"{self._folder}/{file}")
            try:
                entry = _decoder.decode(blob.content if blob else b"")
            except msgspec.MsgspecError as error:
                raise ContractError(f"{where} is no entry: {error}") from error
            if (entry.number, entry.previous_sha256) != (number, sha256):
                raise ContractError(
                    f"{where} does not follow the entry before it: one was changed or taken out"
                )
            assert blob is not None
            sha256 = hashlib.sha256(blob.content).hexdigest()
            found.append(entry)
        return found

    def add(
        self, action: Action, version: str, *, before: str = "", who: str = "", note: str = ""
    ) -> Entry:
        """Write an entry behind the last one, whoever else is writing."""
        while True:
            files = self._home.entries(self._folder)
            last = self._home.read(f"{self._folder}/{files[-1]}") if files else None
            entry = Entry(
                number=len(files) + 1,
                at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
                action=action,
                version=version,
                before=before,
                who=who or whoever(),
                note=note,
                previous_sha256=hashlib.sha256(last.content).hexdigest() if last else "",
            )
            try:
                self._home.write(
                    f"{self._folder}/{_file(entry.number)}",
                    msgspec.json.encode(entry) + b"\n",
                    expected=NOTHING,
                )
            except StoreConflictError:  # somebody wrote that entry first
                continue
            return entry


def whoever() -> str:
    """User and machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _file(number: int) -> str:
    return f"{number:08d}.json"
