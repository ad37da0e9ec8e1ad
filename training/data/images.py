"""Labelled images: CIFAR-10 from its official archive, or anyone's folder or archive of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from service.images import fit_image
from training.data import cifar
from training.data.cache import Decoded, cache_path, read_cache, write_cache
from training.data.decode import decode_image
from training.data.digest import fingerprint, hash_bytes, hash_listing
from training.data.download import fetch
from training.data.folder import Place, is_archive, list_files, place_images, read_files
from training.data.sets import ImageData, ImageSet
from training.data.split import assign_test
from training.errors import DataError

__all__ = ["ImageData", "ImageSet", "load_images"]


def load_images(source: str | None, *, cache_dir: Path, size: int = 32) -> ImageData:
    """Load a labelled image data set, decoded to `size` x `size`.

    Args:
        source: a folder or an archive with one folder of images per class (see
            `training.data.folder`), CIFAR-10's official archive or its extracted folder; None
            fetches that archive.
        cache_dir: where downloads and decoded images are kept.
        size: side in pixels; images are centre-cropped to square and resized as in serving.

    Raises DataError, saying what to do, for anything that is not such a data set.

    """
    if source is None:
        path = fetch(cifar.URL, cache_dir / "cifar-10-python.tar.gz", md5=cifar.MD5)
    else:
        path = Path(source).expanduser()
        _check_source(path)
    source_print = fingerprint(path)
    cached = cache_path(cache_dir, source_print, size)
    decoded = read_cache(cached)
    if decoded is None:
        decoded = _read(path, size=size)
        write_cache(cached, decoded)
    count = decoded.training_images
    return ImageData(
        name="cifar10" if decoded.is_cifar else path.resolve().name.partition(".")[0],
        source=cifar.URL if source is None else path.resolve().name,
        sha256=source_print if path.is_file() else decoded.sha256,
        classes=decoded.classes,
        train=ImageSet(decoded.images[:count], decoded.labels[:count]),
        test=ImageSet(decoded.images[count:], decoded.labels[count:]),
        license=cifar.LICENSE if decoded.is_cifar else "",
        original_sizes=decoded.original_sizes,
    )


def _check_source(path: Path) -> None:
    expected = "give a folder, or a tar or zip archive, with one sub-folder of images per class"
    if not path.exists():
        raise DataError(f"{path} does not exist; {expected}")
    if not path.is_dir() and not is_archive(path):
        raise DataError(f"{path} is neither a folder nor a tar or zip archive; {expected}")


def _read(path: Path, *, size: int) -> Decoded:
    names = list_files(path)
    batches = cifar.find_batches(names)
    if batches:
        decoded = cifar.read_cifar(path, batches)
        return decoded if size == cifar.SIDE else _resize(decoded, size)
    return _decode_files(path, place_images(path, names), size=size)


def _resize(decoded: Decoded, size: int) -> Decoded:
    fitted = (
        fit_image(Image.fromarray(image_HWC), height=size, width=size)
        for image_HWC in tqdm(decoded.images, desc="resizing", unit="image", disable=None)
    )
    return replace(decoded, images=np.stack(list(fitted)))


def _decode_files(path: Path, places: dict[str, Place], *, size: int) -> Decoded:
    names = sorted(places)  # one order, however the source is stored
    classes = tuple(sorted({place.label for place in places.values()}))
    labels = np.array([classes.index(places[name].label) for name in names], np.int64)
    splits = np.array([places[name].split for name in names])
    is_test = assign_test(labels, splits, classes=classes, source=str(path))
    order = np.argsort(is_test, kind="stable")
    row = {names[index]: position for position, index in enumerate(order)}
    images = np.empty((len(names), size, size, 3), np.uint8)
    original_sizes = np.empty((len(names), 2), np.int32)
    digests: dict[str, str] = {}
    files = read_files(path, names)
    for name, content in tqdm(files, "decoding", len(names), unit="image", disable=None):
        image_HWC, original_size = decode_image(content, name=name, size=size)
        images[row[name]], original_sizes[row[name]] = image_HWC, original_size
        digests[name] = hash_bytes(content)
    if len(digests) != len(names):
        raise DataError(f"{path} changed while it was read; run again")
    training_images = int((~is_test).sum())
    return Decoded(
        images=images,
        labels=labels[order],
        original_sizes=original_sizes,
        classes=classes,
        sha256=hash_listing(digests.items()),
        training_images=training_images,
        is_cifar=cifar.is_repacked(classes, training_images, original_sizes),
    )
