"""The error tree: every way in which a request, a model or a setting can be refused.

Each class knows its HTTP status and a stable machine-readable `code`; `field` names what the
client must change. One place per protocol turns them into that protocol's error body.
"""

from __future__ import annotations

from typing import ClassVar


class TriptychError(Exception):
    """Root of every error this project raises on purpose.

    `status` is the HTTP status that the service answers; `code` is stable across releases.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


# --- what a client sent -------------------------------------------------------------------


class InvalidInputError(TriptychError):
    """A value is missing, malformed or out of its range."""

    status = 400
    code = "invalid_input"


class UnauthorizedError(TriptychError):
    """No API key was sent, or none that is known."""

    status = 401
    code = "invalid_api_key"


class NotAllowedError(TriptychError):
    """The API key is known, and not for this."""

    status = 403
    code = "not_allowed"


class DisabledError(TriptychError):
    """The service can do it, but its operator has not switched it on."""

    status = 403
    code = "disabled"


class UnknownNameError(TriptychError):
    """No model, class or route has this name."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(TriptychError):
    """The route exists, but not for this method."""

    status = 405
    code = "method_not_allowed"


class BusyError(TriptychError):
    """One thing at a time, and the last one has not ended."""

    status = 409
    code = "busy"


class TooLargeError(TriptychError):
    """A body, an image or a request exceeds a limit."""

    status = 413
    code = "too_large"


class SlowRequestError(TriptychError):
    """The request did not come in whole within its time."""

    status = 408
    code = "slow_request"


class LongAddressError(TriptychError):
    """The request's address is longer than the limit."""

    status = 414
    code = "address_too_long"


class LargeHeadError(TriptychError):
    """The request's head has more bytes or headers than the limit."""

    status = 431
    code = "head_too_large"


class UnsupportedMediaError(TriptychError):
    """The content type is not one that this route reads."""

    status = 415
    code = "unsupported_media_type"


class UpgradeRequiredError(TriptychError):
    """The route speaks WebSocket, and the request does not."""

    status = 426
    code = "upgrade_required"


class UndecodableImageError(TriptychError):
    """The bytes cannot be decoded as an image: damaged, truncated or of an unknown format."""

    status = 422
    code = "undecodable_image"


# --- what the service cannot do now -------------------------------------------------------


class OverloadedError(TriptychError):
    """The queue is full; nothing was computed. `retry_after_s` estimates when there is room."""

    status = 429
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.retry_after_s = retry_after_s


class RateLimitedError(OverloadedError):
    """The API key asks faster than it may."""

    code = "rate_limited"


class QuotaExceededError(RateLimitedError):
    """The API key has used up its requests of the day."""

    code = "quota_exceeded"


class NotReadyError(TriptychError):
    """A model is not loaded, or the service is starting or draining."""

    status = 503
    code = "not_ready"


class DeadlineExceededError(TriptychError):
    """The request's own deadline passed before its answer was ready."""

    status = 504
    code = "deadline_exceeded"


# --- what an operator or a publisher must mend --------------------------------------------


class SettingsError(TriptychError):
    """A setting is misspelt, malformed or impossible on this machine."""

    code = "settings"


class ContractError(TriptychError):
    """A model folder breaks the contract: no manifest, an unknown schema, a wrong hash."""

    code = "contract"


class GoldenMismatchError(ContractError):
    """The loaded graph does not reproduce its golden outputs."""

    code = "golden_mismatch"


class StoreAwayError(ContractError):
    """The model store cannot be reached, does not answer in time, or refuses."""

    code = "store_away"


class StoreConflictError(TriptychError):
    """Somebody else changed the store first; nothing was written."""

    status = 409
    code = "store_conflict"
