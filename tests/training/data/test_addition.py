"""New data join the training split, and nothing that the figures are measured on does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sources import image_files, png, write_folder
from training.data.addition import join_images, join_text, read_new_images, read_new_text
from training.data.gather import gather, source_name
from training.data.images import load_images
from training.data.sets import ImageData
from training.data.text import TextData, load_text
from training.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> ImageData:
    files = image_files({"cat": 6, "dog": 6}, splits=("train", "test"))
    # The test images differ from the training images, as they should.
    files |= {
        name: png(200 + number)
        for number, name in enumerate(name for name in files if name.startswith("test"))
    }
    return load_images(str(write_folder(tmp_path / "pets", files)), cache_dir=tmp_path / "cache")


def test_images_join_the_training_split_alone(data: ImageData, tmp_path: Path) -> None:
    new = write_folder(tmp_path / "more", {"dog/1.png": png(150, width=20), "cat/a.png": png(151)})
    joined, left_out = join_images(data, read_new_images(new, size=32))
    assert left_out == 0
    assert len(joined.train.labels) == len(data.train.labels) + 2
    assert joined.train.labels[-2:].tolist() == [0, 1]  # by path
    assert joined.train.images[-2, 0, 0].tolist() == [151, 0, 104]
    assert joined.test is data.test
    assert joined.classes == data.classes
    sizes, count = joined.original_sizes, len(joined.train.labels)
    assert sizes is not None
    assert data.original_sizes is not None
    assert len(sizes) == count + len(joined.test.labels)
    assert sizes[count - 1].tolist() == [20, 8]
    np.testing.assert_array_equal(sizes[count:], data.original_sizes[len(data.train.labels) :])


def test_images_of_the_test_split_are_left_out(data: ImageData, tmp_path: Path) -> None:
    new = write_folder(tmp_path / "more", {"dog/1.png": png(150), "cat/leak.png": png(200)})
    joined, left_out = join_images(data, read_new_images(new, size=32))
    assert left_out == 1
    assert joined.parts[1].examples == {"train": 1}
    assert len(joined.train.labels) == len(data.train.labels) + 1


def test_the_record_covers_what_was_joined(data: ImageData, tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", {"dog/1.png": png(150)})
    two = write_folder(tmp_path / "two", {"dog/1.png": png(151)})
    first, _ = join_images(data, read_new_images(one, size=32))
    again, _ = join_images(data, read_new_images(one, size=32))
    other, _ = join_images(data, read_new_images(two, size=32))
    assert len({data.sha256, first.sha256, other.sha256}) == 3
    assert first.sha256 == again.sha256
    base, added = first.parts
    assert (base.sha256, base.source) == (data.sha256, data.source)
    assert base.examples == {"train": 12, "test": 12}
    assert (added.source, added.examples) == ("one", {"train": 1})


def test_an_unknown_class_cannot_join(data: ImageData, tmp_path: Path) -> None:
    new = read_new_images(write_folder(tmp_path / "more", {"cow/1.png": png(150)}), size=32)
    with pytest.raises(DataError, match="'cow'"):
        join_images(data, new)


def test_unreadable_images_are_named_together(tmp_path: Path) -> None:
    files = {f"cat/{number}.png": b"no image" for number in range(7)} | {"cat/whole.png": png(1)}
    with pytest.raises(DataError, match=r"7 unreadable: .*cat/0\.png.*and 2 more"):
        read_new_images(write_folder(tmp_path / "more", files), size=32)


def test_files_outside_a_class_are_told(tmp_path: Path) -> None:
    files = {"cat/1.png": png(1), "2.png": png(2), "cat/deep/3.png": png(3), "cat/notes.txt": b"x"}
    new = read_new_images(write_folder(tmp_path / "more", files), size=32)
    assert new.names == ("cat",)
    assert new.outside == ("2.png", "cat/deep/3.png")
    with pytest.raises(DataError, match="holds no images"):
        read_new_images(write_folder(tmp_path / "none", {"readme.txt": b"x"}), size=32)


@pytest.fixture
def text(tmp_path: Path) -> TextData:
    path = tmp_path / "play.txt"
    path.write_text("".join(f"line {number} of the play.\n" for number in range(200)))
    return load_text(str(path), cache_dir=tmp_path)


def test_text_joins_the_training_split_alone(text: TextData, tmp_path: Path) -> None:
    held_out = text.val[100:160]
    files = {"b.txt": b"the play of line 0.\n", "a.txt": f"a line\n\n{held_out}\n\nof 9\n".encode()}
    joined, left_out = join_text(text, read_new_text(write_folder(tmp_path / "more", files)))
    assert left_out == 1
    assert joined.val == text.val
    assert joined.vocabulary == text.vocabulary
    assert joined.train.startswith(text.train)
    assert joined.train.endswith("a line\n\nof 9\nthe play of line 0.\n")
    assert joined.sha256 != text.sha256
    assert sum(part.examples["train"] for part in joined.parts) + 1 >= len(joined.train)


def test_text_needs_known_characters(text: TextData, tmp_path: Path) -> None:
    new = read_new_text(write_folder(tmp_path / "more", {"a.txt": "λ".encode()}))
    with pytest.raises(DataError, match="'λ'"):
        join_text(text, new)
    with pytest.raises(DataError, match="is empty"):
        read_new_text(write_folder(tmp_path / "empty", {"a.txt": b"\n"}))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_folder_and_a_prefix_are_copied_alike(tmp_path: Path, scheme: str) -> None:
    files = {"cat/1.png": png(1), "dog/2.png": png(2), ".hidden/3.png": png(3)}
    source = f"{scheme}{write_folder(tmp_path / 'drop', files)}"
    copy = gather(source, tmp_path / "copy")
    assert copy == tmp_path / "copy" / "drop"
    assert source_name(source) == "drop"
    found = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*.png")}
    assert found == {name: content for name, content in files.items() if name[0] != "."}


def test_nothing_to_gather_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        gather(str(tmp_path / "empty"), tmp_path / "copy")
    with pytest.raises(DataError, match="is not a folder"):
        gather(str(tmp_path / "nowhere"), tmp_path / "copy")
