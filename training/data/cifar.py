"""CIFAR-10 as its authors distribute it.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. The archive holds one
pickled dict per batch: `data` uint8 [10000, 3072], channel first, and `labels`. A pickle can run
any code when it is loaded, so these are read by an unpickler that knows numpy arrays and nothing
else.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.cache import Decoded
from training.data.digest import hash_bytes, hash_listing
from training.data.folder import read_files
from training.errors import DataError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
LICENSE = (
    "CIFAR-10's authors state no licence; they ask that Krizhevsky, Learning Multiple Layers of "
    "Features from Tiny Images (2009) be cited"
)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SIDE = 32
TRAINING_IMAGES = 50_000
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def find_batches(names: list[str]) -> dict[str, str]:
    """Batch name -> path, of those batches of the official archive that are among `names`."""
    return {tail: name for name in names if (tail := name.rpartition("/")[2]) in BATCHES}


def read_cifar(source: Path, batches: dict[str, str]) -> Decoded:
    """Read the batches from the official archive or its extracted folder.

    Raises DataError if a batch is missing, damaged or anything but what CIFAR-10's is.
    """
    missing = [batch for batch in BATCHES if batch not in batches]
    if missing:
        raise DataError(f"{source} lacks {', '.join(missing)} of CIFAR-10; fetch it again")
    content = dict(read_files(source, batches.values()))
    parts = [_parse_batch(content[batches[batch]], name=batches[batch]) for batch in BATCHES]
    images = np.concatenate([images for images, _ in parts])
    return Decoded(
        images=images,
        labels=np.concatenate([labels for _, labels in parts]),
        original_sizes=np.full((len(images), 2), SIDE, np.int32),
        classes=CLASSES,
        sha256=hash_listing((name, hash_bytes(data)) for name, data in content.items()),
        training_images=len(images) - len(parts[-1][0]),
        is_cifar=True,
    )


def is_repacked(
    classes: tuple[str, ...], training_images: int, original_sizes: NDArray[np.int32]
) -> bool:
    """Whether a folder of image files is CIFAR-10 in another packing, as far as one can tell.

    The ten names alone do not say so: other sets took them over.
    """
    return (
        classes == CLASSES
        and training_images == TRAINING_IMAGES
        and bool((original_sizes == SIDE).all())
    )


def _parse_batch(content: bytes, *, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], np.asarray(batch[b"labels"], np.int64)
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its broken opcodes lead to
        raise DataError(f"{name} is damaged ({error}); fetch CIFAR-10 again") from error
    fits = (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.shape == (len(labels), 3 * SIDE * SIDE)
        and bool(((labels >= 0) & (labels < len(CLASSES))).all())
    )
    if not fits:
        raise DataError(
            f"{name} is not a CIFAR-10 batch: expected uint8 [N, {3 * SIDE * SIDE}] pixels and "
            "labels 0 to 9; fetch CIFAR-10 again"
        )
    images_NCHW = pixels.reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(images_NCHW.transpose(0, 2, 3, 1)), labels


def _latin1(text: str, encoding: str) -> bytes:
    """How a protocol-2 pickle spells bytes: `_codecs.encode(text, 'latin1')`, and only that."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not allowed")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]  # numpy's own, wherever this release keeps it
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("_codecs", "encode"): _latin1,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dicts, lists, numbers, bytes and numpy arrays; refuses everything that is code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed constructor; raise DataError for any other."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(
                f"a CIFAR-10 batch asks for {module}.{name}; it could run code and is refused: "
                "fetch CIFAR-10 from its official address"
            ) from None
