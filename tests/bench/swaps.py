"""`make bench-swap`: how long a swap takes, and what it adds to latency while requests go on.

A copy of the shipped models is served by one worker on one core. Clients on the other classify in
a closed loop, while the classifier is promoted and rolled back between its version and a copy of it
under another name. A swap lasts from the replacing of CURRENT to the first answer of the new
version; the latencies of requests that were sent within it are set beside those of all others in
the same run. Writes docs/swap.json and docs/swap.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

from service.contract import CARD_FILE, MANIFEST_FILE, decode_manifest, encode_manifest
from service.store import Store
from service.store.publisher import Publisher
from tests.bench.machine import describe_machine
from tests.bench.server import serving
from tests.pictures import picture

MODEL = "cifar10"
CLIENTS = 8
PAUSE_S = 1.5  # between two swaps, for latencies without one


@dataclass
class Seen:
    """What clients saw: when a request was sent, how long it took, and who answered."""

    answers: list[tuple[float, float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopping: bool = False


async def client(url: str, body: bytes, seen: Seen) -> None:
    """Classify until told to stop."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        while not seen.stopping:
            sent_s = time.perf_counter()
            answer = await http.post("/v1/classify", content=body)
            elapsed_s = time.perf_counter() - sent_s
            if answer.status_code == 200:
                seen.answers.append((sent_s, elapsed_s, answer.json()["version"]))
            else:
                seen.failures.append(answer.text[:300])


def twin(store: Store, version: str) -> str:
    """Publish a copy of a version under another name, and go back."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "twin"
        shutil.copytree(store.folder(MODEL, version), folder)
        manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
        assert CARD_FILE in manifest.files
        other = msgspec.structs.replace(manifest, version=f"{version[:40]}-twin")
        (folder / MANIFEST_FILE).write_bytes(encode_manifest(other))
        Publisher(store).publish(folder, MODEL)
    Publisher(store).promote(MODEL, version)
    return other.version


async def drive(url: str, store: Store, swaps: int) -> dict[str, object]:
    """Swap so often under load; the figures."""
    first = store.current(MODEL)
    second = await asyncio.to_thread(twin, store, first)
    seen, body = Seen(), picture()
    clients = [asyncio.ensure_future(client(url, body, seen)) for _ in range(CLIENTS)]
    await asyncio.sleep(2 * PAUSE_S)
    windows: list[tuple[float, float]] = []
    for swap in range(swaps):
        wanted = first if swap % 2 else second
        begin_s = time.perf_counter()
        await asyncio.to_thread(Publisher(store).promote, MODEL, wanted)
        written_s = time.perf_counter()
        while not any(v == wanted for s, _, v in seen.answers[-CLIENTS:] if s > begin_s):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        windows.append((written_s, time.perf_counter()))
        await asyncio.sleep(PAUSE_S)
    seen.stopping = True
    await asyncio.gather(*clients)
    within = [e for s, e, _ in seen.answers if any(a <= s <= b for a, b in windows)]
    without = [e for s, e, _ in seen.answers if not any(a - 0.5 <= s <= b for a, b in windows)]
    lasted = [b - a for a, b in windows]
    return {
        "swaps": swaps,
        "requests": len(seen.answers) + len(seen.failures),
        "failed": len(seen.failures),
        "swap_s": statistics.median(lasted),
        "longest_swap_s": max(lasted),
        "p50_ms": _quantile_ms(without, 0.5),
        "p99_ms": _quantile_ms(without, 0.99),
        "p50_during_ms": _quantile_ms(within, 0.5),
        "p99_during_ms": _quantile_ms(within, 0.99),
    }


def _quantile_ms(values_s: list[float], share: float) -> float:
    return sorted(values_s)[int(share * (len(values_s) - 1))] * 1000


def markdown(found: dict[str, object]) -> str:
    """The figures in words."""
    f = {key: value for key, value in found.items() if isinstance(value, int | float)}
    machine = found["machine"]
    assert isinstance(machine, dict)
    return (
        f"{f['swaps']} swaps of `{MODEL}` under load, {f['requests']:,} requests, "
        f"{f['failed']} failed. From the replaced `CURRENT` to the first answer of the new "
        f"version: {f['swap_s']:.2f} s (median; {f['longest_swap_s']:.2f} s at most). Latency of "
        f"requests sent meanwhile: median {f['p50_during_ms']:.1f} ms, p99 "
        f"{f['p99_during_ms']:.1f} ms; of all others in the run {f['p50_ms']:.1f} and "
        f"{f['p99_ms']:.1f} ms: the new version is loaded, warmed up and proven on the core that "
        f"serves. One worker on one core, {CLIENTS} clients with one request each on the other. "
        f"{machine['processor']}, {machine['system']}, Python {machine['python']}, onnxruntime "
        f"{machine['onnxruntime']}, {machine['date']}."
    )


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(options.store, Path(place) / "models"))
        with serving(copy, cores={cores[0]}) as server:
            found = asyncio.run(
                drive(f"http://127.0.0.1:{server.port}", Store(copy), options.swaps)
            )
    found["machine"] = describe_machine()
    (options.out / "swap.json").write_text(json.dumps(found, indent=2) + "\n")
    (options.out / "swap.md").write_text(f"# What a swap costs\n\n{markdown(found)}\n")
    print(markdown(found))


if __name__ == "__main__":
    main()
