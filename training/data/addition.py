"""New labelled data beside a data set: read, and joined to its training split.

Images lie as `<class>/<file>`; texts are files of UTF-8. The test split stays what it is: a new
image whose decoded pixels are a test image's, and a new paragraph that held-out text contains, are
left out, so that nothing is learned that the figures are measured on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from service.contract import DataRecord
from training.data.decode import decode_image
from training.data.digest import hash_bytes, hash_listing
from training.data.folder import IMAGE_SUFFIXES, list_files, read_files
from training.data.sets import ImageData, ImageSet
from training.data.text import TextData, read_folder
from training.errors import DataError

SHOWN = 5  # files that a message names
PARAGRAPH = "\n\n"
LONG_CHARACTERS = 40  # of a paragraph; shorter ones ("Enter ROMEO.") recur in any text


@dataclass(frozen=True)
class NewImages:
    """What lies in a folder of new images."""

    source: str
    sha256: str
    """Over the folder's `sha256sum`-like listing, sorted by path."""
    images: NDArray[np.uint8]
    """[N, size, size, 3], of the images that lie in a class' folder."""
    names: tuple[str, ...]
    """The class of each."""
    original_sizes: NDArray[np.int32]
    """[N, 2]: width and height in pixels."""
    outside: tuple[str, ...]
    """Files that lie in no class' folder."""


def read_new_images(folder: Path, *, size: int) -> NewImages:
    """Read `<class>/<file>` images, decoded to `size` x `size`.

    Raises DataError, naming the files, if there is none or some cannot be decoded.
    """
    files = [
        name for name in list_files(folder) if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise DataError(f"{folder} holds no images; put them into a sub-folder for each class")
    placed = [name for name in files if len(PurePosixPath(name).parts) == 2]
    images, sizes, digests, broken = {}, {}, {}, []
    for name, content in read_files(folder, files):
        digests[name] = hash_bytes(content)
        try:
            images[name], sizes[name] = decode_image(content, name=name, size=size)
        except DataError as error:
            broken.append(error.message)
    if broken:
        more = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        raise DataError(f"{folder}: {len(broken)} unreadable: {'; '.join(broken[:SHOWN])}{more}")
    return NewImages(
        source=folder.resolve().name,
        sha256=hash_listing(digests.items()),
        images=np.array([images[name] for name in placed], np.uint8).reshape(-1, size, size, 3),
        names=tuple(PurePosixPath(name).parts[0] for name in placed),
        original_sizes=np.array([sizes[name] for name in placed], np.int32).reshape(-1, 2),
        outside=tuple(sorted(set(files) - set(placed))),
    )


def join_images(data: ImageData, new: NewImages) -> tuple[ImageData, int]:
    """The data with the new images in their training split, and how many were left out.

    Raises DataError for a class that the data do not have.
    """
    if unknown := set(new.names) - set(data.classes):
        raise DataError(f"{new.source} has a class {min(unknown)!r} that {data.name} does not have")
    held_out = {image_HWC.tobytes() for image_HWC in data.test.images}
    kept = np.array([image_HWC.tobytes() not in held_out for image_HWC in new.images], np.bool_)
    labels = np.array([data.classes.index(name) for name in new.names], np.int64)
    sizes = data.original_sizes
    if sizes is not None:
        count = len(data.train.labels)
        sizes = np.concatenate([sizes[:count], new.original_sizes[kept], sizes[count:]])
    added = {"train": int(kept.sum())}
    joined = replace(
        data,
        sha256=_joined_sha256(data.sha256, new.sha256),
        train=ImageSet(
            np.concatenate([data.train.images, new.images[kept]]),
            np.concatenate([data.train.labels, labels[kept]]),
        ),
        original_sizes=sizes,
        parts=(
            _part(data, {"train": len(data.train.labels), "test": len(data.test.labels)}),
            DataRecord(name=new.source, source=new.source, sha256=new.sha256, examples=added),
        ),
    )
    return joined, int((~kept).sum())


@dataclass(frozen=True)
class NewText:
    """What lies in a folder of new texts."""

    source: str
    sha256: str
    text: str
    """All files, in the order of their paths."""


def read_new_text(folder: Path) -> NewText:
    """Read the folder's texts; raises DataError if there is none, or one is not UTF-8."""
    texts, sha256 = read_folder(folder)
    if not "".join(texts).strip():
        raise DataError(f"{folder} is empty; give a text to learn from")
    return NewText(source=folder.resolve().name, sha256=sha256, text="".join(texts))


def join_text(data: TextData, new: NewText) -> tuple[TextData, int]:
    """The data with the new text at the end of their training split, and how many paragraphs
    were left out.

    Raises DataError for a character that the vocabulary does not have.
    """
    if unknown := set(new.text) - set(data.vocabulary):
        raise DataError(f"{new.source} has {min(unknown)!r}, which {data.name} does not have")
    paragraphs = new.text.split(PARAGRAPH)
    kept = [part for part in paragraphs if len(part) < LONG_CHARACTERS or part not in data.val]
    text = PARAGRAPH.join(kept)
    between = "" if data.train.endswith("\n") else "\n"
    joined = replace(
        data,
        sha256=_joined_sha256(data.sha256, new.sha256),
        train=data.train + between + text,
        parts=(
            _part(data, {"train": len(data.train), "val": len(data.val)}),
            DataRecord(
                name=new.source, source=new.source, sha256=new.sha256, examples={"train": len(text)}
            ),
        ),
    )
    return joined, len(paragraphs) - len(kept)


def _part(data: ImageData | TextData, examples: dict[str, int]) -> DataRecord:
    return DataRecord(
        name=data.name,
        source=data.source,
        sha256=data.sha256,
        license=data.license,
        examples=examples,
    )


def _joined_sha256(data: str, new: str) -> str:
    return hash_listing([("data", data), ("new", new)])
