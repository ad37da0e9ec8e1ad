"""CNN: images in, classes out. `POST /v1/classify` and the endpoint `classify`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.answer import Answer
from service.contract import Manifest
from service.errors import InvalidInputError, TooLargeError, UnsupportedMediaError
from service.http.answers import error_answer, json_answer
from service.http.bodies import media_type, read_body, read_form
from service.http.classifying import (
    CLASSIFY,
    DEFAULT_TOP_K,
    Classification,
    Prediction,
    Score,
    observed,
    parse_explain,
    parse_top_k,
    read_query,
)
from service.http.exchange import (
    abandoned_on_disconnect,
    caller,
    framed,
    priority_of,
    timeout_s,
    timing_headers,
)
from service.images import decode_image
from service.kinds.base import Bench, Kind, check_count, fixed_axes
from service.loading import LoadedModel
from service.metrics import RequestMeter
from service.waiting import USUAL

if TYPE_CHECKING:
    from service.runtime import Runtime

_INLINE_BYTES = 16 * 1024
"""Larger bodies are decoded on a thread; decoding a smaller one takes less than the detour."""
_MANY = 100  # classes


class Cnn(Kind):
    """A classifier: `image` uint8 [N, H, W, 3] -> `probability` [N, C], `heatmap` [N, h, w]."""

    name = "cnn"
    inputs: ClassVar = {"image": "uint8"}
    outputs: ClassVar = {"probability": "float32", "heatmap": "float32"}
    compared = "probability"
    least_agreement = 0.8  # two networks of 90 % that err apart agree on 82 %
    operations: ClassVar = {"POST /v1/classify": CLASSIFY}

    def __init__(self, model: LoadedModel, bench: Bench) -> None:
        super().__init__(model, bench)
        self.labels = model.manifest.labels
        self.size = fixed_axes(model.manifest.input("image"), 1, 2)

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """As `Kind.check`; every class has a label."""
        super().check(manifest)
        (classes,) = fixed_axes(manifest.output("probability"), 1)
        check_count(manifest, "labels", manifest.labels, classes)

    @staticmethod
    def compare(candidate: NDArray[Any], incumbent: NDArray[Any]) -> tuple[float, float, float]:
        """The same likeliest class; its probability."""
        alike = candidate.argmax(axis=-1) == incumbent.argmax(axis=-1)
        return (
            float(alike.mean()),
            float(candidate.max(axis=-1).mean()),
            float(incumbent.max(axis=-1).mean()),
        )

    async def decode(self, files: Sequence[bytes], runtime: Runtime) -> list[NDArray[np.uint8]]:
        """Decode images that were admitted: small ones at once, others on a thread."""
        height, width = self.size
        max_pixels = runtime.settings.max_image_pixels

        def decode(index: int) -> NDArray[np.uint8]:
            field = "image" if len(files) == 1 else f"images[{index}]"
            return decode_image(
                files[index], height=height, width=width, max_pixels=max_pixels, field=field
            )

        if len(files) == 1 and len(files[0]) <= _INLINE_BYTES:
            return [decode(0)]
        loop = asyncio.get_running_loop()
        with self.batcher.aside(len(files)):
            return await loop.run_in_executor(
                runtime.decoders, lambda: [decode(index) for index in range(len(files))]
            )

    async def classify(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        explain: bool,
        deadline_s: float,
        priority: int = USUAL,
    ) -> Answer:
        """Run decoded images of this model's size, one row each; `admit` has let them in."""
        outputs = ("probability", "heatmap") if explain else ("probability",)
        image_NHWC = images[0][None] if len(images) == 1 else np.stack(images)
        return await self.batcher.submit(
            {"image": image_NHWC},
            outputs,
            timeout_s=deadline_s,
            priority=priority,
            admitted=True,
        )

    def describe(self, answer: Answer, top_k: int) -> Classification:
        """Turn output rows into labels and scores."""
        heatmap_Nhw = answer.outputs.get("heatmap")
        predictions: list[Prediction] = []
        for row, probability_C in enumerate(answer.outputs["probability"]):
            top = self._top(probability_C, top_k)
            prediction = Prediction(**top[0], top=top)  # type: ignore[typeddict-item]
            if heatmap_Nhw is not None:
                prediction["heatmap"] = np.round(heatmap_Nhw[row].astype(float), 4).tolist()
            predictions.append(prediction)
        return {
            "model": self.manifest.name,
            "version": self.manifest.version,
            "predictions": predictions,
        }

    def keep(
        self,
        runtime: Runtime,
        meter: RequestMeter,
        files: Sequence[bytes],
        images: Sequence[NDArray[np.uint8]],
        answer: Answer,
    ) -> None:
        """Offer an answered request to the feedback."""
        probability_NC = answer.outputs["probability"]
        runtime.feedback.offer(
            meter, self.manifest, observed, self.labels, files, images, probability_NC
        )

    def _top(self, probability_C: NDArray[np.float32], top_k: int) -> list[Score]:
        """The likeliest classes; of equals the first."""
        if len(self.labels) > _MANY:
            order = np.argsort(-probability_C, kind="stable")[:top_k].tolist()
            values = dict(zip(order, probability_C[order].tolist(), strict=True))
        else:  # of a few, plain Python is quicker
            values = probability_C.tolist()
            order = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:top_k]
        labels = self.labels
        return [
            {"label": labels[index], "index": index, "score": round(values[index], 6)}
            for index in order
        ]

    @classmethod
    def routes(cls, runtime: Runtime) -> Sequence[Route]:
        """`POST /v1/classify`."""

        async def classify(request: Request, meter: RequestMeter) -> Response:
            settings = runtime.settings
            query = read_query(request)
            explain = parse_explain(query.get("explain", "false"))
            deadline_s, priority = timeout_s(request, settings), priority_of(request)
            with runtime.registry.lease(cls, query.get("model")) as cnn:
                meter.model = cnn.manifest.name
                top_k = parse_top_k(query.get("top_k"), len(cnn.labels))
                cnn.batcher.admit(1)
                files = await _read_images(request, runtime)
                cnn.batcher.admit(len(files))
                async with abandoned_on_disconnect(request):
                    images = await cnn.decode(files, runtime)
                    answer = await cnn.classify(
                        images, explain=explain, deadline_s=deadline_s, priority=priority
                    )
                cnn.keep(runtime, meter, files, images, answer)
                return json_answer(cnn.describe(answer, top_k), headers=timing_headers(answer))

        return [Route("/v1/classify", framed("classify", classify), methods=["POST"])]

    @classmethod
    def endpoint(cls) -> Callable[..., Any]:
        """`classify(images, model, top_k, explain)` of the BentoML service."""

        async def classify(
            self: Any,
            images: list[Path],
            model: str = "",
            top_k: int = DEFAULT_TOP_K,
            explain: bool = False,
        ) -> Classification:
            """Classify images of any size and common format; one prediction each, in order."""
            meter = RequestMeter("bentoml.classify")
            runtime: Runtime = self.runtime
            try:
                asking = caller(runtime.settings)
                _check_count(len(images), runtime)
                with runtime.registry.lease(cls, model or None) as cnn:
                    meter.model = cnn.manifest.name
                    top_k = parse_top_k(str(top_k), len(cnn.labels))
                    files = [await asyncio.to_thread(path.read_bytes) for path in images]
                    cnn.batcher.admit(len(images))
                    decoded = await cnn.decode(files, runtime)
                    answer = await cnn.classify(
                        decoded,
                        explain=explain,
                        deadline_s=asking.timeout_s,
                        priority=asking.priority,
                    )
                    meter.close("ok")
                    cnn.keep(runtime, meter, files, decoded, answer)
                    return cnn.describe(answer, top_k)
            except BaseException as error:
                meter.fail(error)
                if not isinstance(error, Exception):  # the client left
                    raise
                return error_answer(error)  # type: ignore[return-value]  # BentoML sends it as is

        return classify


KIND = Cnn


async def _read_images(request: Request, runtime: Runtime) -> list[bytes]:
    settings = runtime.settings
    media = media_type(request)
    if media == "application/json" or media.startswith("text/"):
        raise UnsupportedMediaError(
            "send the image's bytes as the body, or one or many as multipart/form-data; "
            f"not {media}",
            field="content-type",
        )
    if media != "multipart/form-data":
        return [await read_body(request, max_bytes=settings.max_body_bytes)]
    form = await read_form(
        request, max_bytes=settings.max_body_bytes, max_files=settings.max_images
    )
    files: list[bytes] = []
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                raise InvalidInputError(
                    f"{name} is a text field; parameters go into the query, images into files",
                    field=name,
                )
            files.append(await value.read())
    finally:
        await form.close()
    _check_count(len(files), runtime)
    return files


def _check_count(count: int, runtime: Runtime) -> None:
    if count == 0:
        raise InvalidInputError("there is no image in the request", field="images")
    if count > runtime.settings.max_images:
        raise TooLargeError(
            f"{count} images in a request; the limit is {runtime.settings.max_images}",
            field="images",
        )
