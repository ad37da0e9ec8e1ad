"""Text for character models: Shakespeare from its usual address, or anyone's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.contract import DataRecord
from training.data.digest import hash_bytes, hash_listing
from training.data.download import fetch
from training.errors import DataError

SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_MD5 = "6fb458f1232090904fb40fe944165e91"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_LICENSE = "Public domain: plays of William Shakespeare (collected by A. Karpathy, 2015)"

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md"})
TRAIN_SHARE = 0.9  # the last tenth validates: the usual split of this text
MINIMUM_CHARACTERS = 200  # below this a tenth holds no sentence to validate on
MAXIMUM_BYTES = 2 * 2**30  # one string in memory; a character model needs far less


@dataclass(frozen=True)
class TextData:
    """A text, split by position."""

    name: str
    source: str
    sha256: str
    """Of the file; of a folder, over its `sha256sum`-like listing sorted by path."""
    train: str
    val: str
    """The last tenth."""
    vocabulary: str
    """The distinct characters of the whole text, sorted."""
    license: str = ""
    """What is known of the terms of use; empty for data that users bring."""
    parts: tuple[DataRecord, ...] = ()
    """What these were joined of: a data set, then what was added to its training split."""


def load_text(source: str | None, *, cache_dir: Path) -> TextData:
    r"""Load a text and split it.

    Args:
        source: a UTF-8 text file, or a folder of them, joined in the order of their paths; None
            fetches Shakespeare. Byte-order marks are dropped and line ends become "\n".
        cache_dir: where downloads are kept.

    Raises DataError, saying what to do, if there is no such text, it is not UTF-8, or too short.

    """
    if source is None:
        path = fetch(SHAKESPEARE_URL, cache_dir / "tinyshakespeare.txt", md5=SHAKESPEARE_MD5)
    else:
        path = Path(source).expanduser()
    if path.is_dir():
        texts, sha256 = read_folder(path)
    elif path.is_file():
        content = _read(path)
        texts, sha256 = [_decode(content, path)], hash_bytes(content)
    else:
        raise DataError(f"{path} does not exist; give a UTF-8 text file or a folder of them")
    text = "".join(texts)
    vocabulary = "".join(sorted(set(text)))
    if not text.strip():
        raise DataError(f"{path} is empty; give a text to learn from")
    if len(text) < MINIMUM_CHARACTERS:
        raise DataError(
            f"{path} has {len(text)} characters; at least {MINIMUM_CHARACTERS} are needed, and a "
            "model that writes needs a million"
        )
    if len(vocabulary) < 2:
        raise DataError(f"{path} repeats one character; give a text to learn from")
    split = int(len(text) * TRAIN_SHARE)
    is_shakespeare = sha256 == SHAKESPEARE_SHA256
    return TextData(
        name="tinyshakespeare" if is_shakespeare else path.resolve().stem,
        source=SHAKESPEARE_URL if source is None else path.resolve().name,
        sha256=sha256,
        train=text[:split],
        val=text[split:],
        vocabulary=vocabulary,
        license=SHAKESPEARE_LICENSE if is_shakespeare else "",
    )


def read_folder(folder: Path) -> tuple[list[str], str]:
    """The texts of a folder's files, in the order of their paths, and their checksum.

    Raises DataError if there is none, or one is not UTF-8.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix.lower() in TEXT_SUFFIXES and path.name[0] != "."
    }
    if not files:
        raise DataError(f"{folder} holds no text files ({', '.join(sorted(TEXT_SUFFIXES))})")
    texts, digests = [], {}
    for name in sorted(files):
        content = _read(files[name])
        text = _decode(content, files[name])
        texts.append(text if text.endswith("\n") else text + "\n")  # no word runs into the next
        digests[name] = hash_bytes(content)
    return texts, hash_listing(digests.items())


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise DataError(f"{path} is larger than {MAXIMUM_BYTES >> 30} GiB; give a part of it")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _decode(content: bytes, path: Path) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte {content[error.start]:#04x} at offset {error.start}; "
            "convert it to UTF-8 first"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
