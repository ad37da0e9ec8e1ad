"""Which version answers a request, and how long a version that was replaced stays.

A request holds a lease on the version it began with; a version that has been replaced is closed
when its last lease ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.contest import Contest
from service.errors import UnknownNameError
from service.kinds.base import Kind
from service.lease import K, Lease, Served, Version
from service.naming import parse_model
from service.request_key import APART
from service.roster import Roster


class Lender:
    """Leases on the versions that are served, or on trial. Used from one event loop only."""

    def __init__(self) -> None:
        self._roster = roster = Roster()
        self._served = roster.served
        self._contests: dict[str, Contest] = {}
        """Versions on trial, by model."""
        self._closing: set[asyncio.Future[None]] = set()
        self.expected = roster.expected
        self.problems = roster.problems
        self.unloaded = roster.unloaded
        self.permit: Callable[[str], None] | None = None
        """Raises for a model that the running request is not allowed; None: all are."""

    @property
    def ready(self) -> bool:
        """Whether every model that the store had at the start, one at least, is served.

        A later version that cannot be loaded is a problem, and shown as one, but no reason to
        send no more requests: the version before it goes on.
        """
        return self._roster.complete

    def engines(self) -> list[Kind]:
        """The engines now served, by model name."""
        return [self._served[name].engine for name in sorted(self._served)]

    def versions(self, name: str) -> list[Version]:
        """What requests may name of a model: the served version, then the one on trial."""
        served = self._served.get(name)
        if served is None:
            return []
        found = [Version(served.engine.manifest.version, "served", served)]
        contest = self._contests.get(name)
        if contest is not None:
            found.append(Version(contest.trial.version, contest.trial.mode, contest.candidate))
        return found

    def version(self, name: str, version: str, field: str = "model") -> Version:
        """One of a served model's `versions`; raises UnknownNameError, which names `field`."""
        known = self.versions(name)
        for one in known:
            if one.name == version:
                return one
        serving, *others = known
        trial = "".join(f" and has {one.name} on trial ({one.role})" for one in others)
        raise UnknownNameError(
            f"{name} serves version {serving.name}{trial}, not {version[:80]!r}", field=field
        )

    def lease(self, kind: type[K], model: str | None) -> Lease[K]:
        """Hold a model of `kind`, a name or `name@version`; None is the kind's first model.

        Raises:
            UnknownNameError: no model of that kind has this name, or it has no such version.
            NotReadyError: it is not loaded.

        """
        name, version = (model, None) if model is None else parse_model(model)
        served = self._roster.of_kind(kind, name)
        if self.permit is not None:
            self.permit(served.engine.manifest.name)
        if version is None:
            return self._lease(served)
        return self._lease_apart(self.version(served.engine.manifest.name, version))

    def _lease(self, served: Served) -> Lease[K]:
        """On the served version, or on the one on trial if this request falls to it."""
        contest = self._contests.get(served.engine.manifest.name) if self._contests else None
        if contest is None:
            return Lease(served, self._close_if_done)
        APART.set(False)
        return Lease(contest.choose(served), self._close_if_done, contest)

    def _lease_apart(self, named: Version) -> Lease[K]:
        """On the version that the request names: no lot is drawn for it, and no trial counts it."""
        APART.set(True)
        return Lease(named.served, self._close_if_done)

    def lease_any(self, name: str, version: str | None = None) -> Lease[Kind]:
        """Hold a model of whatever kind; `name` may be `name@version` where `version` is None.

        Raises:
            UnknownNameError: there is no such model, or `version` is neither served nor on trial.
            NotReadyError: it is not loaded.

        """
        field = "version"
        if version is None:
            name, version = parse_model(name)
            field = "model"
        if self.permit is not None:
            self.permit(name)
        served = self._roster.called(name)
        if version is None:
            return self._lease(served)
        return self._lease_apart(self.version(name, version, field))

    def retire(self, served: Served) -> None:
        """Close a version that is out of service, once its last lease has ended."""
        served.replaced = True
        self._close_if_done(served)

    async def retired(self) -> None:
        """Wait for the versions that are being closed."""
        await asyncio.gather(*self._closing)

    def _close_if_done(self, served: Served) -> None:
        if served.replaced and served.leases == 0:
            # In a thread: closing waits for the engine's own threads.
            closed = asyncio.get_running_loop().run_in_executor(None, served.engine.close)
            self._closing.add(closed)
            closed.add_done_callback(self._closing.discard)
