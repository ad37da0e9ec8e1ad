"""What the methods of the clients return. Fields that a newer server adds are passed over."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

FinishReason = Literal["stop", "length"]


class Score(msgspec.Struct, frozen=True):
    """A class and its probability, 0 to 1."""

    label: str
    index: int
    score: float


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The likeliest class of one image, and the `top` ones.

    `heatmap` [h][w] in 0..1, if asked for, covers the centre square that the model saw. `model` and
    `version` say who answered.
    """

    label: str
    index: int
    score: float
    top: tuple[Score, ...] = ()
    heatmap: tuple[tuple[float, ...], ...] | None = None
    model: str = ""
    version: str = ""


class Classification(msgspec.Struct, frozen=True):
    """One prediction an image, in order."""

    model: str
    version: str
    predictions: tuple[Prediction, ...]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, row: int) -> Prediction:
        return self.predictions[row]


class Logprobs(msgspec.Struct, frozen=True):
    """Log-probabilities in nats, a token each; None for the first of an echoed prompt."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float] | None, ...]
    text_offset: tuple[int, ...]


class Choice(msgspec.Struct, frozen=True):
    """A text, and why it ended."""

    text: str
    index: int
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None


class Chunk(Choice, frozen=True):
    """The next piece of choice number `index`; the last of one has a `finish_reason`."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that were read and written; a token is a character."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(msgspec.Struct, frozen=True):
    """Texts: prompts times `n`, in that order. The same `seed` writes them again."""

    id: str
    model: str
    version: str
    seed: int
    choices: tuple[Choice, ...]
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The first text."""
        return self.choices[0].text


class Picture(msgspec.Struct, frozen=True):
    """A drawn picture: its class, and the bytes of a PNG."""

    label: str
    index: int
    png: bytes = msgspec.field(name="b64_json")  # msgspec reads and writes bytes as base64

    def image(self) -> Image.Image:
        """Decode it; needs Pillow."""
        return decode_png(self.png)


class Gallery(msgspec.Struct, frozen=True):
    """Pictures in the order asked for. The same `seed` draws them again."""

    model: str
    version: str
    seed: int
    images: tuple[Picture, ...]

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Picture:
        return self.images[row]


class Grid(msgspec.Struct, frozen=True):
    """Pictures on one sheet, as the bytes of a PNG."""

    model: str
    version: str
    seed: int
    png: bytes

    def image(self) -> Image.Image:
        """Decode it; needs Pillow."""
        return decode_png(self.png)

    def save(self, path: str | Path) -> None:
        """Write the PNG."""
        Path(path).write_bytes(self.png)


class Tensor(msgspec.Struct, frozen=True):
    """A tensor of a model; named axes may have any length."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Version(msgspec.Struct, frozen=True):
    """A version that `model="name@version"` gets: `served`, or on trial as a `canary` or `shadow`.

    A role that this client does not know yet is kept as it is told.
    """

    version: str
    role: str


class Model(msgspec.Struct, frozen=True):
    """A served model; `version` is served, `versions` are all that a request may name."""

    id: str
    kind: str
    version: str
    versions: tuple[Version, ...] = ()
    digest: str = ""
    precision: str = ""
    description: str = ""
    labels: tuple[str, ...] = ()
    vocabulary: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    metrics: dict[str, float] = {}


class Readiness(msgspec.Struct, frozen=True):
    """Whether all models are there, their versions by name, and what is wrong by name."""

    ready: bool
    serving: dict[str, str] = {}
    problems: dict[str, str] = {}


class Tokens(msgspec.Struct, frozen=True):
    """Texts as tokens: a row a text."""

    model: str
    version: str
    rows: tuple[tuple[int, ...], ...]


class Inference(msgspec.Struct, frozen=True):
    """A model's output tensors by name."""

    model: str
    version: str
    outputs: dict[str, Any]

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        found: NDArray[np.generic] = self.outputs[name]
        return found


def decode_png(png: bytes) -> Image.Image:
    """A PNG as a picture of Pillow's."""
    from PIL import Image  # noqa: PLC0415  # loaded by those who want pictures alone

    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image
