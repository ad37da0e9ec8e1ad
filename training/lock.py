"""One run of a model at a time: a lock that ends with the process that holds it.

It is the kernel's (flock): a process that is killed holds it no longer, and nobody has to clear
anything away. The file says who holds it, for the message of those who come too late.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from training.errors import AlreadyRunningError

LOCK_FILE = ".lock"


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock; `since` is in UTC."""

    pid: int
    host: str
    since: str


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of `folder`, which is made if it is not there, and removed again if it is still
    empty at the end.

    Raises AlreadyRunningError, which names process and time, if another holds it; `what` says in
    the message what is under way.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    descriptor = _acquire(folder, what)
    try:
        holder = Holder(os.getpid(), socket.gethostname(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")
        # Nobody can be told who holds it where the disk is full; it is held all the same.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(holder), 0)
        yield
    finally:
        (folder / LOCK_FILE).unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):
            for place in new:
                place.rmdir()


def _acquire(folder: Path, what: str) -> int:
    """The locked file, open. It may be removed by its last holder between our steps: then anew."""
    path = folder / LOCK_FILE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            held = error.errno in (errno.EAGAIN, errno.EACCES)
            message = f"{what} is under way already: {_name(descriptor)}"
            os.close(descriptor)
            if held:
                raise AlreadyRunningError(message) from error
            raise
        os.close(descriptor)


def _name(descriptor: int) -> str:
    """The holder in words."""
    try:
        holder = msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return "in another process"
    return (
        f"process {holder.pid} on {holder.host}, since {holder.since} UTC; wait for it, or stop it "
        f"(kill -INT {holder.pid}) and go on with its run"
    )
