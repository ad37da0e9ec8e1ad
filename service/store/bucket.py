"""A home of models in an S3-compatible bucket.

A bucket has no renames: a version's files are put there first and its manifest last, which makes
it a version. `CURRENT` is replaced by a conditional put, so that of two publishers one wins and
the other is told (Amazon S3 has them since 2024, as have MinIO, R2 and Ceph).

Credentials, region and endpoint come from the usual `AWS_*` variables.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    NotModifiedError,
    PreconditionError,
)
from obstore.store import S3Store

from service.contract import CURRENT_FILE, MANIFEST_FILE, decode_manifest
from service.errors import SettingsError, StoreAwayError, StoreConflictError
from service.store.home import ANYTHING, FOLLOWED, NOTHING, Blob, Expected, Home
from service.store.mirror import Mirror

ABSENT = (NotFoundError, FileNotFoundError)
"""What obstore raises for a key, or a bucket, that is not there."""
JITTER = 0.2
"""Share by which each wait differs: replicas that start together must not ask together."""


def open_bucket(location: str, *, timeout_s: float, field: str) -> S3Store:
    """The bucket and prefix of `s3://bucket/prefix`; nothing is asked of it yet.

    Raises:
        SettingsError: the location is not of that form; it names `field`.

    """
    parts = urlsplit(location)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise SettingsError(f"{location} is no bucket; write s3://bucket/prefix", field=field)
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    try:
        return S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={
                "timeout": f"{timeout_s:g}s",
                "connect_timeout": f"{min(timeout_s, 5):g}s",
                "allow_http": endpoint.startswith("http:"),
            },
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=timeout_s)},
        )
    except BaseError as error:
        raise SettingsError(f"{location}: {error}", field=field) from error


class BucketHome(Home):
    """Models under `s3://bucket/prefix`, with copies of the versions used here in `mirror`.

    Args:
        location: `s3://bucket` or `s3://bucket/prefix`.
        mirror: of this machine.
        poll_s: how often `changes` asks.
        timeout_s: of one request; a store that hangs is one that is away.

    Raises:
        SettingsError: the location is not of that form.

    """

    def __init__(
        self, location: str, mirror: Mirror, *, poll_s: float = 10.0, timeout_s: float = 10.0
    ) -> None:
        self.location = location.rstrip("/")
        self.missing = f"there is no model in {self.location}"
        self._mirror, self._poll_s = mirror, poll_s
        self._bucket = open_bucket(location, timeout_s=timeout_s, field="TRIPTYCH_STORE")

    # --- keys -------------------------------------------------------------------------------

    def read(self, key: str) -> Blob | None:
        """As `Home.read`."""
        with self._asking():
            try:
                found = obstore.get(self._bucket, key)
                blob = Blob(bytes(found.bytes()), found.meta["e_tag"] or "")
            except ABSENT:
                return None
        self._mirror.remember(key, blob.content)
        return blob

    def write(self, key: str, content: bytes, *, expected: str | Expected = ANYTHING) -> None:
        """As `Home.write`."""
        with self._asking():
            try:
                if expected is ANYTHING:
                    obstore.put(self._bucket, key, content, mode="overwrite", use_multipart=False)
                elif expected is NOTHING:
                    obstore.put(self._bucket, key, content, mode="create", use_multipart=False)
                else:
                    tag = {"e_tag": str(expected)}
                    obstore.put(self._bucket, key, content, mode=tag, use_multipart=False)  # type: ignore[arg-type]
            except (AlreadyExistsError, PreconditionError, *ABSENT) as error:
                raise StoreConflictError(
                    f"{self.location}/{key} was replaced in the meantime"
                ) from error

    def entries(self, folder: str) -> list[str]:
        """As `Home.entries`."""
        with self._listing():
            found = obstore.list_with_delimiter(self._bucket, f"{folder}/" if folder else None)
        paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        names = {path.rstrip("/").rpartition("/")[2] for path in paths}
        return sorted(name for name in names if not name.startswith("."))

    def clear(self, folder: str) -> None:
        """As `Home.clear`."""
        self._delete([f"{folder}/{entry}" for entry in self.entries(folder)])

    # --- versions ---------------------------------------------------------------------------

    def names(self) -> list[str] | None:
        """As `Home.names`."""
        return [name for name in self.entries("") if self.read(f"{name}/{CURRENT_FILE}")]

    def versions(self, name: str) -> list[str]:
        """As `Home.versions`: those that have their manifest."""
        return sorted(
            version
            for version, files in self._files(name).items()
            if MANIFEST_FILE in files and not version.startswith(".")
        )

    def place(self, name: str, version: str, source: Path, files: Sequence[str]) -> None:
        """As `Home.place`."""
        folder = f"{name}/{version}"
        if self.read(f"{folder}/{MANIFEST_FILE}") is not None:
            raise StoreConflictError(f"{self.location}/{folder} is there already")
        for file in files:
            if file != MANIFEST_FILE:
                with self._asking():
                    obstore.put(self._bucket, f"{folder}/{file}", source / file)
        self.write(
            f"{folder}/{MANIFEST_FILE}", (source / MANIFEST_FILE).read_bytes(), expected=NOTHING
        )

    def folder(self, name: str, version: str) -> Path:
        """As `Home.folder`."""
        found = self._mirror.find(name, version)
        return found if found is not None else self._fetch(name, version)

    def refetch(self, name: str, version: str) -> bool:
        """As `Home.refetch`."""
        self._mirror.forget(name, version)
        self._fetch(name, version)
        return True

    def _fetch(self, name: str, version: str) -> Path:
        head = self.read(f"{name}/{version}/{MANIFEST_FILE}")
        with self._mirror.filling(name, version) as folder:
            if head is not None:
                files = decode_manifest(head.content, where=f"{name} {version}").files
                (folder / MANIFEST_FILE).write_bytes(head.content)
                for file in (*files, *self._beside(name, version, files)):
                    self._download(f"{name}/{version}/{file}", folder / file)
        return self._mirror.place(name, version)

    def _beside(self, name: str, version: str, files: Iterable[str]) -> list[str]:
        """What lies beside the files of the manifest: its signature."""
        known = {MANIFEST_FILE, *files}
        return [one for one in self.entries(f"{name}/{version}") if one not in known]

    def _download(self, key: str, path: Path) -> None:
        with self._asking(), path.open("wb") as file:
            try:
                for chunk in obstore.get(self._bucket, key).stream():
                    file.write(chunk)
            except ABSENT:
                path.unlink()  # verifying will name it

    def remove(self, name: str, version: str) -> None:
        """As `Home.remove`: the manifest first, which makes it no version any more."""
        self._delete([f"{name}/{version}/{MANIFEST_FILE}"])
        self._delete([f"{name}/{version}/{file}" for file in self._files(name).get(version, {})])

    def sweep(self, name: str, *, older_than_s: float = 0.0) -> list[str]:
        """As `Home.sweep`: files without a manifest that nobody has added to for so long."""
        swept: list[str] = []
        for version, files in self._files(name).items():
            newest = max(files.values())
            idle_s = (datetime.now(UTC) - newest).total_seconds()
            if (
                MANIFEST_FILE not in files
                and not version.startswith(".")
                and idle_s >= older_than_s
            ):
                self._delete([f"{name}/{version}/{file}" for file in files])
                swept.append(f"{name}/{version}")
        return swept

    def alone(self, name: str) -> nullcontext[None]:
        """A bucket has no locks; conditional puts do."""
        return nullcontext()

    def _files(self, name: str) -> dict[str, dict[str, datetime]]:
        """Every folder of a model: its files and when they were written."""
        found: dict[str, dict[str, datetime]] = {}
        with self._listing():
            for page in obstore.list(self._bucket, f"{name}/"):
                for one in page:
                    parts = one["path"].split("/")
                    if len(parts) == 3:
                        found.setdefault(parts[1], {})[parts[2]] = one["last_modified"]
        return found

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            with self._asking(), suppress(*ABSENT):
                obstore.delete(self._bucket, key)

    # --- following --------------------------------------------------------------------------

    async def changes(self) -> AsyncIterator[set[str]]:
        """As `Home.changes`, by asking every `poll_s` seconds, conditionally: what has not changed
        is not sent. A store that is away is asked again at the next turn.
        """
        tags: dict[str, str] | None = None
        loop = asyncio.get_running_loop()
        while True:
            try:
                found = await loop.run_in_executor(None, self._look, tags or {})
            except StoreAwayError:
                found = None
            if found is not None:
                before, tags = tags, found
                changed = {
                    key.partition("/")[0]
                    for key in found
                    if before is None or found[key] != before.get(key)
                }
                if changed:
                    yield changed
            await asyncio.sleep(self._poll_s * random.uniform(1 - JITTER, 1 + JITTER))

    def _look(self, tags: dict[str, str]) -> dict[str, str]:
        """The tag of everything followed."""
        found = {}
        for name in self.entries(""):
            for file in FOLLOWED:
                key = f"{name}/{file}"
                with self._asking():
                    try:
                        options = {"if_none_match": tags[key]} if key in tags else {}
                        got = obstore.get(self._bucket, key, options=options)  # type: ignore[arg-type]
                        found[key] = got.meta["e_tag"] or ""
                        self._mirror.remember(key, bytes(got.bytes()))
                    except NotModifiedError:
                        found[key] = tags[key]
                    except ABSENT:
                        continue
        return found

    def remembered(self) -> dict[str, str]:
        """As `Home.remembered`."""
        return self._mirror.remembered()

    @contextmanager
    def _listing(self) -> Iterator[None]:
        """As `_asking`: an empty prefix is listed as such; what is absent is the bucket."""
        with self._asking():
            try:
                yield
            except ABSENT as error:
                raise StoreAwayError(f"{self.location}: there is no such bucket") from error

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Word what goes wrong between here and the bucket."""
        try:
            yield
        except (AlreadyExistsError, NotModifiedError, PreconditionError, *ABSENT):
            raise
        except (BaseError, TimeoutError, ConnectionError) as error:
            first = str(error).strip().partition("\n")[0]
            raise StoreAwayError(f"{self.location} does not answer: {first[:300]}") from error
