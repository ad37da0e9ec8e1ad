"""From a finished run to a served version: what a candidate must be, before the store takes it.

How the store takes it, all or nothing, is `service.store.publisher`'s.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from service.contract import (
    CARD_FILE,
    MANIFEST_FILE,
    Manifest,
    check_name,
    decode_manifest,
    digest_file,
    encode_manifest,
)
from service.errors import StoreConflictError, UnknownNameError
from service.store import Store
from service.store.publisher import Publisher
from service.store.signature import SIGNATURE_FILE, sign
from service.store.store import check_files
from service.store.trial import describe_trial
from training.errors import PublishError
from training.options import TrialOptions

SIGNING_KEY = "TRIPTYCH_SIGNING_KEY"
"""The variable that names the private key which signs what is published; a PEM file."""


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


def publish(
    candidate_dir: Path,
    store: Path | str,
    name: str,
    *,
    instead_of: str | None = None,
    serve: bool = True,
) -> Path:
    """Publish the candidate folder as the served version of model `name`; return a folder of this
    machine that holds it, read back from the store and verified.

    The version before it stays, for rolling back; the oldest are removed. With a key in
    `TRIPTYCH_SIGNING_KEY` the manifest is signed. `instead_of` is the version that must be served
    until then, "" for none; None takes any. `serve` False leaves it in the store for a trial.

    Raises:
        ContractError: the manifest is malformed.
        PublishError: the candidate is incomplete, altered, refused by the gate or of another
            model, its version exists already, or another publisher was quicker.

    """
    manifest = verified_manifest(candidate_dir)
    if manifest.name != check_name(name):
        raise PublishError(f"{candidate_dir} is a candidate for {manifest.name!r}, not {name!r}")
    if not manifest.gate.passed:
        raise PublishError(f"{candidate_dir} was refused by the gate and cannot be published")
    if CARD_FILE not in manifest.files:
        raise PublishError(f"{candidate_dir} has no {CARD_FILE}; write the model card first")
    if key := os.environ.get(SIGNING_KEY):
        signature = sign((candidate_dir / MANIFEST_FILE).read_bytes(), Path(key))
        (candidate_dir / SIGNATURE_FILE).write_bytes(signature)
    home = Store(store)
    try:
        version = Publisher(home).publish(candidate_dir, name, instead_of=instead_of, serve=serve)
    except StoreConflictError as error:
        if error.message.endswith("is there already"):
            raise PublishError(
                f"{name} {manifest.version} is published already and versions never change; "
                "to serve it again, promote it"
            ) from error
        raise PublishError(error.message) from error
    home.verified(name, version)
    return home.folder(name, version)


def begin_trial(store: Path | str, name: str, version: str, wanted: TrialOptions) -> str:
    """Put a version that was published for it on trial; returns what to tell.

    Raises as `Publisher.start_trial`.
    """
    reader = Store(store)
    if reader.current(name) == version:
        return f"{name} served nothing before: {version} is served, and there is no trial"
    trial = Publisher(reader).start_trial(
        name,
        version,
        wanted.mode,
        share=wanted.share,
        window_s=wanted.window_s,
        least_requests=wanted.least_requests,
    )
    return describe_trial(name, trial)


def set_current(store: Path | str, name: str, version: str) -> None:
    """Make a published version the served one.

    Raises:
        ContractError: a name is malformed, or the version's files are not those published.
        PublishError: there is no such version.

    """
    check_name(version, "version")
    try:
        Publisher(Store(store)).promote(check_name(name), version)
    except (UnknownNameError, StoreConflictError) as error:
        raise PublishError(error.message) from error


def versions(store: Path | str, name: str) -> list[str]:
    """The published versions of a model, oldest first."""
    return Store(store).versions(name)


def served_manifest(store: Path | str, name: str) -> Manifest | None:
    """The manifest of the version that is served now; None if no version ever was.

    Raises ContractError if CURRENT names a version that is not there or is malformed.
    """
    reader = Store(store)
    if name not in (reader.home.names() or ()):
        return None
    return reader.manifest(name, reader.current(name))


def version_folder(store: Path | str, name: str) -> Path | None:
    """The folder of the served version of `name`, which may also be a version's own folder; None
    if there is neither.
    """
    reader = Store(store)
    if name in (reader.home.names() or ()):
        return reader.folder(name, reader.current(name))
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
    check_files(manifest, folder, error=_altered)
    return manifest


def _altered(message: str) -> PublishError:
    return PublishError(f"{message}; export the model again")
