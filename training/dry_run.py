"""A dry run: what would be done, and nothing written."""

from __future__ import annotations

import torch

from training.config import flatten
from training.pipeline import Pipeline
from training.private import guard
from training.summary import format_summary, summarise


def explain(pipeline: Pipeline) -> None:
    """Print configuration, network, steps and data of a run that is not begun."""
    record, config = pipeline.run.record, pipeline.config
    kind, data = pipeline.kind, pipeline.data
    task = guard(kind.task(config, data, torch.device("cpu")), config)
    print(f"{record.kind} {record.model}, preset {record.preset}, into {pipeline.run.folder}\n")
    for key, value in flatten(config).items():
        print(f"  {key} = {value}")
    plan = kind.export(config, data, task.modules[task.served])
    print(f"\nserved network:\n{format_summary(summarise(plan))}")
    for name, module in task.modules.items():
        print(f"{name}: {sum(weight.numel() for weight in module.parameters()):,} parameters")
    source = kind.record(data)
    counts = ", ".join(f"{count:,} {split}" for split, count in source.examples.items())
    print(f"\ndata: {source.name} from {source.source} (sha256 {source.sha256[:16]}...): {counts}")
    steps = config.fit.epochs * task.steps_per_epoch
    phases = ", then ".join(phase.name for phase in task.phases)
    print(
        f"steps: {config.fit.epochs} epochs of {task.steps_per_epoch:,}: {steps:,}, each {phases}"
    )
    print("dry run: nothing was done")
