"""From a finished run to a served version, so that a reader sees the whole of it or nothing.

The candidate is copied into a hidden staging folder beside the versions, flushed to disk, and
renamed into place in one step; `CURRENT` is replaced last, in one step. A crash in between leaves
the version before it served and at most a staging folder, which the next publisher removes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from service.contract import (
    CARD_FILE,
    CURRENT_FILE,
    MANIFEST_FILE,
    Manifest,
    check_name,
    decode_manifest,
    digest_file,
    encode_manifest,
)
from service.errors import ContractError
from training.errors import PublishError

KEEP_VERSIONS = 5  # per model: the served one, the one to roll back to, and a short history
_STAGING = ".staging-"
_RETIRED = ".retired-"


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Fill in the hash of every file in the candidate folder and write `manifest.json` there.

    Everything else, the card included, must be in place: a file added or changed afterwards
    makes the candidate unpublishable.
    """
    files = {
        path.name: digest_file(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST_FILE and not path.name.startswith(".")
    }
    sealed = msgspec.structs.replace(manifest, files=files)
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(sealed))
    return sealed


def publish(candidate_dir: Path, store_dir: Path, name: str) -> Path:
    """Publish the candidate folder as the served version of model `name`; return its new folder.

    The version before it stays, for rolling back; the oldest beyond `KEEP_VERSIONS` are removed.

    Raises:
        ContractError: the manifest is malformed.
        PublishError: the candidate is incomplete, altered, refused by the gate or of another
            model, or its version exists already.

    """
    manifest = verified_manifest(candidate_dir)
    if manifest.name != check_name(name):
        raise PublishError(f"{candidate_dir} is a candidate for {manifest.name!r}, not {name!r}")
    if not manifest.gate.passed:
        raise PublishError(f"{candidate_dir} was refused by the gate and cannot be published")
    if CARD_FILE not in manifest.files:
        raise PublishError(f"{candidate_dir} has no {CARD_FILE}; write the model card first")
    model_dir = store_dir / name
    model_dir.mkdir(parents=True, exist_ok=True)
    with _alone(model_dir):
        version_dir = model_dir / manifest.version
        if version_dir.exists():
            raise PublishError(
                f"{name} {manifest.version} is published already and versions never change; "
                "to serve it again, set it as the current version"
            )
        staging = model_dir / f"{_STAGING}{secrets.token_hex(8)}"
        try:
            _copy(candidate_dir, staging, manifest)
            staging.rename(version_dir)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _sync(model_dir)
        _replace_current(model_dir, manifest.version)
        _retire(model_dir, served=manifest.version)
    return version_dir


def set_current(store_dir: Path, name: str, version: str) -> None:
    """Make a published version the served one: how a roll-back is done.

    Raises:
        ContractError: a name is malformed or the version's manifest is.
        PublishError: there is no such version, or its files are not those that were published.

    """
    model_dir = store_dir / check_name(name)
    version_dir = model_dir / check_name(version, "version")
    if not version_dir.is_dir():
        raise PublishError(
            f"{store_dir} has no version {version!r} of {name!r}; "
            f"it has {', '.join(versions(store_dir, name)) or 'none'}"
        )
    manifest = verified_manifest(version_dir)
    if (manifest.name, manifest.version) != (name, version):
        raise PublishError(f"{version_dir} holds {manifest.name} {manifest.version}")
    with _alone(model_dir):
        _replace_current(model_dir, version)


def versions(store_dir: Path, name: str) -> list[str]:
    """The published versions of a model, oldest first."""
    model_dir = store_dir / name
    if not model_dir.is_dir():
        return []
    return [path.name for path in sorted(_version_dirs(model_dir), key=_age)]


def served_manifest(store_dir: Path, name: str) -> Manifest | None:
    """The manifest of the version that is served now; None if no version ever was.

    Raises ContractError if CURRENT names a version that is not there or is malformed.
    """
    current = store_dir / name / CURRENT_FILE
    if not current.exists():
        return None
    version = check_name(current.read_text(encoding="utf-8").strip(), f"{current}: version")
    path = store_dir / name / version / MANIFEST_FILE
    try:
        return decode_manifest(path.read_bytes(), where=str(path))
    except OSError as error:
        raise ContractError(f"{current} names {version}, but {path} cannot be read") from error


def version_folder(store_dir: Path, name: str) -> Path | None:
    """The folder of the served version of `name`, which may also be a version's own folder; None
    if there is neither.
    """
    current = store_dir / name / CURRENT_FILE
    if current.exists():
        return current.parent / current.read_text("utf-8").strip()
    return Path(name) if Path(name).is_dir() else None


def verified_manifest(folder: Path) -> Manifest:
    """The manifest of a candidate or a version, every file of which is the one it lists.

    Raises PublishError if a file is missing or differs, ContractError for a malformed manifest.
    """
    path = folder / MANIFEST_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PublishError(f"{path} cannot be read; export the model first") from error
    manifest = decode_manifest(raw, where=str(path))
    for file, expected in manifest.files.items():
        try:
            found = digest_file(folder / file)
        except OSError as error:
            raise PublishError(
                f"{folder / file} cannot be read ({error.strerror}), but the manifest lists it; "
                "export the model again"
            ) from error
        if found != expected:
            raise PublishError(
                f"{folder / file} is not the file that the manifest describes; "
                "export the model again"
            )
    return manifest


def _copy(source: Path, target: Path, manifest: Manifest) -> None:
    target.mkdir()
    for file in (*manifest.files, MANIFEST_FILE):
        shutil.copyfile(source / file, target / file)
        _sync(target / file)
    _sync(target)
    if verified_manifest(target) != manifest:
        raise PublishError(f"{source} changed while it was copied; publish again")


def _replace_current(model_dir: Path, version: str) -> None:
    partial = model_dir / f".{CURRENT_FILE}-{secrets.token_hex(8)}"
    try:
        partial.write_text(f"{version}\n", encoding="utf-8")
        _sync(partial)
        os.replace(partial, model_dir / CURRENT_FILE)  # noqa: PTH105  the atomic step, by name
    finally:
        partial.unlink(missing_ok=True)
    _sync(model_dir)


def _retire(model_dir: Path, *, served: str) -> None:
    """Remove the oldest versions beyond `KEEP_VERSIONS`, never the served one."""
    old = sorted(_version_dirs(model_dir), key=_age)[:-KEEP_VERSIONS]
    for version_dir in old:
        if version_dir.name != served:
            hidden = model_dir / f"{_RETIRED}{secrets.token_hex(8)}"
            version_dir.rename(hidden)  # so that no reader sees half a removal either
            shutil.rmtree(hidden, ignore_errors=True)


def _version_dirs(model_dir: Path) -> list[Path]:
    return [path for path in model_dir.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _age(version_dir: Path) -> tuple[str, str]:
    """Sorts by time of creation; a folder without a readable manifest counts as the oldest."""
    try:
        created_at = decode_manifest((version_dir / MANIFEST_FILE).read_bytes()).created_at
    except (OSError, ContractError):
        created_at = ""
    return created_at, version_dir.name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(model_dir: Path) -> Iterator[None]:
    """Hold the model's folder for one publisher; what a crashed one left behind is cleared."""
    descriptor = os.open(model_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for path in model_dir.iterdir():
            if path.name.startswith((_STAGING, _RETIRED)):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(f".{CURRENT_FILE}-"):
                path.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)  # which lets go of the lock
