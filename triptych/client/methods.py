"""Methods made of calls: a client's method takes what the function takes that makes its call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def method_of(build: Callable[..., Any], returns: str) -> Callable[[F], F]:
    """Give a method the name, the words and the signature of `build`, for `help` and editors.

    What it `returns` may hold `{}`: what `build` makes a call, or batches, of.
    """

    def decorate(function: F) -> F:
        functools.update_wrapper(function, build)
        signature = inspect.signature(build)
        what = str(signature.return_annotation).partition("[")[2].removesuffix("]")
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[itself, *signature.parameters.values()],
            return_annotation=returns.format(what),
        )
        return function

    return decorate
