"""The served document says what the service does: every answer is as its schema has it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.e2e.server import Server
from tests.pictures import picture

TEXT = "shakespeare"


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    answer = server.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_a_page_shows_the_same_document(server: Server, document: dict[str, Any]) -> None:
    assert server.get("/docs.json").json() == document
    assert "swagger" in server.get("/docs").text
    assert server.get("/static_content/swagger-ui-bundle.js").status_code == 200


def test_the_document_is_sound(document: dict[str, Any]) -> None:
    validate(document)
    for path in ("/", "/classify", "/generate", "/sample", "/v1/completions", "/v2", "/metrics"):
        assert path in document["paths"]


def fitting(document: dict[str, Any], method: str, path: str, status: int) -> Draft202012Validator:
    answer = document["paths"][path][method]["responses"][str(status)]
    schema = answer["content"]["application/json"]["schema"]
    if "$ref" in schema:  # what the document does not name must not be there
        schema = schema | {"unevaluatedProperties": False}
    validator = Draft202012Validator({**schema, "components": document["components"]})
    Draft202012Validator.check_schema(validator.schema)
    return validator


GETS = [
    ("/v1/models", {}), ("/v1/models/{model}", {"model": "cifar10"}), ("/readyz", {}),
    ("/v2", {}), ("/v2/models/{model}", {"model": TEXT}), ("/v2/models/stats", {}),
    ("/v2/models/{model}/config", {"model": TEXT}), ("/v2/models/{model}/stats", {"model": TEXT}),
    ("/tokenizer_info", {}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "names"), GETS, ids=[path for path, _ in GETS])
def test_what_is_read(
    server: Server, document: dict[str, Any], path: str, names: dict[str, str]
) -> None:
    answer = server.get(path.format(**names))
    assert answer.status_code == 200
    fitting(document, "get", path, 200).validate(answer.json())


POSTS: list[tuple[str, dict[str, Any], int]] = [
    ("/v1/completions", {"prompt": "a", "max_tokens": 3, "echo": True, "logprobs": 2}, 200),
    ("/v1/completions", {"prompt": "a", "max_tokens": -3}, 400),
    ("/v1/completions", {"prompt": "a", "model": "nobody"}, 404),
    ("/v1/completions", {"prompt": "a" * 3000}, 413),
    ("/v1/tokenize", {"prompt": ["a", "b"], "return_token_strs": True}, 200),
    ("/v1/tokenize", {"prompt": "a"}, 200),
    ("/v1/tokenize", {"prompt": "\u00e4"}, 400),
    ("/v1/detokenize", {"tokens": [1, 2]}, 200),
    ("/v1/images/generations", {"prompt": "a cat", "n": 2}, 200),
    ("/v1/images/generations", {"prompt": "a unicorn"}, 400),
    ("/generate", {"prompt": "a", "max_tokens": 3}, 200),
    ("/generate", {"prompt": "\u00e4"}, 400),
    ("/generate", {"prompts": "a"}, 400),
    ("/sample", {"labels": ["cat"]}, 200),
    ("/v2/models/{model}/generate", {"text_input": "a", "parameters": {"max_tokens": 3}}, 200),
    ("/v2/models/{model}/generate", {"text": "a"}, 400),
    ("/v2/repository/index", {}, 200),
    ("/v2/repository/models/{model}/load", {}, 403),
]


@pytest.mark.parametrize(("path", "body", "status"), POSTS)
def test_what_is_asked(
    server: Server, document: dict[str, Any], path: str, body: dict[str, Any], status: int
) -> None:
    answer = server.post(path.format(model=TEXT), json=body)
    assert answer.status_code == status, answer.text
    fitting(document, "post", path, status).validate(answer.json())
    content = document["paths"][path]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    request = Draft202012Validator({**schema, "components": document["components"]})
    if status == 200:
        request.validate(body)


def test_pictures(server: Server, document: dict[str, Any]) -> None:
    answer = server.post("/v1/classify?explain=true&top_k=2", content=picture())
    fitting(document, "post", "/v1/classify", 200).validate(answer.json())
    answer = server.post("/v1/classify", content=b"no picture")
    assert answer.status_code == 422
    fitting(document, "post", "/v1/classify", 422).validate(answer.json())
    answer = server.post("/v1/sample", json={"n": 2}, headers={"accept": "application/json"})
    fitting(document, "post", "/v1/sample", 200).validate(answer.json())
    assert base64.b64decode(answer.json()["images"][0]["b64_json"]).startswith(b"\x89PNG")


def test_tensors(server: Server, document: dict[str, Any]) -> None:
    metadata = server.get("/v2/models/cifar10-gan").json()
    (noise,) = (one for one in metadata["inputs"] if one["name"] == "noise")
    width = noise["shape"][1]
    body = {
        "id": "x",
        "inputs": [
            {"name": "label", "shape": [1], "datatype": "INT64", "data": [1]},
            {"name": "noise", "shape": [1, width], "datatype": "FP32", "data": [0.0] * width},
        ],
    }
    path = "/v2/models/{model}/infer"
    answer = server.post(path.format(model="cifar10-gan"), json=body)
    assert answer.status_code == 200, answer.text
    fitting(document, "post", path, 200).validate(answer.json())
    answer = server.post(path.format(model="cifar10-gan"), json={"inputs": []})
    assert answer.status_code == 400
    fitting(document, "post", path, 400).validate(answer.json())


def test_upgrade_is_documented(server: Server, document: dict[str, Any]) -> None:
    answer = server.get("/v1/completions/stream")
    fitting(document, "get", "/v1/completions/stream", answer.status_code).validate(answer.json())
    assert "101" in document["paths"]["/v1/completions/stream"]["get"]["responses"]


@pytest.mark.parametrize("path", ["/nowhere", "/v3/models", "/assets/none.js", "/static_content/x"])
def test_what_is_not_there_is_told_in_json(
    server: Server, document: dict[str, Any], path: str
) -> None:
    answer = server.get(path)
    assert answer.status_code == 404
    assert path in answer.json()["error"]["message"]
    schema = document["components"]["schemas"]["ErrorBody"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json())


def test_an_endpoint_takes_posts_alone(server: Server) -> None:
    answer = server.get("/classify")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["code"] == "method_not_allowed"
