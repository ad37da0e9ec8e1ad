"""Signatures over manifests: Ed25519 (RFC 8032), by the `cryptography` package.

A manifest holds the hash of every other file of its version, so who signs it signs them all. Keys
are PEM files, as `openssl genpkey -algorithm ed25519` makes them.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from service.errors import ContractError, SettingsError

SIGNATURE_FILE = "manifest.sig"


def sign(manifest: bytes, private_key: Path) -> bytes:
    """The content of `manifest.sig`; raises SettingsError for a key that is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(_read(private_key), password=None)
    except (ValueError, TypeError) as error:  # no PEM; or one behind a password
        raise _no_key(private_key, str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(private_key, "it is of another kind")
    return base64.b64encode(key.sign(manifest)) + b"\n"


class Verifier:
    """Tells whether a manifest was signed with the private half of a key.

    Raises:
        SettingsError: there is no such key, or the `sign` extra is not installed.

    """

    def __init__(self, public_key: Path) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
                Ed25519PublicKey,
            )
            from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
                load_pem_public_key,
            )
        except ImportError as error:
            raise SettingsError(
                "TRIPTYCH_PUBLIC_KEY needs the sign extra (pip install 'triptych[sign]')",
                field="TRIPTYCH_PUBLIC_KEY",
            ) from error
        try:
            key = load_pem_public_key(_read(public_key))
        except ValueError as error:
            raise _no_key(public_key, str(error)) from error
        if not isinstance(key, Ed25519PublicKey):
            raise _no_key(public_key, "it is of another kind")
        self._key, self._name = key, public_key.name

    def check(self, manifest: bytes, signature: bytes | None, where: str) -> None:
        """Raise ContractError unless the signature is one of this manifest by this key."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        if signature is None:
            raise ContractError(f"{where} is not signed, and {self._name} demands it")
        try:
            self._key.verify(base64.b64decode(signature, validate=False), manifest)
        except (InvalidSignature, binascii.Error) as error:
            raise ContractError(
                f"{where} was not signed with the private half of {self._name}"
            ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _no_key(path, error.strerror or str(error)) from error


def _no_key(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path} is no Ed25519 key: {why}", field="TRIPTYCH_PUBLIC_KEY")
