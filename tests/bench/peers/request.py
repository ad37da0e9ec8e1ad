"""One request to a peer, in the forms that servers take pictures and tensors in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench.bodies import infer_request
from tests.bench.client import Load


@dataclass(frozen=True)
class Request:
    """Where it goes, what it is."""

    path: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def load(self, connections: int, duration_s: float) -> Load:
        """The request again and again."""
        return Load(self.path, self.content_type, self.body, connections, duration_s, self.headers)


def base64_text(content: Any) -> str:
    """The bytes of anything that has some."""
    return base64.b64encode(bytes(content)).decode()


def raw(path: str, content_type: str = "application/octet-stream") -> Callable[[Any], Request]:
    """The bytes as the body."""
    return lambda content: Request(path, content_type, bytes(content))


def form(jpeg: bytes) -> Request:
    """A picture as the one file of a form."""
    mark = b"benchbenchbench"
    part = b'Content-Disposition: form-data; name="images"; filename="a.jpg"\r\n'
    part += b"Content-Type: image/jpeg\r\n\r\n"
    body = b"--" + mark + b"\r\n" + part + jpeg + b"\r\n--" + mark + b"--\r\n"
    return Request("/classify", f"multipart/form-data; boundary={mark.decode()}", body)


def element(jpeg: bytes) -> Request:
    """A picture as a BYTES tensor of one element, which carries its length, in binary."""
    body = len(jpeg).to_bytes(4, "little") + jpeg
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(body)},
                }
            ]
        }
    ).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    path = "/v2/models/pictures/infer"
    return Request(path, "application/octet-stream", header + body, length)


def infer(model: str) -> Callable[[Any], Request]:
    """A tensor in the Open Inference Protocol's binary form."""

    def request(image_NHWC: Any) -> Request:
        headers, body = infer_request({"image": image_NHWC}, ["probability"])
        path = f"/v2/models/{model}/infer"
        return Request(path, "application/octet-stream", body, headers)

    return request
