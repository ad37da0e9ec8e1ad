"""`python -m tests.bench.readme`: write the README's figures from what was measured.

Each section between marks comes from a file of the repository: the models' manifests, the table
of settings, `docs/plane.json` (written by `make plane`), `docs/swap.json` (`make bench-swap`),
`docs/bench.json` (`make bench`), `docs/bench-peers.json` (`make bench-peers`),
`docs/capacity.json` (`make capacity`) and `docs/image.json`
(`RECORD=docs/image.json make image`). Nothing between the marks is typed by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from service import metrics
from service.contract import (
    CURRENT_FILE,
    MANIFEST_FILE,
    Manifest,
    TrainingRecord,
    decode_manifest,
)
from service.settings import table
from service.tally import Count, Distribution, Level
from service.telemetry.request_log import FIELDS
from tests.bench import swaps
from tests.bench.load import report as load
from tests.bench.peers import report as peers
from tests.bench.plane import report as plane
from tests.bench.report import markdown

README = Path("README.md")
OBSERVABILITY = Path("docs/observability.md")
FIGURES = {
    "cnn": (("test_accuracy", "test accuracy"), ("test_ece", "calibration error (ECE)")),
    "lstm": (
        ("val_loss_nats", "nats per character"),
        ("val_bits_per_character", "bits per character"),
    ),
    "gan": (
        ("class_agreement", "class agreement"),
        ("frechet_classifier_features", "Fréchet distance in the judge's features"),
    ),
}
"""The figures of a kind that the README shows; the card has all of them."""


def models(store: Path = Path("models")) -> str:
    """The shipped models, with links to their cards."""
    lines = [
        "| model | kind | parameters | graph | figures | trained in | card |",
        "| --- | --- | ---: | ---: | --- | ---: | --- |",
    ]
    for current in sorted(store.glob(f"*/{CURRENT_FILE}")):
        folder = current.parent / current.read_text().strip()
        manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
        size_mib = manifest.files[manifest.graph].bytes / 2**20
        training = manifest.training
        lines.append(
            f"| `{manifest.name}` | {manifest.kind} | {training.parameters:,} | {size_mib:.1f} MiB "
            f"| {_figures(manifest)} | {_trained_in(manifest.training)} "
            f"| [card]({folder.as_posix()}/card.md) |"
        )
    return "\n".join(lines)


def _trained_in(training: TrainingRecord) -> str:
    """The fit's time, and that of the fits that it began with, which its record names."""
    before_s = sum(map(float, re.findall(r"epochs in (\d+) s", training.started_from)))
    after = f", after {before_s / 60:.0f} min of earlier runs" if before_s else ""
    return f"{training.duration_s / 60:.0f} min{after}"


def _figures(manifest: Manifest) -> str:
    shown = FIGURES.get(manifest.kind, tuple((name, name) for name in manifest.metrics))
    return ", ".join(
        f"{title} {manifest.metrics[name]:.4g}" for name, title in shown if name in manifest.metrics
    )


def image(path: Path = Path("docs/image.json")) -> str:
    """The container image's size, from the last build that was checked."""
    built = json.loads(path.read_text())
    return (
        f"{built['size_mib']:.0f} MiB uncompressed, user {built['user']}, "
        f"built with {built['tool']} on {built['date']}."
    )


def capacity(path: Path = Path("docs/capacity.json"), page: str = "docs/capacity.html") -> str:
    """The highest rates, with a link to the whole report."""
    if not path.exists():
        return "Not measured yet: `make capacity`, then `make figures`."
    told = load.brief(json.loads(path.read_text(encoding="utf-8")))
    return f"{told}\n\n[The whole report]({page}), with curves of latency against throughput."


def fields() -> str:
    """What a request's line in the log may have."""
    lines = ["| field | meaning |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{name}` | {text} |" for name, text in FIELDS.items())])


def metric_table() -> str:
    """Every metric of the service."""
    lines = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    rows = []
    for collector in vars(metrics).values():
        if isinstance(collector, Counter | Gauge | Count | Level | Distribution):
            (one,) = collector.describe()
            name = one.name + ("_total" if one.type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in label_names(collector))
            rows.append(f"| `{name}` | {one.type} | {labels} | {one.documentation} |")
    return "\n".join([*lines, *sorted(rows)])


def label_names(collector: Any) -> tuple[str, ...]:
    """Of a metric family, which prometheus_client does not tell before it has a series."""
    if isinstance(collector, Distribution):
        return collector.label_names
    family = collector.family if isinstance(collector, Count | Level) else collector
    named: tuple[str, ...] = family._labelnames
    return named


SECTIONS = {
    "models": models,
    "plane": lambda: plane.markdown(json.loads(Path("docs/plane.json").read_text())),
    "settings": table,
    "bench": lambda: markdown(json.loads(Path("docs/bench.json").read_text())),
    "peers": lambda: peers.markdown(json.loads(Path("docs/bench-peers.json").read_text())),
    "swap": lambda: swaps.markdown(json.loads(Path("docs/swap.json").read_text())),
    "capacity": capacity,
    "image": image,
}


WATCHED = {"fields": fields, "metrics": metric_table}
"""Sections of docs/observability.md."""


def render(text: str, sections: Mapping[str, Callable[[], str]] = SECTIONS) -> str:
    """Replace what stands between each section's marks; raises ValueError for missing marks."""
    for name, section in sections.items():
        pattern = re.compile(
            rf"(<!-- {name}:begin[^>]*-->\n).*?(\n<!-- {name}:end -->)", flags=re.DOTALL
        )
        if not pattern.search(text):
            raise ValueError(f"the page lacks the marks of {name!r}")
        content = section()
        text = pattern.sub(lambda found, new=content: f"{found[1]}{new}{found[2]}", text)
    return text


def main() -> int:
    """Write the pages, or with --check fail if one is out of date."""
    for page, sections in ((README, SECTIONS), (OBSERVABILITY, WATCHED)):
        text = page.read_text(encoding="utf-8")
        rendered = render(text, sections)
        if "--check" not in sys.argv[1:]:
            page.write_text(rendered, encoding="utf-8")
        elif rendered != text:
            print(f"{page} is out of date: run make figures", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
