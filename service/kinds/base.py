"""What a kind is: the engine of one loaded version, and the routes and endpoint of its family."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from service.batcher import Batcher
from service.cache import Cache
from service.contract import Manifest, TensorSpec
from service.errors import ContractError
from service.http.openapi import Operations
from service.lanes import Lanes
from service.loading import LoadedModel
from service.metrics import ModelMetrics
from service.settings import Settings

if TYPE_CHECKING:
    from starlette.routing import Route, WebSocketRoute

    from service.runtime import Runtime


@dataclass(frozen=True)
class Bench:
    """What a loaded version works with: settings, lanes, its model's metrics, kept answers."""

    settings: Settings
    lanes: Lanes
    metrics: ModelMetrics
    cache: Cache = field(default_factory=lambda: Cache(0))


class Kind(abc.ABC):
    """A family of models. An instance serves one loaded version."""

    name: ClassVar[str]
    inputs: ClassVar[dict[str, str]]
    """Names and dtypes of the inputs that a graph of this kind has."""
    outputs: ClassVar[dict[str, str]]
    """Names and dtypes of the outputs that this kind reads; a graph may have more."""

    compared: ClassVar[str]
    """The output by which two versions are compared."""
    least_agreement: ClassVar[float] = 0.0
    """Share of rows on which a version on trial must agree with the one that is served."""

    operations: ClassVar[Operations] = {}
    """What the OpenAPI document says of the family's routes."""

    def __init__(self, model: LoadedModel, bench: Bench) -> None:
        self.check(model.manifest)
        self.manifest = model.manifest
        self.invariance = model.invariance
        self.batcher = Batcher(
            model.session.run,
            bench.lanes,
            bench.metrics,
            max_batch_rows=model.batch_rows or bench.settings.max_batch_rows,
            max_queue_rows=bench.settings.max_queue_rows,
            max_queue_s=bench.settings.max_queue_ms / 1000,
            cache=bench.cache,
            digest=model.manifest.graph_sha256,
        )
        """The queue of one-shot runs: tensors in, tensors out, whatever the kind."""

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """Raise ContractError unless the manifest's tensors are those of this kind.

        A kind whose tensors index names checks these as well.
        """
        if {spec.name: spec.dtype for spec in manifest.inputs} != cls.inputs:
            raise ContractError(f"{manifest.name}: a {cls.name} has the inputs {cls.inputs}")
        found = {spec.name: spec.dtype for spec in manifest.outputs}
        for name, dtype in cls.outputs.items():
            if found.get(name) != dtype:
                raise ContractError(f"{manifest.name}: a {cls.name} has the output {name} {dtype}")

    def close(self) -> None:  # noqa: B027  # most kinds have no threads of their own
        """Free threads; blocks until they end. Called when no request uses the version."""

    @staticmethod
    @abc.abstractmethod
    def compare(candidate: NDArray[Any], incumbent: NDArray[Any]) -> tuple[float, float, float]:
        """How two versions' `compared` outputs for the same rows compare.

        Returns the share of answers that agree, and both mean confidences, each in 0..1.
        """

    @classmethod
    @abc.abstractmethod
    def routes(cls, runtime: Runtime) -> Sequence[Route | WebSocketRoute]:
        """HTTP routes of the family."""

    @classmethod
    @abc.abstractmethod
    def endpoint(cls) -> Callable[..., Any]:
        """The family's endpoint of the BentoML service: an async function whose `self` is it."""


def check_count(manifest: Manifest, what: str, names: Sequence[str], expected: int) -> None:
    """Raise ContractError unless the manifest has a name for each index."""
    if len(names) != expected:
        raise ContractError(f"{manifest.name}: {len(names)} {what} for {expected} indices")


def fixed_axes(spec: TensorSpec, *axes: int) -> tuple[int, ...]:
    """Sizes of the given axes of a tensor; raises ContractError if one is dynamic."""
    sizes = tuple(spec.shape[axis] for axis in axes)
    if not all(isinstance(size, int) for size in sizes):
        raise ContractError(f"{spec.name} has shape {spec.shape}: axes {axes} must be fixed")
    return tuple(int(size) for size in sizes)
