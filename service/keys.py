"""API keys: who may ask, how often, for what.

The file that `TRIPTYCH_KEYS_FILE` names is TOML, one table a key:

    [[keys]]
    id = "alice"
    sha256 = "..."                  # of the whole key
    requests_per_s = 10             # all that follows may be left out
    burst = 20                      # at once; as many as a second's, unless given
    requests_per_day = 100000       # days of UTC
    models = ["cifar10"]            # no others
    expires = 2027-01-01            # refused from that day on, UTC
    admin = true

`python -m service.keys new --id alice` makes a key and its table. A key is `tk-<id>.<secret>`; the
secret has 256 random bits. That is why a plain SHA-256 keeps it: there is nothing to guess, and
what bcrypt or Argon2 add, time per guess, each honest request would pay. The id finds the entry,
and the digests are compared in constant time.

The file is read again when it changes. One that is broken stops the start; later, the keys before
it stay, and the log says so.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from watchfiles import awatch

from service import metrics
from service.allowance import Allowances, Limits
from service.errors import NotAllowedError, SettingsError, TriptychError, UnauthorizedError

log = logging.getLogger("triptych.keys")
VARIABLE = "TRIPTYCH_KEYS_FILE"
_ID = r"^[a-z0-9][a-z0-9-]{0,62}$"
_NOBODY = bytes(32)
"""Compared with where no key has the id, so that this takes as long."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the file."""

    id: Annotated[str, msgspec.Meta(pattern=_ID)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    requests_per_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    requests_per_day: Annotated[int, msgspec.Meta(ge=1, le=10**9)] | None = None
    models: list[str] | None = None
    expires: date | None = None
    admin: bool = False

    @property
    def limits(self) -> Limits | None:
        """How much it may ask for; None if as much as it likes."""
        if self.requests_per_s is None and self.requests_per_day is None:
            return None
        return Limits.of(self.requests_per_s, self.burst, self.requests_per_day)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[Key]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key, ready to be compared and counted."""

    key: Key
    digest: bytes
    limits: Limits | None
    expires_s: float

    @classmethod
    def of(cls, key: Key) -> Entry:
        """Prepare an entry of the file."""
        end = key.expires
        expires_s = (
            float("inf")
            if end is None
            else datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp()
        )
        return cls(key, bytes.fromhex(key.sha256), key.limits, expires_s)


@dataclass(frozen=True, slots=True)
class Grant:
    """What an admitted request may do."""

    key: Key
    _limits: Limits | None
    _allowances: Allowances

    def charge(self) -> None:
        """Count one request.

        Raises:
            RateLimitedError: too many of late, or in this day.

        """
        if self._limits is not None:
            self._allowances.take(self.key.id, self._limits)


GRANT: ContextVar[Grant | None] = ContextVar("grant", default=None)
"""Of the request that the running task answers; None where no keys are asked for."""


def charge_again() -> None:
    """Count one more request of a connection that carries several; raises as `Grant.charge`."""
    grant = GRANT.get()
    if grant is not None:
        grant.charge()


def permit_model(name: str) -> None:
    """Raise NotAllowedError if the running request's key is for other models."""
    grant = GRANT.get()
    if grant is not None and grant.key.models is not None and name not in grant.key.models:
        raise NotAllowedError(f"this key is not for the model {name!r}", field="model")


class Keys:
    """The keys of the file, as it is now.

    Args:
        path: of the file.
        allowances: what has been used of them.

    Raises:
        SettingsError: it cannot be read, or is no such file.

    """

    def __init__(self, path: Path, allowances: Allowances) -> None:
        self._path = path
        self._allowances = allowances
        self._raw: bytes | None = None
        self._entries: dict[str, Entry] = {}
        self._read()

    def admit(self, token: str | None, *, admin: bool = False) -> Grant:
        """Look a key up, and count a request of it, in the metrics too.

        Args:
            token: the key as it was sent; None if none was.
            admin: whether what is asked for is the operator's.

        Raises:
            UnauthorizedError: none, unknown, or expired.
            NotAllowedError: it is not an admin's.
            RateLimitedError: as `Grant.charge`.

        """
        key_id = ""
        try:
            entry = self._recognised(token)
            key_id = entry.key.id
            if admin and not entry.key.admin:
                raise NotAllowedError("this is for admin keys")
            grant = Grant(entry.key, entry.limits, self._allowances)
            grant.charge()
        except TriptychError as error:
            metrics.count_key(key_id, error.code)
            raise
        metrics.count_key(key_id, "admitted")
        return grant

    def _recognised(self, token: str | None) -> Entry:
        if token is None:
            raise UnauthorizedError("send a key: Authorization: Bearer KEY, or x-api-key: KEY")
        entry = self._entries.get(token[3:].partition(".")[0]) if token[:3] == "tk-" else None
        digest = hashlib.sha256(token.encode()).digest()
        same = hmac.compare_digest(digest, _NOBODY if entry is None else entry.digest)
        if entry is None or not same:
            raise UnauthorizedError("the key is not known")
        if time.time() >= entry.expires_s:
            raise UnauthorizedError("the key has expired")
        return entry

    def _read(self) -> None:
        try:
            raw = self._path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{VARIABLE}={self._path}: {error.strerror}") from error
        if raw == self._raw:
            return
        try:
            keys = msgspec.toml.decode(raw, type=_File).keys
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{VARIABLE}={self._path}: {error}", field=VARIABLE) from error
        entries = {key.id: Entry.of(key) for key in keys}
        if len(entries) < len(keys):
            raise SettingsError(f"{VARIABLE}={self._path}: two keys have one id", field=VARIABLE)
        self._entries, self._raw = entries, raw

    async def follow(self) -> None:
        """Read the file whenever it changes, until cancelled."""
        # Its folder: editors and Kubernetes replace files, and a watch would stay with the old one.
        try:
            async for _ in awatch(self._path.absolute().parent, recursive=False):
                before = self._raw
                try:
                    self._read()
                except SettingsError as error:
                    log.error("the keys before stay: %s", error)
                else:
                    if self._raw != before:
                        log.info("%d API keys are known now", len(self._entries))
        except Exception as error:  # no watches left, or the folder is gone
            log.error("changes of %s are not followed: %s", self._path, error)


def new(key_id: str) -> tuple[str, str]:
    """Make a key: the key itself, and its SHA-256 in hexadecimal.

    Raises ValueError for an id that is not of lower-case letters, digits and hyphens.
    """
    if not re.fullmatch(_ID, key_id):
        raise ValueError(f"an id has lower-case letters, digits and hyphens, unlike {key_id!r}")
    token = f"tk-{key_id}.{secrets.token_urlsafe(32)}"
    return token, hashlib.sha256(token.encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key: its entry goes to standard output, the key itself to standard error."""
    parser = ArgumentParser(prog="python -m service.keys", description="Make API keys.")
    making = parser.add_subparsers(required=True).add_parser("new", help="make a key")
    making.add_argument("--id", required=True)
    making.add_argument("--requests-per-s", type=float)
    making.add_argument("--requests-per-day", type=int)
    making.add_argument("--admin", action="store_true")
    given = parser.parse_args(arguments)
    try:
        token, digest = new(given.id)
    except ValueError as error:
        parser.error(str(error))
    entry = {"id": given.id, "sha256": digest}
    chosen = {
        "requests_per_s": given.requests_per_s,
        "requests_per_day": given.requests_per_day,
        "admin": given.admin or None,
    }
    entry |= {name: value for name, value in chosen.items() if value is not None}
    try:
        msgspec.convert(entry, Key)
    except msgspec.ValidationError as error:
        parser.error(str(error))
    print(f"The key, which is shown this once:\n\n    {token}\n", file=sys.stderr)
    print(f"Its entry in the file that {VARIABLE} names:\n", file=sys.stderr)
    lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in entry.items()]
    print("\n".join(["[[keys]]", *lines]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
