"""Where a run computes, and in what precision."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from training.config import FitConfig
from training.errors import ConfigError
from training.processor import describe_processor


def choose_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:<n>`; raises ConfigError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is not one that torch knows", field="device") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} must be auto, cpu or cuda", field="device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name!r} is not here: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use --device cpu",
            field="device",
        )
    return device


def choose_dtype(fit: FitConfig, device: torch.device, *, private: bool = False) -> torch.dtype:
    """The forward pass's dtype. bfloat16 doubles the speed where the hardware multiplies it; a
    private fit, which needs each example's gradient, is done in float32.
    """
    if private:
        return torch.float32
    if fit.precision == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    return torch.bfloat16 if fit.precision == "bfloat16" else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Run matrix products in `dtype`; weights, losses and reductions stay float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def describe_hardware(device: torch.device, processes: int = 1) -> str:
    """One line for the manifest."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return f"{processes} x {name}" if processes > 1 else name
    each = f"{describe_processor()}, {torch.get_num_threads()} thread(s)"
    return f"{each} in each of {processes} processes" if processes > 1 else each
