"""What private training costs: the same network, data and epochs with and without a budget.

    python -m tests.bench.privacy --cnn cifar10.tar.gz --lstm tinyshakespeare.txt

Writes docs/private.md. Each fit is by the textbook preset with Adam and larger batches, which suit
both: noise is added once a step, and Adam minds neither its scale nor that of clipped gradients.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.bench.machine import describe_machine
from training.config import KindConfig, override
from training.journal import read_metrics
from training.kinds import kinds
from training.loop import fit
from training.private import Privacy, PrivateTask, guard
from training.provenance import library_versions

PRESET = "textbook"
SETTINGS: dict[str, list[str]] = {
    # Narrow, both: every example's own gradient is written to memory, and the LSTM's for every
    # character, so a private step takes several times as long as its arithmetic would.
    "cnn": [
        "network.widths=[16, 32]",
        "fit.batch_size=256",
        "optimizer.name=adam",
        "optimizer.lr=2e-3",
    ],
    "lstm": [
        "network.hidden=64",
        "fit.batch_size=128",
        "optimizer.name=adam",
        "optimizer.lr=4e-3",
        "fit.clip_norm=0",
    ],
}
DELTA = 1e-5
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Outcome:
    """A fit's last validation, and what it spent; None for one without privacy."""

    kind: str
    figures: dict[str, float]
    cpu_s: float
    spent: Privacy | None


def measure(kind: str, config: KindConfig, data: Any, epsilon: float) -> Outcome:
    config = override(config, [f"privacy.epsilon={epsilon}", f"privacy.delta={DELTA}"])
    with tempfile.TemporaryDirectory() as folder:
        task = guard(kinds()[kind].task(config, data, CPU), config)
        began = time.process_time()
        progress = fit(task, config, Path(folder), CPU)
        cpu_s = time.process_time() - began
        (*_, last) = read_metrics(Path(folder))
    return Outcome(
        kind=kind,
        figures={key: last[key] for key in last if key.startswith(("test_", "val_"))},
        cpu_s=cpu_s,
        spent=task.spent(progress.step) if isinstance(task, PrivateTask) else None,
    )


def report(outcomes: list[Outcome], configs: dict[str, KindConfig], epochs: int) -> str:
    machine, versions = describe_machine(), library_versions()
    lines = [
        "# What private training costs",
        "",
        f"`python -m tests.bench.privacy`, {machine['date']}, {machine['processor']}, "
        f"{torch.get_num_threads()} thread(s), torch {versions['torch']}.",
        "",
        f"The `{PRESET}` preset's network, {epochs} epochs of the whole training split; "
        f"delta is {DELTA:g}, accounted by Opacus.",
        "",
    ]
    for kind, config in configs.items():
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        metrics = list(own[0].figures)
        lines += [
            f"## {kind}: {', '.join(SETTINGS[kind])}",
            "",
            "| epsilon | noise multiplier | " + " | ".join(metrics) + " | CPU-seconds |",
            "| --- " * (len(metrics) + 3) + "|",
        ]
        for outcome in own:
            spent = outcome.spent
            budget = ["none", "0"]
            if spent is not None:
                budget = [f"{spent.epsilon:.2f}", f"{spent.noise_multiplier:.2f}"]
            cells = budget + [f"{outcome.figures[metric]:.4f}" for metric in metrics]
            lines.append("| " + " | ".join(cells) + f" | {outcome.cpu_s:.0f} |")
        lines += [
            "",
            f"One example's gradient keeps at most an L2 norm of {config.privacy.clip_norm:g}.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What private training costs.")
    parser.add_argument("--cnn", help="images, as for `triptych-train fit --data`")
    parser.add_argument("--lstm", help="text, as for `triptych-train fit --data`")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--epsilon", type=float, action="append", help="budgets; default: 8")
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/triptych"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/private.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sources = {kind: getattr(arguments, kind) for kind in SETTINGS}
    outcomes, configs = [], {}
    for kind in [kind for kind, source in sources.items() if source is not None]:
        family = kinds()[kind]
        data = family.load_data(sources[kind], arguments.cache_dir.expanduser())
        settings = [*SETTINGS[kind], f"fit.epochs={arguments.epochs}"]
        configs[kind] = override(family.presets[PRESET], settings)
        for epsilon in [0.0, *(arguments.epsilon or [8.0])]:
            outcomes.append(measure(kind, configs[kind], data, epsilon))
            print(outcomes[-1])
            arguments.out.write_text(report(outcomes, configs, arguments.epochs), "utf-8")
    print(arguments.out)


if __name__ == "__main__":
    main()
