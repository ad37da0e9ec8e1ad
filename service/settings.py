"""Settings from `TRIPTYCH_*` environment variables; a misspelt one stops the start.

Each field of `Settings` is one variable: `max_body_bytes` is `TRIPTYCH_MAX_BODY_BYTES`.
`python -m service.settings` prints the table that the README shows.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import msgspec

from service.contract import WantedPrecision
from service.errors import SettingsError
from service.session import Provider

LogFormat = Literal["text", "json"]
PREFIX = "TRIPTYCH_"
OTHERS = frozenset(
    {
        "TRIPTYCH_API_KEY",
        "TRIPTYCH_DATA",
        "TRIPTYCH_FUZZ_CASES",
        "TRIPTYCH_RUNS",
        "TRIPTYCH_SIGNING_KEY",
        "TRIPTYCH_TEST_IMAGE",
        "TRIPTYCH_URL",
    }
)
"""Variables with our prefix that belong to training, the client and tests, which may share a shell.
"""


def _setting(
    default: Any, help_: str, *, minimum: float | None = None, maximum: float = math.inf
) -> Any:
    return field(default=default, metadata={"help": help_, "minimum": minimum, "maximum": maximum})


@dataclass(frozen=True)
class Settings:
    """What an operator can set. Units are in the names."""

    store: str = _setting("models", "published models: a folder, or s3://bucket/prefix")
    store_poll_s: float = _setting(
        10.0, "how often a bucket is asked for new versions, give or take a fifth", minimum=0.05
    )
    store_cache: str = _setting(
        "", "folder for copies of a bucket's versions; empty: triptych in the user's cache folder"
    )
    public_key: str = _setting(
        "", "PEM file of an Ed25519 key: versions must be signed with its private half"
    )
    provider: Provider = _setting("cpu", "onnxruntime provider: cpu or cuda")
    precision: WantedPrecision = _setting(
        "auto",
        "auto: what each model's gate picked on a CPU, float32 on CUDA; float32; int8 where a "
        "model has it",
    )
    workers: int = _setting(1, "worker processes", minimum=1)
    threads: int = _setting(
        0, "batches run at once per worker; 0: the cores this worker may use", minimum=0
    )
    arena_mib: int = _setting(
        1024,
        "most memory onnxruntime may hold: per worker on the CPU, per model on a GPU",
        minimum=16,
    )
    max_batch_rows: int = _setting(
        64, "most rows in one run of a graph; fewer where a row gets no cheaper by more", minimum=1
    )
    max_queue_rows: int = _setting(1024, "most rows waiting per model; more get 429", minimum=1)
    max_queue_ms: float = _setting(
        2_000.0,
        "longest estimated wait in a queue; who would wait longer gets 429; 0: rows alone count",
        minimum=0,
    )
    max_body_bytes: int = _setting(16 * 2**20, "largest request body", minimum=1024)
    max_answer_bytes: int = _setting(
        64 * 2**20, "largest tensors in an answer of the Open Inference Protocol", minimum=1024
    )
    max_head_bytes: int = _setting(
        32 * 1024, "largest request head: address and headers", minimum=1024
    )
    max_connections: int = _setting(
        4096, "most open connections per worker; more get 503 unless an idle one can go", minimum=1
    )
    client_timeout_s: float = _setting(
        30.0,
        "a request that has not come in whole by then gets 408; a client that takes nothing of its "
        "answer for as long is cut off",
        minimum=0.1,
    )
    max_image_pixels: int = _setting(50_000_000, "largest image, width times height", minimum=1)
    max_images: int = _setting(256, "most images in a request to classify or draw", minimum=1)
    max_prompt_chars: int = _setting(8192, "longest prompt", minimum=1)
    max_tokens: int = _setting(4096, "most characters a completion may have", minimum=1)
    max_choices: int = _setting(16, "most completions in a request: prompts times n", minimum=1)
    stream_interval_ms: float = _setting(
        50.0,
        "streamed text: the first character at once, then what came together in this time",
        minimum=0,
    )
    cache_mib: int = _setting(
        0, "answers kept per worker for requests that come again; 0: none", minimum=0
    )
    request_timeout_s: float = _setting(30.0, "a request not answered by then gets 504", minimum=0)
    drain_delay_s: float = _setting(
        5.0,
        "after SIGTERM, how long to serve on while /readyz says 503, so that proxies turn away",
        minimum=0,
    )
    drain_timeout_s: float = _setting(
        25.0, "after that, how long requests and streams may take to end", minimum=0
    )
    watch: bool = _setting(True, "follow CURRENT: swap to new versions without a restart")
    grpc_port: int = _setting(
        0, "port of the Open Inference Protocol over gRPC; 0: off; needs the grpc extra", minimum=0
    )
    grpc_host: str = _setting("127.0.0.1", "address that the gRPC port listens on")
    keys_file: str = _setting(
        "", "TOML file of API keys, read again when it changes; empty: nobody is asked for one"
    )
    keys_usage: str = _setting(
        "",
        "file of what keys have used of their day, kept over restarts; empty: counted anew from "
        "each start",
    )
    admin_port: int = _setting(
        0,
        "port of its own for /metrics and for loading and unloading, which are then nowhere else "
        "and need no key; 0: off",
        minimum=0,
    )
    admin_host: str = _setting("127.0.0.1", "address that the admin port listens on")
    tls_cert: str = _setting(
        "", "certificate chain (PEM) of the gRPC and admin ports; HTTP has bentoml's --ssl-certfile"
    )
    tls_key: str = _setting("", "private key (PEM) of tls_cert")
    cors_origins: str = _setting(
        "", "origins, by commas, whose pages may use the service; empty: its own only"
    )
    model_control: bool = _setting(False, "let clients load and unload models over /v2/repository")
    feedback: str = _setting(
        "",
        "folder or s3://bucket/prefix for a sample of requests and answers, as Parquet; empty: off",
    )
    feedback_share: float = _setting(
        1.0, "share of requests that feedback keeps, 0 to 1", minimum=0
    )
    feedback_fields: str = _setting(
        "",
        "what feedback keeps of them, by commas; empty: all but prompt, text and image, which hold "
        "what clients sent",
    )
    feedback_days: int = _setting(30, "days until feedback is removed; 0: never", minimum=0)
    log_format: LogFormat = _setting(
        "text", "what the processes write: text, or json, an object a line"
    )
    log_requests: float = _setting(
        0.0,
        "share of requests that are logged, a line each; above 0 all that the service failed are",
        minimum=0,
        maximum=1,
    )
    traces: str = _setting(
        "",
        "URL of an OTLP receiver (HTTP), such as http://collector:4318, for a trace of each "
        "request; empty: off; needs the trace extra",
    )
    trace_share: float = _setting(
        1.0,
        "share of requests that are traced where the caller's traceparent does not say",
        minimum=0,
        maximum=1,
    )

    @property
    def lanes(self) -> int:
        """Batches run at once in one worker."""
        return self.threads or max(1, usable_cores() // self.workers)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: an unknown variable (names the nearest known one), a value of the wrong
                type, or one below its minimum.

        """
        environment = os.environ if environment is None else environment
        known = {PREFIX + item.name.upper(): item for item in fields(cls)}
        values: dict[str, Any] = {}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX) or variable in OTHERS:
                continue
            if variable not in known:
                near = difflib.get_close_matches(variable, known, n=1, cutoff=0.0)[0]
                raise SettingsError(
                    f"{variable} is not a setting; did you mean {near}?", field=variable
                )
            item = known[variable]
            try:
                values[item.name] = _parse(item.type, text)
            except (msgspec.ValidationError, ValueError) as error:
                raise SettingsError(f"{variable}={text!r}: {error}", field=variable) from error
            if item.name == "store" and not text:
                raise SettingsError(f"{variable}={text!r} is empty", field=variable)
            minimum, maximum = item.metadata["minimum"], item.metadata["maximum"]
            # `not <=` also refuses NaN.
            if minimum is not None and not minimum <= values[item.name] < math.inf:
                raise SettingsError(
                    f"{variable}={text!r} must be finite and at least {minimum}", field=variable
                )
            if minimum is not None and values[item.name] > maximum:
                raise SettingsError(
                    f"{variable}={text!r} must be at most {maximum}", field=variable
                )
        return cls(**values)


def _parse(annotation: Any, text: str) -> Any:
    types: dict[str, Any] = {
        "int": int,
        "str": str,
        "float": float,
        "bool": bool,
        "Provider": Provider,
        "WantedPrecision": WantedPrecision,
        "LogFormat": LogFormat,
    }
    return msgspec.convert(text, types[annotation], strict=False)


def usable_cores() -> int:
    """Cores that this process may use: its affinity mask, capped by the cgroup's CPU quota."""
    cores = float(len(os.sched_getaffinity(0)))
    for read in (_cgroup_v2_quota, _cgroup_v1_quota):
        quota = read()
        if quota is not None:
            cores = min(cores, quota)
            break
    return max(1, int(cores))


def _cgroup_v2_quota() -> float | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else float(quota) / float(period)


def _cgroup_v1_quota() -> float | None:
    folder = Path("/sys/fs/cgroup/cpu")
    try:
        quota = float((folder / "cpu.cfs_quota_us").read_text())
        period = float((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if quota <= 0 else quota / period


def table() -> str:
    """Every setting as a Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for item in fields(Settings):
        assert item.default is not MISSING
        default = str(item.default).lower() if item.type == "bool" else item.default
        shown = "" if default == "" else f"`{default}`"
        lines.append(f"| `{PREFIX}{item.name.upper()}` | {shown} | {item.metadata['help']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
