"""onnxruntime sessions: the only module that imports onnxruntime.

One session runs one graph. On the CPU provider it uses `threads` intra-op threads (1 by default:
the determinism promise is made for one), no spinning, and one memory arena shared by all sessions
of the process, bounded in bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import ContractError, SettingsError

Provider = Literal["cpu", "cuda"]
Arrays = dict[str, NDArray[Any]]
Specs = Mapping[str, tuple[str, tuple[int | str, ...]]]
"""Dtype and shape of each tensor; a dynamic axis is its name."""

_PROVIDERS: dict[Provider, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32"}
_Buffers = dict[str, ort.OrtValue]
_SAME_AS_REQUESTED = 1  # OrtArenaCfg: grow by what is asked for, not by powers of two

ort.set_default_logger_severity(3)  # errors only; a warning per optimised node helps nobody


def check_provider(provider: Provider) -> None:
    """Raise SettingsError unless this build of onnxruntime has `provider`; never fall back."""
    available = ort.get_available_providers()
    if _PROVIDERS[provider] not in available:
        raise SettingsError(
            f"TRIPTYCH_PROVIDER={provider} needs {_PROVIDERS[provider]}, but this onnxruntime has "
            f"only {', '.join(available)}; install the gpu extra (pip install 'triptych[gpu]') "
            "or set TRIPTYCH_PROVIDER=cpu",
            field="TRIPTYCH_PROVIDER",
        )


def versions() -> dict[str, str]:
    """Version of the runtime, for the record."""
    return {"onnxruntime": ort.__version__}


class Arena:
    """The CPU memory arena of this process, shared by every session made after it.

    Args:
        limit_bytes: the most the arena may hold; a run that needs more fails with an error.

    """

    _registered = False

    @classmethod
    def share(cls, limit_bytes: int) -> None:
        """Register the arena once per process; later calls keep the first limit."""
        if cls._registered:
            return
        ort.create_and_register_allocator(
            ort.OrtMemoryInfo(
                "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
            ),
            ort.OrtArenaCfg(
                {
                    "max_mem": limit_bytes,
                    "arena_extend_strategy": _SAME_AS_REQUESTED,
                    "initial_chunk_size_bytes": -1,
                    "max_dead_bytes_per_chunk": -1,
                }
            ),
        )
        cls._registered = True

    @classmethod
    def shared(cls) -> bool:
        """Whether sessions draw from the shared arena."""
        return cls._registered


class Session:
    """A loaded graph.

    Args:
        graph: path of an ONNX file.
        provider: where it runs; `cuda` that cannot be had is an error, not a fall-back.
        threads: intra-op threads.
        device_memory_bytes: most memory to hold on a CUDA device; None for no limit.
        bucket_rows: batch sizes, rising. Runs are padded to the next one, and input and output
            buffers on the device are made once for each: a CUDA device then meets few shapes, for
            which it plans once. Larger batches, and all where there are none, run as they come.

    Raises:
        SettingsError: the provider is not available or did not initialise.
        ContractError: the file is not a graph that onnxruntime can load, or has a tensor of a
            type that the contract does not know.

    """

    def __init__(
        self,
        graph: Path,
        *,
        provider: Provider = "cpu",
        threads: int = 1,
        device_memory_bytes: int | None = None,
        bucket_rows: Sequence[int] = (),
    ) -> None:
        check_provider(provider)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        if Arena.shared():
            options.add_session_config_entry("session.use_env_allocators", "1")
        provider_options: dict[str, str] = {}
        if provider == "cuda":
            ort.preload_dlls()  # CUDA libraries that pip installed, where there are any
            provider_options["arena_extend_strategy"] = "kSameAsRequested"
            if device_memory_bytes is not None:
                provider_options["gpu_mem_limit"] = str(device_memory_bytes)
        try:
            self._session = ort.InferenceSession(
                str(graph), options, providers=[(_PROVIDERS[provider], provider_options)]
            )
        except Exception as error:  # onnxruntime raises its own types, one per status code
            raise ContractError(f"{graph} cannot be loaded: {error}") from error
        if _PROVIDERS[provider] not in self._session.get_providers():
            raise SettingsError(
                f"{_PROVIDERS[provider]} did not initialise; check the driver and the CUDA "
                "libraries, or set TRIPTYCH_PROVIDER=cpu",
                field="TRIPTYCH_PROVIDER",
            )
        self.inputs = _describe(graph, self._session.get_inputs())
        self.outputs = _describe(graph, self._session.get_outputs())
        self._output_names = list(self.outputs)
        self._buckets = (
            _Buckets(self._session, self.inputs, self.outputs, bucket_rows, provider)
            if bucket_rows
            else None
        )

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] = ()) -> Arrays:
        """Run the graph on C-contiguous arrays; releases the interpreter lock while it computes.

        Args:
            inputs: an array for each input, dtype and shape as the graph declares.
            outputs: names wanted; all when empty.

        """
        names = list(outputs) or self._output_names
        if self._buckets is not None:
            found = self._buckets.run(inputs, names)
            if found is not None:
                return found
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))

    def bind(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> Callable[[], None]:
        """Make a run from and into arrays that stay where they are: nothing is copied or made.

        Args:
            inputs: an array for each input, C-contiguous; read anew by each run.
            outputs: an array of the right shape for each output wanted; written by each run.

        """
        binding = self._session.io_binding()
        for name, array in inputs.items():
            assert array.flags.c_contiguous
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            assert array.flags.c_contiguous
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        session, kept = self._session, (dict(inputs), dict(outputs))

        def run() -> None:
            assert kept  # the binding holds addresses alone
            session.run_with_iobinding(binding)

        return run


class _Buckets:
    """Runs of a few batch sizes, each with buffers of its own on the device, one at a time."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Specs,
        outputs: Specs,
        rows: Sequence[int],
        device: Provider,
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._outputs = outputs
        self._rows = sorted(rows)
        self._device = device
        self._made: dict[tuple[int, ...], tuple[Any, _Buffers, _Buffers]] = {}
        self._turn = threading.Lock()  # the device has one stream for this graph

    def run(self, arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Arrays | None:
        """As `Session.run`; None if no bucket is large enough."""
        axes: dict[str, int] = {}
        for name, (_, shape) in self._inputs.items():
            named = zip(shape, arrays[name].shape, strict=True)
            axes |= {axis: size for axis, size in named if isinstance(axis, str)}
        rows = axes["N"]
        bucket = next((size for size in self._rows if size >= rows), None)
        if bucket is None or not rows:
            return None
        key = (bucket, *(axes[axis] for axis in sorted(axes) if axis != "N"))
        with self._turn:
            if key not in self._made:
                self._made[key] = self._make({**axes, "N": bucket})
            binding, buffers, results = self._made[key]
            for name, buffer in buffers.items():
                array = arrays[name]
                if rows < bucket:  # rows are independent: what the padding holds does not matter
                    array = np.concatenate([array, np.repeat(array[-1:], bucket - rows, axis=0)])
                buffer.update_inplace(np.ascontiguousarray(array))
            self._session.run_with_iobinding(binding)
            return {name: results[name].numpy()[:rows].copy() for name in names}

    def _make(self, axes: Mapping[str, int]) -> tuple[Any, _Buffers, _Buffers]:
        binding = self._session.io_binding()
        buffers = {name: self._buffer(spec, axes) for name, spec in self._inputs.items()}
        results = {name: self._buffer(spec, axes) for name, spec in self._outputs.items()}
        for name, value in buffers.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in results.items():
            binding.bind_ortvalue_output(name, value)
        return binding, buffers, results

    def _buffer(
        self, spec: tuple[str, tuple[int | str, ...]], axes: Mapping[str, int]
    ) -> ort.OrtValue:
        dtype, shape = spec
        size = [axis if isinstance(axis, int) else axes[axis] for axis in shape]
        return ort.OrtValue.ortvalue_from_shape_and_type(size, np.dtype(dtype), self._device, 0)


def _describe(
    graph: Path, tensors: Sequence[ort.NodeArg]
) -> dict[str, tuple[str, tuple[int | str, ...]]]:
    """Map each tensor's name to its dtype and shape; a dynamic axis is its name."""
    described: dict[str, tuple[str, tuple[int | str, ...]]] = {}
    for tensor in tensors:
        if tensor.type not in _DTYPES:
            raise ContractError(f"{graph}: {tensor.name} is a {tensor.type}, not in the contract")
        shape = tuple(axis if isinstance(axis, int) else str(axis) for axis in tensor.shape)
        described[tensor.name] = (_DTYPES[tensor.type], shape)
    return described
