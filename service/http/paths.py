"""From a method and a path to an endpoint, without trying one pattern after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]
_Key = tuple[str, ...]


class Paths:
    """Routes by what is fixed in their paths: a look-up for each place that names can be at.

    Routes whose parameters have converters, such as `{rest:path}`, are left to a router.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[tuple[str, str], Endpoint] = {}
        self._named: dict[tuple[str, _Key], tuple[Endpoint, dict[str, int]]] = {}
        self._places: dict[int, list[tuple[int, ...]]] = {}
        for route in routes:
            parts = route.path.split("/")
            names = {part[1:-1]: place for place, part in enumerate(parts) if part[:1] == "{"}
            if any(":" in name for name in names):
                continue
            for method in route.methods or ():
                if not names:
                    self._exact.setdefault((method, route.path), route.endpoint)
                    continue
                places = tuple(names.values())
                key = _without(parts, places)
                self._named.setdefault((method, key), (route.endpoint, names))
                known = self._places.setdefault(len(parts), [])
                if places not in known:
                    known.append(places)

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and what the path names; None if the router must look."""
        endpoint = self._exact.get((method, path))
        if endpoint is not None:
            return endpoint, {}
        parts = path.split("/")
        for places in self._places.get(len(parts), ()):
            found = self._named.get((method, _without(parts, places)))
            if found is not None and all(parts[place] for place in places):
                return found[0], {name: parts[place] for name, place in found[1].items()}
        return None


def _without(parts: list[str], places: tuple[int, ...]) -> _Key:
    return tuple(["{}" if place in places else part for place, part in enumerate(parts)])
