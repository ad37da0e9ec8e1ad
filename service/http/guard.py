"""The guard before BentoML's endpoints: it closes what BentoML leaves open.

Bodies without a limit, files fetched from a URL that the client names, malformed bodies answered
as our failure, work that goes on for a client that has left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.drain import DRAIN
from service.errors import InvalidInputError, TriptychError, UnsupportedMediaError
from service.http.answers import error_answer
from service.http.bodies import media_type, parse_form, read_body
from service.http.exchange import (
    CALLER,
    Caller,
    abandoned_on_disconnect,
    priority_of,
    timeout_s,
)
from service.settings import Settings

_MAX_NAME_BYTES = 200
"""Of a file in a form; with what BentoML puts before it, it must be a name on any file system."""


class Guard:
    """Reads a request within its limit, refuses what BentoML would stumble over, passes it on.

    Args:
        behind: BentoML's application.
        endpoints: paths of its endpoints, and what it validates their input with.
        settings: limits.

    """

    def __init__(
        self, behind: ASGIApp, endpoints: Mapping[str, type[BaseModel]], settings: Settings
    ) -> None:
        self._behind = behind
        self._endpoints = dict(endpoints)
        self._settings = settings

    def guards(self, scope: Scope) -> bool:
        """Whether the request is for one of the endpoints."""
        return scope["method"] == "POST" and scope["path"] in self._endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request = Request(scope, receive)
        try:
            caller = Caller(timeout_s(request, self._settings), priority_of(request))
            body = await read_body(request, max_bytes=self._settings.max_body_bytes)
            await self._check(request, body)
        except ClientDisconnect:
            return
        except TriptychError as error:
            await error_answer(error)(scope, receive, send)
            return
        told = False

        async def replay() -> Message:
            nonlocal told
            if told:  # that the client left is for us to notice
                await asyncio.get_running_loop().create_future()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        CALLER.set(caller)  # this request's own context: the server runs each in a task
        try:
            async with abandoned_on_disconnect(request):
                await self._behind(scope, replay, send)
        except ClientDisconnect:
            caller.leave()
        except asyncio.CancelledError:
            caller.leave()
            refusal = DRAIN.refusal()
            if refusal is None:
                raise
            await error_answer(refusal)(scope, receive, send)
        finally:
            caller.task = None  # whose context has the caller: a cycle

    async def _check(self, request: Request, body: bytes) -> None:
        media = media_type(request)
        spec = self._endpoints[request.scope["path"]]
        files: frozenset[str] = frozenset(getattr(spec, "multipart_fields", ()))
        if media == "multipart/form-data":
            form = await parse_form(
                body,
                request.headers,
                max_bytes=self._settings.max_body_bytes,
                max_files=self._settings.max_images,
            )
            try:
                _check_form(spec, form, files)
            finally:
                await form.close()
        elif media in ("", "application/json"):
            try:
                content = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidInputError(
                    f"the body is not valid JSON: {error}", field="body"
                ) from error
            if not isinstance(content, dict):
                raise InvalidInputError("the body must be a JSON object", field="body")
            if sent := files & set(content):
                raise UnsupportedMediaError(
                    f"send {min(sent)} as files in multipart/form-data", field=min(sent)
                )
            _check_names(spec, content)
            _validate(lambda: spec.model_validate_json(body))
        else:
            raise UnsupportedMediaError(
                f"this endpoint reads application/json or multipart/form-data, not {media}",
                field="content-type",
            )


def _check_form(spec: type[BaseModel], form: FormData, files: frozenset[str]) -> None:
    _check_names(spec, form)
    content: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in files:
                raise InvalidInputError(f"{name} must be text, not a file", field=name)
            if not _is_usable(value.filename or ""):
                raise InvalidInputError(
                    f"{name}: a file's name must have at most {_MAX_NAME_BYTES} bytes, none of "
                    "them null",
                    field=name,
                )
        elif name in files:
            raise InvalidInputError(
                f"{name} must be files: nothing is fetched from an address", field=name
            )
        else:
            content[name] = _value(name, value)
    _validate(lambda: spec.model_validate(content), given=files & set(form))


def _is_usable(filename: str) -> bool:
    """Whether BentoML can keep a file under a name that ends so."""
    return "\0" not in filename and len(filename.encode(errors="replace")) <= _MAX_NAME_BYTES


def _value(name: str, text: str) -> Any:
    """A form's text field as BentoML reads it: JSON where it is that, else text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # too many digits, too deep
        raise InvalidInputError(f"{name} cannot be read: {error}", field=name) from error


def _check_names(spec: type[BaseModel], names: Iterable[str]) -> None:
    known = spec.model_fields
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"{name[:80]!r} is not a parameter; there is {', '.join(known)}", field=name[:80]
            )


def _validate(validate: Callable[[], object], *, given: frozenset[str] = frozenset()) -> None:
    """Refuse what BentoML would refuse with a traceback; `given` files are not looked into."""
    try:
        validate()
    except ValidationError as error:
        for one in error.errors(include_url=False):
            field = ".".join(map(str, one["loc"]))
            if field not in given:
                raise InvalidInputError(f"{field}: {one['msg']}", field=field) from error
