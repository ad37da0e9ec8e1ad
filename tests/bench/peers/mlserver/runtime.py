"""MLServer: a custom runtime; pictures and tensors come in base64, its REST has no binary form."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from work import classifier, decode


class Pictures(MLModel):
    """`image` BYTES [N] -> `label` BYTES [N], `score` FP32 [N]; batched adaptively."""

    async def load(self) -> bool:
        self.model = classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        bodies = Base64Codec.decode_input(payload.inputs[0])
        answers = self.model.classify([decode(body) for body in bodies])
        scores = np.array([answer["score"] for answer in answers], dtype=np.float32)
        outputs = [
            StringCodec.encode_output("label", [answer["label"] for answer in answers]),
            NumpyCodec.encode_output("score", scores),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Tensors(MLModel):
    """`tensor` BYTES [1], the bytes of uint8 [N, H, W, 3] -> `probability` BYTES [1]."""

    async def load(self) -> bool:
        self.model = classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (raw,) = Base64Codec.decode_input(payload.inputs[0])
        found = self.model.probabilities(self.model.tensor(raw)).tobytes()
        outputs = [Base64Codec.encode_output("probability", [found], use_bytes=False)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
