"""One format for all that this service's processes write: text as BentoML has it, or JSON lines.

A line of JSON has `time` (RFC 3339, UTC), `level`, `logger` and `message`; `request_id` where a
request was being answered; `exception` with the traceback of what was raised; and what else the one
who logged has put into `extra={"fields": {...}}`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

from service.request_key import HEADERS
from service.settings import LogFormat
from service.telemetry.identity import sent_id
from service.telemetry.trail import TRAIL

_OTHERS = ("bentoml", "circus", "triptych", "uvicorn", "uvicorn.error", "uvicorn.access")
"""Loggers that get handlers of their own; with JSON all hand on to the root's."""

_encoder = msgspec.json.Encoder()


def request_id() -> str | None:
    """Of the request that the running task answers; None outside of one, or if it has none."""
    trail = TRAIL.get()
    if trail is not None:
        return trail.request_id
    given = sent_id(HEADERS.get())
    return None if given is None else given.decode()


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: what JSON cannot hold is replaced."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe(record.getMessage()),
        }
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        if "request_id" not in fields and (found := request_id()) is not None:
            line["request_id"] = found
        line.update(fields)
        if record.exc_info:
            line["exception"] = _safe(self.formatException(record.exc_info))
        return _encoder.encode(line).decode()


class TextFormatter(logging.Formatter):
    """`fields` as `name=value` after the message, for who reads BentoML's own text."""

    def format(self, record: logging.LogRecord) -> str:
        """As the parent does, with the fields in the message."""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        if fields:
            shown = " ".join(f"{name}={value}" for name, value in fields.items())
            record = logging.makeLogRecord(record.__dict__)
            record.msg, record.args = f"{record.getMessage()} {shown}", ()
        return super().format(record)


def _safe(text: str) -> str:
    """Without lone surrogates, which UTF-8 has not."""
    return text.encode("utf-8", "replace").decode()


def configure(log_format: LogFormat) -> None:
    """Set up this process' logging, after BentoML has set up its own."""
    logging.getLogger("triptych").setLevel(logging.INFO)
    # The exporter tells of every batch that it loses; we count them, and tell once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    if log_format == "text":
        for handler in logging.getLogger().handlers:
            known = handler.formatter
            if known is not None and type(known) is logging.Formatter:
                handler.setFormatter(TextFormatter(known._fmt, known.datefmt))
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().handlers[:] = [handler]
    for name in _OTHERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("triptych").critical("uncaught", exc_info=(kind, error, trace))
