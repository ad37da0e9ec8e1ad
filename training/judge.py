"""A published classifier as the judge of drawn images.

It is read as any client would read it: from its file, through the session that serves it. It takes
no part in the training of what it judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.contract import MANIFEST_FILE, decode_manifest
from service.errors import ContractError
from service.session import Session
from training.data.sets import ImageData
from training.errors import DataError

ROWS = 100


@dataclass(frozen=True)
class Verdict:
    """What the judge saw in N images."""

    judged: NDArray[np.int64]
    """[N], indices into the judge's own labels."""
    features: NDArray[np.float32]
    """[N, D], pooled activations before its classifier."""


class Judge:
    """The classifier in the version folder `folder`. Raises DataError unless it can judge."""

    def __init__(self, folder: Path) -> None:
        path = folder / MANIFEST_FILE
        try:
            manifest = decode_manifest(path.read_bytes(), where=str(path))
            # Whatever precision is served: figures that outlive a run should not rest on rounding.
            self._session = Session(folder / manifest.serving("float32").graph)
        except (OSError, ContractError) as error:
            raise DataError(f"{folder} cannot judge: {error}", field="judge") from error
        if "feature" not in self._session.outputs or "image" not in self._session.inputs:
            raise DataError(f"{folder} is no classifier with features", field="judge")
        self.title = f"{manifest.name} {manifest.version}"
        self.labels = manifest.labels

    def see(self, images: NDArray[np.uint8]) -> Verdict:
        """Judge uint8 [N,H,W,3] of the size that the classifier reads."""
        expected = self._session.inputs["image"][1][1:]
        if images.shape[1:] != expected:
            raise DataError(
                f"the judge {self.title} reads images of {expected}, not {images.shape[1:]}",
                field="judge",
            )
        parts = [
            self._session.run({"image": np.ascontiguousarray(images[start : start + ROWS])})
            for start in range(0, len(images), ROWS)
        ]
        return Verdict(
            np.concatenate([part["probability"].argmax(axis=1) for part in parts]),
            np.concatenate([part["feature"] for part in parts]),
        )

    def suits(self, data: ImageData) -> bool:
        """Whether it reads images of this size and knows their classes."""
        size = self._session.inputs["image"][1][1:]
        return data.train.images.shape[1:] == size and set(data.classes) <= set(self.labels)

    def positions(self, classes: tuple[str, ...]) -> NDArray[np.int64]:
        """Where each of `classes` stands among the judge's labels; raises DataError if one does
        not.
        """
        missing = [name for name in classes if name not in self.labels]
        if missing:
            raise DataError(f"the judge {self.title} does not know {missing}", field="judge")
        return np.array([self.labels.index(name) for name in classes])
