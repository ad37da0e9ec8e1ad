"""Every error becomes one shape of body, and our own say nothing of the inside."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from starlette.responses import Response

from service import errors
from service.errors import InvalidInputError, OverloadedError, TriptychError
from service.http.answers import error_answer, json_answer
from service.metrics import outcome_of


def body_of(answer: Response) -> Any:
    return json.loads(bytes(answer.body))


def all_errors() -> list[type[TriptychError]]:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, TriptychError)
    ]
    assert len(found) > 10
    return found


def test_an_answer_names_message_field_and_code() -> None:
    answer = error_answer(InvalidInputError("n must be less", field="n"))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert body_of(answer) == {
        "error": {
            "message": "n must be less",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_input",
        }
    }


@pytest.mark.parametrize(
    ("estimate_s", "header"), [(0.0, "1"), (0.2, "1"), (2.1, "3"), (60.0, "60")]
)
def test_overload_says_when_to_come_again(estimate_s: float, header: str) -> None:
    answer = error_answer(OverloadedError("full", retry_after_s=estimate_s))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == header
    assert body_of(answer)["error"]["type"] == "rate_limit_error"


def test_an_unplanned_error_is_logged_and_kept_to_ourselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="triptych"):
        answer = error_answer(KeyError("a secret"))
    assert answer.status_code == 500
    assert "secret" not in bytes(answer.body).decode()
    assert body_of(answer)["error"]["type"] == "server_error"
    assert "a secret" in caplog.text


def test_a_refusal_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        error_answer(InvalidInputError("no"))
    assert caplog.records == []


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_and_code(kind: type[TriptychError]) -> None:
    extra = {"retry_after_s": 1.0} if issubclass(kind, OverloadedError) else {}
    error = kind("why", field="where", **extra)
    answer = error_answer(error)
    assert answer.status_code == kind.status
    assert body_of(answer)["error"]["code"] == kind.code
    assert kind.status in (
        400,
        401,
        403,
        404,
        405,
        408,
        409,
        413,
        414,
        415,
        422,
        426,
        429,
        431,
        500,
        503,
        504,
    )
    # A key that asks too often is its client's doing; a full queue is the service's.
    ours = kind.status >= 500 or kind is OverloadedError
    assert (outcome_of(error) == "invalid") == (not ours)


def test_codes_tell_errors_apart() -> None:
    codes = [kind.code for kind in all_errors()]
    assert len(set(codes)) == len(codes)


def test_json_answers_encode_plain_types() -> None:
    answer = json_answer({"é": [1, None]}, status=201, headers={"x-a": "b"})
    assert (answer.status_code, answer.headers["x-a"]) == (201, "b")
    assert bytes(answer.body) == '{"é":[1,null]}'.encode()
