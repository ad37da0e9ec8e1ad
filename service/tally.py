"""Counts kept in plain Python and handed to Prometheus in bulk.

prometheus_client writes every observation to a shared file at once: three microseconds each, a
dozen of them in a request. Here an observation is an addition; what has come together is written
when `flush` is called, a few times a second. Used from one thread, the event loop's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString
from prometheus_client.values import ValueClass

Labels = tuple[str, ...]


class Count:
    """Increments of a counter, by label values.

    Args:
        counter: what they go to.
        beside: label values that shall exist, at 0, once those that it is given do: a rate does not
            see a series that comes to life with its first increment.

    """

    def __init__(
        self, counter: Counter, beside: Callable[[Labels], Iterable[Labels]] | None = None
    ) -> None:
        self.family = counter
        self._beside = beside
        self._children: dict[Labels, Counter] = {}
        self._pending: dict[Labels, int] = {}

    def describe(self) -> Iterable[Metric]:
        """The family, without samples."""
        return self.family.describe()

    def add(self, labels: Labels) -> None:
        """Add one."""
        self._pending[labels] = self._pending.get(labels, 0) + 1

    def flush(self) -> None:
        """Hand over what was added."""
        pending, self._pending = self._pending, {}
        for labels, amount in pending.items():
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self.family.labels(*labels)
                if self._beside is not None:
                    for other in self._beside(labels):
                        self.family.labels(*other)
            child.inc(amount)


class Level:
    """A gauge of which only the last value counts."""

    def __init__(self, gauge: Gauge) -> None:
        self.family = gauge
        self._pending: dict[Labels, float] = {}

    def describe(self) -> Iterable[Metric]:
        """The family, without samples."""
        return self.family.describe()

    def set(self, labels: Labels, value: float) -> None:
        """Replace the value."""
        self._pending[labels] = value

    def flush(self) -> None:
        """Hand over the last values."""
        pending, self._pending = self._pending, {}
        for labels, value in pending.items():
            self.family.labels(*labels).set(value)


class Tally:
    """Observations of one label set of a distribution."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value: it belongs to the first bucket whose upper bound it does not exceed."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Distribution:
    """A histogram by label values, in Prometheus' own exposition.

    Args:
        name, documentation, label_names: as of `prometheus_client.Histogram`.
        bounds: upper bounds of the buckets, rising; one more holds what exceeds them all.
        shared: workers share the samples through files; else they are this process' own.

    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: Labels,
        *,
        bounds: Sequence[float],
        shared: bool,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self.label_names = label_names
        self._bounds = [float(bound) for bound in bounds]
        self._les: list[str] = [
            floatToGoString(bound)  # type: ignore[no-untyped-call]
            for bound in (*self._bounds, float("inf"))
        ]
        self._tallies: dict[Labels, Tally] = {}
        self._flushed: dict[Labels, Tally] = {}
        self._values: dict[Labels, list[ValueClass]] = {}
        self._shared = shared
        if not shared:
            REGISTRY.register(self)

    def labels(self, *labels: str) -> Tally:
        """The tally of these label values, made when it is first asked for."""
        tally = self._tallies.get(labels)
        if tally is None:
            tally = self._tallies[labels] = Tally(self._bounds)
            self._flushed[labels] = Tally(self._bounds)
            if self._shared:
                self._values[labels] = self._open(labels)
        return tally

    def _open(self, labels: Labels) -> list[ValueClass]:
        """The files' values: a sum, then a count for each bucket."""

        def value(suffix: str, names: Labels, values: Labels) -> ValueClass:
            return ValueClass(
                "histogram", self._name, self._name + suffix, names, values, self._documentation
            )

        return [
            value("_sum", self.label_names, labels),
            *(value("_bucket", (*self.label_names, "le"), (*labels, le)) for le in self._les),
        ]

    def flush(self) -> None:
        """Write what was observed since the last time."""
        for labels, values in self._values.items():
            now, before = self._tallies[labels], self._flushed[labels]
            if now.counts == before.counts:
                continue
            values[0].inc(now.total - before.total)
            for value, count, old in zip(values[1:], now.counts, before.counts, strict=True):
                if count != old:
                    value.inc(count - old)
            before.counts, before.total = list(now.counts), now.total

    def describe(self) -> Iterable[Metric]:
        """The family, without samples."""
        return [HistogramMetricFamily(self._name, self._documentation, labels=self.label_names)]

    def collect(self) -> Iterable[Metric]:
        """This process' samples, for a registry that asks for them."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self.label_names)
        for labels, tally in self._tallies.items():
            counts, buckets = 0, []
            for le, count in zip(self._les, tally.counts, strict=True):
                counts += count
                buckets.append((le, float(counts)))
            family.add_metric(labels, buckets, sum_value=tally.total)
        return [family]
