"""Any number of images, in requests of a size that the server takes; a refused one alone.

As in `exchange`, what to send is decided here, by generators that touch no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, Unpack

from triptych.client.answers import Prediction
from triptych.client.call import CallOptions
from triptych.client.calls import classify_encoded
from triptych.client.errors import InvalidInputError, TooLargeError
from triptych.client.exchange import Options, Steps, answered
from triptych.client.pictures import ImageInput, encoded, several

T_co = TypeVar("T_co", covariant=True)
Outcome = Prediction | InvalidInputError
Row = tuple[int, bytes | InvalidInputError]
"""An image's number, and its bytes or why there are none."""

_MAX_BATCH_BYTES = 4 * 2**20
_ROW = re.compile(r"images\[(\d+)\]")


class Work(Protocol[T_co]):
    """A batch; `steps` gives its results in order."""

    def steps(self, options: Options) -> Steps[Sequence[T_co]]:
        """What to do for it."""
        ...


@dataclass(frozen=True)
class Batches(Generic[T_co]):
    """Work to be done `concurrency` batches at a time.

    Args:
        work: each batch, made when its turn comes.
        concurrency: how many are under way at once, 1 or more.
        total: how many results there will be; None: not known.
        progress: whether to show a bar on stderr.

    """

    work: Iterator[Work[T_co]]
    concurrency: int
    total: int | None
    progress: bool


@dataclass
class _Most:
    """Images that the server takes in a request, as far as it is known: batches share it."""

    images: int


@dataclass(frozen=True)
class _Batch:
    rows: Sequence[Row]
    most: _Most
    model: str | None
    top_k: int | None
    explain: bool
    call_options: CallOptions

    def steps(self, options: Options) -> Steps[list[Outcome]]:
        """Send the images together; those that are refused for a reason of their own are left out
        and the rest sent again, and what is too much for one request is halved.
        """
        found: dict[int, Outcome] = {}
        ready: list[tuple[int, bytes]] = []
        for number, content in self.rows:
            if isinstance(content, InvalidInputError):
                found[number] = content
            else:
                ready.append((number, content))
        todo = [ready] if ready else []
        while todo:
            rows = todo.pop()
            if len(rows) > self.most.images:
                todo.append(rows[self.most.images :])
                rows = rows[: self.most.images]
            call = classify_encoded(
                [content for _, content in rows],
                model=self.model,
                top_k=self.top_k,
                explain=self.explain,
                options=self.call_options,
            )
            try:
                answer = yield from answered(call, options)
            except InvalidInputError as error:
                culprit = _culprit(error, len(rows))
                if culprit is not None:
                    number = rows[culprit][0]
                    error.message = error.message.replace(error.param or "", f"images[{number}]", 1)
                    error.args, error.param = (error.message,), f"images[{number}]"
                    found[number] = error
                    rest = rows[:culprit] + rows[culprit + 1 :]
                    todo += [rest] if rest else []
                elif isinstance(error, TooLargeError) and len(rows) > 1:
                    half = len(rows) // 2
                    if error.param != "body":  # that were too many bytes, which differ
                        self.most.images = min(self.most.images, half)
                    todo += [rows[half:], rows[:half]]
                else:
                    raise
                continue
            found |= {number: row for (number, _), row in zip(rows, answer, strict=True)}
        return [found[number] for number, _ in self.rows]


def _culprit(error: InvalidInputError, rows: int) -> int | None:
    """The image that an error names, by its place in the request; None: all are at fault."""
    param = error.param or ""
    if param == "image" or (rows == 1 and isinstance(error, TooLargeError)):
        return 0
    found = _ROW.fullmatch(param)
    row = int(found[1]) if found else rows
    return row if row < rows else None


@dataclass(frozen=True)
class _Strict:
    """A batch of which no image may be refused."""

    batch: _Batch

    def steps(self, options: Options) -> Steps[list[Prediction]]:
        rows = yield from self.batch.steps(options)
        found: list[Prediction] = []
        for row in rows:
            if isinstance(row, InvalidInputError):
                raise row
            found.append(row)
        return found


def classify_each(
    images: Iterable[ImageInput],
    *,
    model: str | None = None,
    top_k: int | None = None,
    explain: bool = False,
    batch_images: int = 32,
    concurrency: int = 4,
    progress: bool = False,
    **options: Unpack[CallOptions],
) -> Batches[Outcome]:
    """As `classify_many`; where an image is refused, there is its error in place of a prediction.

    Only errors of one image are given so. One of all of them, an unknown model say, is raised.
    """
    for name, value in (("batch_images", batch_images), ("concurrency", concurrency)):
        if value < 1:
            raise InvalidInputError(f"{name} is {value}; it must be 1 or more", param=name)
    many = several(images)

    def make() -> Iterator[_Batch]:
        most = _Most(batch_images)
        for rows in _cut(many, batch_images):
            yield _Batch(rows, most, model, top_k, explain, options)

    return Batches(make(), concurrency, _length(many), progress)


def classify_many(
    images: Iterable[ImageInput],
    *,
    model: str | None = None,
    top_k: int | None = None,
    explain: bool = False,
    batch_images: int = 32,
    concurrency: int = 4,
    progress: bool = False,
    **options: Unpack[CallOptions],
) -> Batches[Prediction]:
    """Classify any number of images; predictions come in their order, as soon as they are there.

    Args:
        images: as of `classify`, from any iterable, which is read as far as needed.
        model: the model; None: the first of its kind by name.
        top_k: how many classes to name; None: 5.
        explain: adds heatmaps.
        batch_images: the most images in a request; fewer if the server takes no more.
        concurrency: requests at once.
        progress: a bar on stderr, where that is a terminal; needs tqdm.
        options: as `CallOptions`, for each request.

    Raises:
        InvalidInputError: an image that cannot be decoded; `param` is `images[i]`, i its number.
        TriptychClientError: as `classify`.

    """
    each = classify_each(
        images,
        model=model,
        top_k=top_k,
        explain=explain,
        batch_images=batch_images,
        concurrency=concurrency,
        progress=progress,
        **options,
    )

    def make() -> Iterator[_Strict]:
        for batch in each.work:
            assert isinstance(batch, _Batch)
            yield _Strict(batch)

    return Batches(make(), each.concurrency, each.total, progress)


def _cut(images: Iterable[ImageInput], batch_images: int) -> Iterator[list[Row]]:
    rows: list[Row] = []
    size_bytes = 0
    for number, image in enumerate(images):
        content = _content(image, f"images[{number}]")
        length = 0 if isinstance(content, InvalidInputError) else len(content)
        if rows and (len(rows) == batch_images or size_bytes + length > _MAX_BATCH_BYTES):
            yield rows
            rows, size_bytes = [], 0
        rows.append((number, content))
        size_bytes += length
    if rows:
        yield rows


def _content(image: ImageInput, param: str) -> bytes | InvalidInputError:
    try:
        return encoded(image, param)
    except InvalidInputError as error:
        return error
    except OSError as error:
        return InvalidInputError(f"{param}: {error.filename}: {error.strerror}", param=param)


def _length(images: Iterable[ImageInput]) -> int | None:
    return len(images) if isinstance(images, Sequence) else None
