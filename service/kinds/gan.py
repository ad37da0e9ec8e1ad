"""GAN: classes in, pictures out. `/v1/images/generations`, `/v1/sample`, endpoint `sample`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.answer import Answer
from service.chance import fresh_seed
from service.contract import Manifest
from service.errors import InvalidInputError
from service.http.answers import error_answer, json_answer
from service.http.bodies import convert, read_json
from service.http.drawing import (
    GENERATE,
    PNG,
    SAMPLE,
    Gallery,
    Generation,
    GenerationRequest,
    SampleRequest,
    check_pictures,
    columns_of,
    observed,
)
from service.http.exchange import (
    abandoned_on_disconnect,
    caller,
    framed,
    priority_of,
    timeout_s,
    timing_headers,
)
from service.images import encode_base64, encode_png, tile
from service.kinds.base import Bench, Kind, check_count, fixed_axes
from service.labels import Labels
from service.loading import LoadedModel
from service.metrics import RequestMeter
from service.noise import arc, normal
from service.waiting import USUAL

if TYPE_CHECKING:
    from service.runtime import Runtime

_sample_decoder = msgspec.json.Decoder(SampleRequest)
_generation_decoder = msgspec.json.Decoder(GenerationRequest)


class Gan(Kind):
    """A generator: `noise` float32 [N, Z], `label` int64 [N] -> `image` uint8 [N, H, W, 3]."""

    name = "gan"
    inputs: ClassVar = {"noise": "float32", "label": "int64"}
    outputs: ClassVar = {"image": "uint8"}
    compared = "image"
    operations: ClassVar = {"POST /v1/sample": SAMPLE, "POST /v1/images/generations": GENERATE}

    def __init__(self, model: LoadedModel, bench: Bench) -> None:
        super().__init__(model, bench)
        self.labels = Labels(model.manifest.labels)
        (self._noise_width,) = fixed_axes(model.manifest.input("noise"), 1)
        self.size = fixed_axes(model.manifest.output("image"), 1, 2)

    @staticmethod
    def compare(candidate: NDArray[Any], incumbent: NDArray[Any]) -> tuple[float, float, float]:
        """One less the mean difference of grey levels, as a share of all 255. The same noise is
        another picture to another generator: no agreement is demanded; and none is surer.
        """
        difference = np.abs(candidate.astype(np.int16) - incumbent.astype(np.int16))
        return 1 - float(difference.mean()) / 255, 0.0, 0.0

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """As `Kind.check`; every class has a label."""
        super().check(manifest)
        last = manifest.input("label").maximum
        check_count(manifest, "labels", manifest.labels, 0 if last is None else int(last) + 1)

    async def draw(
        self,
        classes: Sequence[int],
        seed: int,
        *,
        seed_to: int | None = None,
        deadline_s: float,
        priority: int = USUAL,
    ) -> Answer:
        """Draw one picture per class; picture i depends on the seed, i and its class alone.

        With `seed_to`, on the way from the noise of row 0 of one seed to that of the other.
        """
        self.batcher.admit(len(classes))  # before the noise, which takes longer than a refusal
        width = self._noise_width
        if seed_to is None:
            noise_NZ = normal(seed, 0, len(classes), width)
        else:
            start_Z, end_Z = normal(seed, 0, 1, width)[0], normal(seed_to, 0, 1, width)[0]
            noise_NZ = arc(start_Z, end_Z, len(classes))
        inputs: dict[str, NDArray[Any]] = {
            "noise": noise_NZ,
            "label": np.array(classes, dtype=np.int64),
        }
        return await self.batcher.submit(
            inputs, ("image",), timeout_s=deadline_s, priority=priority, admitted=True
        )

    def gallery(self, image_NHWC: NDArray[np.uint8], classes: list[int], seed: int) -> Gallery:
        """Pictures with their classes, each a PNG in base64."""
        return {
            "model": self.manifest.name,
            "version": self.manifest.version,
            "seed": seed,
            "images": [
                {
                    "label": self.labels.names[index],
                    "index": index,
                    "b64_json": encode_base64(encode_png(image_HWC)),
                }
                for index, image_HWC in zip(classes, image_NHWC, strict=True)
            ],
        }

    def keep(
        self,
        runtime: Runtime,
        meter: RequestMeter,
        classes: Sequence[int],
        seed: int,
        answer: Answer,
        prompt: str | None = None,
    ) -> None:
        """Offer an answered request to the feedback."""
        image_NHWC = answer.outputs["image"]
        runtime.feedback.offer(
            meter, self.manifest, observed, self.labels.names, classes, seed, image_NHWC, prompt
        )

    @classmethod
    def routes(cls, runtime: Runtime) -> Sequence[Route]:
        """`POST /v1/sample` and OpenAI's `POST /v1/images/generations`."""
        settings = runtime.settings

        async def encode(gan: Gan, pictures: int, work: Callable[[], Any]) -> Any:
            with gan.batcher.aside(pictures):
                return await asyncio.get_running_loop().run_in_executor(runtime.decoders, work)

        async def sample(request: Request, meter: RequestMeter) -> Response:
            asked = await read_json(request, _sample_decoder, max_bytes=settings.max_body_bytes)
            deadline_s, priority = timeout_s(request, settings), priority_of(request)
            as_json = _wants_json(request)
            with runtime.registry.lease(cls, asked.model) as gan:
                meter.model = gan.manifest.name
                check_pictures(asked.n or len(asked.labels), settings.max_images)
                classes = gan.labels.indices(asked.labels, asked.n)
                asked.check_walk(len(classes))
                seed = fresh_seed() if asked.seed is None else asked.seed
                async with abandoned_on_disconnect(request):
                    answer = await gan.draw(
                        classes,
                        seed,
                        seed_to=asked.seed_to,
                        deadline_s=deadline_s,
                        priority=priority,
                    )
                    gan.keep(runtime, meter, classes, seed, answer)
                    image_NHWC = answer.outputs["image"]
                    headers = timing_headers(answer) | {
                        "x-model": gan.manifest.name,
                        "x-model-version": gan.manifest.version,
                        "x-seed": str(seed),
                    }
                    if as_json:
                        gallery = await encode(
                            gan, len(classes), lambda: gan.gallery(image_NHWC, classes, seed)
                        )
                        return json_answer(gallery, headers=headers)
                    if len(image_NHWC) == 1:
                        sheet = image_NHWC[0]
                    else:
                        columns = asked.columns or columns_of(len(image_NHWC), len(asked.labels))
                        sheet = tile(image_NHWC, columns=columns)
                    png = await encode(gan, len(classes), lambda: encode_png(sheet))
                return Response(png, media_type=PNG, headers=headers)

        async def generate(request: Request, meter: RequestMeter) -> Response:
            asked = await read_json(request, _generation_decoder, max_bytes=settings.max_body_bytes)
            asked.refuse_unsupported()
            deadline_s, priority = timeout_s(request, settings), priority_of(request)
            with runtime.registry.lease(cls, asked.model) as gan:
                meter.model = gan.manifest.name
                count = 1 if asked.n is None else asked.n
                check_pictures(count, settings.max_images)
                asked.check_size(*gan.size)
                classes = [gan.labels.index_in_prompt(asked.prompt)] * count
                seed = fresh_seed() if asked.seed is None else asked.seed
                async with abandoned_on_disconnect(request):
                    answer = await gan.draw(classes, seed, deadline_s=deadline_s, priority=priority)
                    gan.keep(runtime, meter, classes, seed, answer, asked.prompt)
                    gallery = await encode(
                        gan, count, lambda: gan.gallery(answer.outputs["image"], classes, seed)
                    )
                height, width = gan.size
                content: Generation = {
                    "created": int(time.time()),
                    "data": [{"b64_json": image["b64_json"]} for image in gallery["images"]],
                    "output_format": "png",
                    "size": f"{width}x{height}",
                    "model": gallery["model"],
                    "version": gallery["version"],
                    "seed": seed,
                }
                return json_answer(content, headers=timing_headers(answer))

        return [
            Route("/v1/sample", framed("sample", sample), methods=["POST"]),
            Route("/v1/images/generations", framed("images", generate), methods=["POST"]),
        ]

    @classmethod
    def endpoint(cls) -> Callable[..., Any]:
        """`sample(labels, n, seed, model)` of the BentoML service."""

        async def sample(
            self: Any,
            labels: list[str] = [],  # noqa: B006  # BentoML makes the schema of the default
            n: int | None = None,
            seed: int | None = None,
            model: str = "",
        ) -> Gallery:
            """Draw pictures of the classes named in `labels`, in turn; each a PNG in base64."""
            meter = RequestMeter("bentoml.sample")
            runtime: Runtime = self.runtime
            try:
                asking = caller(runtime.settings)
                asked = convert({"labels": labels, "n": n, "seed": seed}, SampleRequest)
                check_pictures(asked.n or len(labels), runtime.settings.max_images)
                with runtime.registry.lease(cls, model or None) as gan:
                    meter.model = gan.manifest.name
                    classes = gan.labels.indices(labels, asked.n)
                    used = fresh_seed() if asked.seed is None else asked.seed
                    answer = await gan.draw(
                        classes, used, deadline_s=asking.timeout_s, priority=asking.priority
                    )
                    meter.close("ok")
                    gan.keep(runtime, meter, classes, used, answer)
                    return gan.gallery(answer.outputs["image"], classes, used)
            except BaseException as error:
                meter.fail(error)
                if not isinstance(error, Exception):  # the client left
                    raise
                return error_answer(error)  # type: ignore[return-value]  # sent as it is

        return sample


KIND = Gan


def _wants_json(request: Request) -> bool:
    """PNG unless the client prefers JSON; anything else cannot be had."""
    accept = request.headers.get("accept", "*/*")
    for part in accept.split(","):
        media = part.partition(";")[0].strip().lower()
        if media in ("image/png", "image/*", "*/*", ""):
            return False
        if media == "application/json":
            return True
    raise InvalidInputError(
        f"accept must allow image/png or application/json, not {accept!r}", field="accept"
    )
