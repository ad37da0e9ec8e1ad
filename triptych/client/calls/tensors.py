"""Run a model on tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack
from urllib.parse import quote

from triptych.client.answers import Inference
from triptych.client.call import Call, CallOptions, Reply
from triptych.client.tensors import packed, unpacked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def infer(
    model: str,
    tensors: Mapping[str, NDArray[np.generic]],
    *,
    outputs: Sequence[str] | None = None,
    version: str | None = None,
    **options: Unpack[CallOptions],
) -> Call[Inference]:
    """Run a model on tensors, over the Open Inference Protocol, in binary; needs numpy.

    Args:
        model: its name.
        tensors: each input by its name.
        outputs: the outputs that are wanted; None: all.
        version: the version that must be the served one; None: whichever is.
        options: as `CallOptions`.

    Raises InvalidInputError for a tensor that the model does not take; the message names it.
    """
    body, headers = packed(tensors, outputs)
    path = f"/v2/models/{quote(model, safe='')}"
    if version is not None:
        path += f"/versions/{quote(version, safe='')}"

    def read(reply: Reply) -> Inference:
        return unpacked(reply.body, reply.headers)

    return Call("POST", path + "/infer", read, options, headers=headers, body=body)
