"""What is served and what should be: a model is looked up, or refused with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.errors import NotReadyError, UnknownNameError
from service.kinds.base import Kind
from service.lease import Served


@dataclass(slots=True)
class Roster:
    """The models that a worker serves, and those that it does not.

    Args:
        served: the version of each that answers.
        expected: models of the store, less those unloaded.
        unloaded: models that a client unloaded: nobody expects them, whatever is published.
        problems: why a model's current version is not served, by model.

    """

    served: dict[str, Served] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    unloaded: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all that is expected, one at least, is served."""
        return bool(self.expected or self.unloaded) and set(self.expected) <= set(self.served)

    def of_kind(self, kind: type[Kind], name: str | None) -> Served:
        """A model of `kind`; None is the first by name.

        Raises:
            UnknownNameError: no model of that kind has this name.
            NotReadyError: it is not loaded.

        """
        if name is None:
            served = self.served.get(min(self._names(kind), default=""))
        else:
            served = self.served.get(name)
        if served is not None and served.engine.name == kind.name:
            return served
        if served is not None:
            raise UnknownNameError(
                f"{name} is a {served.engine.name}, not a {kind.name}", field="model"
            )
        self._refuse_unloaded(name)
        # What is not loaded may yet be the one that is asked for.
        if not self.complete and (name is None or not self.expected or name in self.expected):
            raise NotReadyError(f"{name or 'a ' + kind.name} is not loaded", field="model")
        if name is None and self.unloaded:
            raise NotReadyError(f"no {kind.name} is loaded", field="model")
        if name is None:
            raise UnknownNameError(f"the store has no {kind.name}", field="model")
        known = ", ".join(self._names(kind)) or "none"
        raise UnknownNameError(
            f"there is no {kind.name} called {name!r}; there is: {known}", field="model"
        )

    def called(self, name: str) -> Served:
        """A model of whatever kind; raises as `of_kind`."""
        served = self.served.get(name)
        if served is not None:
            return served
        self._refuse_unloaded(name)
        if name in self.expected or name in self.problems or not self.expected:
            why = f": {self.problems[name]}" if name in self.problems else ""
            raise NotReadyError(f"{name} is not loaded{why}", field="model")
        known = ", ".join(sorted(self.served)) or "none"
        raise UnknownNameError(
            f"there is no model called {name!r}; there is: {known}", field="model"
        )

    def _names(self, kind: type[Kind]) -> list[str]:
        return [known for known, it in self.served.items() if it.engine.name == kind.name]

    def _refuse_unloaded(self, name: str | None) -> None:
        if name in self.unloaded:
            raise NotReadyError(f"{name} is unloaded", field="model")
