"""Image files laid out as one folder per class, on disk or inside an archive.

    root/<class>/<image>                      one split: a tenth of each class is held out
    root/{train,test}/<class>/<image>         two splits (`val` stands for `test` without one)

Archives (.tar, .tar.gz, .tgz, .tar.xz, .tar.bz2, .zip) are read in memory, member by member, and
nothing is ever extracted: a member whose path leaves the archive is refused, as is one larger
than any photograph.
"""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from training.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
)
MAX_FILE_BYTES = 64 * 2**20  # a 50-megapixel photograph is under 40 MiB
MAX_TOTAL_BYTES = 64 * 2**30  # beyond this an archive is a mistake or a bomb
TEST_SPLITS = ("test", "val", "valid", "validation")  # the first one present is used


@dataclass(frozen=True)
class Place:
    """Where an image file belongs. `split` is "train" or "test", or "" if the source has none."""

    split: str
    label: str


def is_archive(path: Path) -> bool:
    """Whether the file is a tar or zip archive, by its content."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def list_files(source: Path) -> list[str]:
    """Paths of the files under a folder or in an archive, relative and with slashes.

    Hidden files and folders, and files that other systems leave behind, are passed over.
    Raises DataError for a damaged archive or an unsafe member.
    """
    if source.is_dir():
        names = [
            path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()
        ]
        return sorted(name for name in names if not _is_hidden(name))
    with _reading(source):
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                members = [(i.filename, i.file_size) for i in archive.infolist() if not i.is_dir()]
        else:
            with tarfile.open(source) as tar:
                members = [(member.name, member.size) for member in tar if member.isreg()]
    for name, _ in members:
        _check_member(source, name)
    if sum(size for _, size in members) > MAX_TOTAL_BYTES:
        raise DataError(f"{source} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB")
    return [name for name, _ in members if not _is_hidden(name)]


def read_files(source: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the named files, in the order in which the source stores them.

    Raises DataError for a file that is too large or cannot be read.
    """
    wanted = set(names)
    if source.is_dir():
        for name in sorted(wanted):
            yield name, _read_path(source, name)
        return
    with _reading(source):
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                for info in archive.infolist():
                    if info.filename in wanted:
                        _check_size(source, info.filename, info.file_size)
                        yield info.filename, archive.read(info)
            return
        with tarfile.open(source) as tar:
            for member in tar:
                if member.name in wanted and (file := tar.extractfile(member)):
                    _check_size(source, member.name, member.size)
                    yield member.name, file.read()


def place_images(source: Path, names: Iterable[str]) -> dict[str, Place]:
    """Work out the split and the class of each image among the files, from its path.

    Raises DataError if the layout is not one folder per class, or the splits disagree on classes.
    """
    parts = {
        name: file.parts
        for name in names
        if (file := PurePosixPath(name)).suffix.lower() in IMAGE_SUFFIXES
    }
    if not parts:
        raise DataError(
            f"{source} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); "
            "expected one sub-folder of images per class"
        )
    depth = _common_depth(list(parts.values()))
    tops = {path[depth] for path in parts.values() if len(path) > depth + 1}
    test_name = next((name for name in TEST_SPLITS if name in tops), None)
    has_splits = "train" in tops and test_name is not None
    if has_splits and (others := tops - {"train", *TEST_SPLITS}):
        raise DataError(
            f"{source} has {min(others)!r} beside 'train' and {test_name!r}; keep the splits alone "
            "there, each with one sub-folder of images per class"
        )
    places: dict[str, Place] = {}
    for name, path in parts.items():
        folders = path[depth:-1]
        if has_splits and folders and folders[0] not in ("train", test_name):
            continue  # a validation split beside a test split: neither fitted nor measured on
        if len(folders) <= has_splits:
            if depth and not has_splits:
                raise DataError(
                    f"{source} has one class only, {path[depth - 1]!r}; "
                    "a classifier needs two sub-folders of images or more"
                )
            raise DataError(
                f"{source} is not an image folder: {name!r} lies outside any class; "
                "put every image into a sub-folder named after its class"
            )
        if has_splits:
            places[name] = Place("train" if folders[0] == "train" else "test", folders[1])
        else:
            places[name] = Place("", folders[0])
    return places


def _common_depth(paths: list[tuple[str, ...]]) -> int:
    """How many leading folders all files share."""
    first, last = min(paths), max(paths)
    shared = 0
    for a, b in zip(first[:-1], last[:-1], strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _check_member(source: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{source} holds {name!r}, a path that leaves the archive; refused")


def _check_size(source: Path, name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{source}: {name} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read per image"
        )


def _read_path(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        _check_size(folder, name, path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Turn what the archive modules raise into DataError."""
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        RuntimeError,  # a zip with a password
        NotImplementedError,  # a zip packed by a method that Python lacks
    ) as error:
        raise DataError(
            f"{source} is damaged or not readable as an archive ({error}); fetch or pack it again"
        ) from error
