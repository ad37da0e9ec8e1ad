"""Downloads: resumed, checksummed, and in place only when whole."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tqdm import tqdm

from training.data.digest import hash_file
from training.errors import DataError

ATTEMPTS = 4  # a cut connection is resumed; beyond this the network is down
PAUSE_S = 0.5  # doubled after every failed attempt
TIMEOUT_S = 30.0  # without a single byte


def fetch(url: str, target: Path, *, md5: str, pause_s: float = PAUSE_S) -> Path:
    """Download `url` to `target` unless it is there already, and return `target`.

    What arrives is kept beside the target as `.part`; a cut download goes on where it stopped,
    in this run or the next. Two processes that fetch the same file take turns.

    Raises DataError if the address cannot be reached or the file is not the expected one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        if target.exists():
            if hash_file(target, "md5") == md5:
                return target
            target.unlink()  # damaged since; a fresh copy is the remedy
        part = target.with_name(f"{target.name}.part")
        resumed = part.exists()
        _download(url, part, pause_s=pause_s)
        found = hash_file(part, "md5")
        if found != md5 and resumed:  # the file may have changed between the two runs
            part.unlink()
            _download(url, part, pause_s=pause_s)
            found = hash_file(part, "md5")
        if found != md5:
            part.unlink()
            raise DataError(
                f"{url} is not the expected file: its md5 is {found}, not {md5}. Try again, or "
                "fetch it elsewhere and give its path with --data"
            )
        part.replace(target)
    return target


def _download(url: str, part: Path, *, pause_s: float) -> None:
    for attempt in range(ATTEMPTS):
        try:
            _stream(url, part)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status < 500:
                raise DataError(f"{url} answered {status}; {_elsewhere(part)}") from error
            problem = f"{url} answered {status}"
        except httpx.HTTPError as error:
            problem = f"{url} cannot be reached ({str(error) or type(error).__name__})"
        else:
            return
        if attempt + 1 < ATTEMPTS:
            time.sleep(pause_s * 2**attempt)
    kept = part.stat().st_size if part.exists() else 0
    resume = f" {kept:,} bytes are kept and the next run goes on from there;" if kept else ""
    raise DataError(f"{problem};{resume} {_elsewhere(part)}")


def _stream(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # byte ranges count what is stored
    if have:
        headers["Range"] = f"bytes={have}-"
    with httpx.stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_S
    ) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to send; the checksum decides whether that is the file
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file
        length = int(response.headers.get("Content-Length", 0))
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(
                desc=part.stem,
                total=have + length or None,
                initial=have,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as progress,
        ):
            for chunk in response.iter_raw():
                file.write(chunk)
                progress.update(len(chunk))


def _elsewhere(part: Path) -> str:
    return (
        f"check the network, or fetch the file on another machine and put it at "
        f"{part.with_suffix('')}, or give your own data with --data"
    )


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
