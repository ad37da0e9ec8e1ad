"""LSTM: text generation, one character after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from service.contract import DataRecord, TensorSpec
from training.card import Figure, Sample
from training.configs.lstm import LstmConfig
from training.data.addition import join_text, read_new_text
from training.data.describe import Description, describe_text
from training.data.text import TextData, load_text
from training.drift.check import Check, check_text
from training.drift.profile import profile_text
from training.gate import Rule
from training.kinds.base import About, Arrays, Evaluation, Export, Kind
from training.measures.drift import Limits, Profile
from training.measures.text import nats_to_bits, perplexity
from training.networks.charlstm import CharLstm
from training.plots.curves import Panel, plot_loss_by_position
from training.presets.lstm import PRESETS, SPACE
from training.quantise.choice import Demand
from training.quantise.recurrent import quantise_recurrent
from training.recovered import recover_text
from training.reports import recitation
from training.reports.recitation import report_recitation
from training.tasks.language import LstmTask
from training.writer import Writer

TEMPERATURES = (0.5, 0.8, 1.0)
SHOWN_CHARACTERS = 400
VERIFIED_CHARACTERS = 16
SEARCHED_SHARE = 0.1  # of the training text, its end: what judges a search's trials


class Lstm(Kind[LstmConfig, TextData]):
    """Characters in, characters out."""

    name = "lstm"
    default_model = "shakespeare"
    presets: ClassVar[Mapping[str, LstmConfig]] = PRESETS
    rules = (
        # The goal is 1.55; a run that ends above 1.6 has gone wrong. Where two
        # models cannot be compared window by window, one may lose 0.02.
        Rule("val_loss_nats", "min", floor=1.60, tolerance=0.02),
        # A sentence by heart in 1 of 100 samples may be a proverb; in more, the model recites.
        Rule("sample_recited_share", "min", floor=0.01, tolerance=0.01),
    )
    reproduced_within = MappingProxyType(
        {
            # One rounding can turn a draw, and with it the rest of that sample.
            "sample_recited_share*": 0.02,
            "sample_longest_overlap": 20.0,
            "sample_median_overlap": 1.0,
            "sample_known_words": 0.005,
            "val_*overlap": 0.0,
        }
    )
    fed = ("token",)
    # A writer waits for one character after another: one row at a time.
    int8 = Demand("val_loss_nats", "min", most_loss=0.01, timed_rows=1)
    panels = (Panel("Loss", ("train_loss", "val_loss_nats"), "nats per character"),)
    space = SPACE
    about = About(
        description="Continues a text one character at a time.",
        intended_use=(
            "Text in the manner of its training text; a small, fast model to learn and test with."
        ),
        limits=(
            "It knows the characters of its vocabulary alone.",
            "It spells and imitates; it knows no facts, and follows no instructions.",
            "It can repeat short passages of its training text word for word.",
        ),
        metric_notes={
            "val_loss_nats": "mean cross-entropy of the next character, windows from zero state",
            "val_carried_loss_nats": "the same, the whole split read as one text with its state",
            "val_bits_per_character": "the loss of windows in bits",
            "val_perplexity": "exp of the loss of windows: as unsure as among so many characters",
            **recitation.NOTES,
        },
    )

    def load_data(self, source: str | None, cache_dir: Path) -> TextData:
        """Shakespeare, or any text."""
        return load_text(source, cache_dir=cache_dir)

    def record(self, data: TextData) -> DataRecord:
        """Name, source, checksum, licence and counts of characters."""
        return DataRecord(
            name=data.name,
            source=data.source,
            sha256=data.sha256,
            license=data.license,
            examples={"train": len(data.train), "val": len(data.val)},
            parts=data.parts,
        )

    def describe(self, data: TextData, out_dir: Path) -> Description:
        """Characters, words and lines."""
        return describe_text(data, out_dir)

    def profile(self, data: TextData) -> Profile:
        """How often each character comes."""
        return profile_text(data.train)

    def check_new(
        self, data: TextData, folder: Path, limits: Limits
    ) -> tuple[Check, Profile, Profile]:
        """Characters: whether they are known, and how often they come."""
        return check_text(read_new_text(folder), data, limits)

    def join(self, data: TextData, folder: Path) -> tuple[TextData, int]:
        """Long paragraphs that the held-out text contains are left out."""
        return join_text(data, read_new_text(folder))

    def task(self, config: LstmConfig, data: TextData, device: torch.device) -> LstmTask:
        """Ready to be fitted."""
        return LstmTask(config, data, device)

    def recover(
        self, config: LstmConfig, data: TextData, graph: Path
    ) -> Mapping[str, torch.Tensor]:
        """The LSTM operator's own matrices."""
        network = self.task(config, data, torch.device("cpu")).modules["network"]
        assert isinstance(network, CharLstm)
        return recover_text(graph, network)

    def hold_out(self, config: LstmConfig, data: TextData) -> tuple[LstmConfig, TextData]:
        """The training text's last tenth judges; the validation text stays unread."""
        cut = round(len(data.train) * (1 - SEARCHED_SHARE))
        return config, replace(data, train=data.train[:cut], val=data.train[cut:])

    def evaluate(
        self,
        config: LstmConfig,
        data: TextData,
        graph: Path,
        folder: Path,
        judge: Path | None,
    ) -> Evaluation:
        """Loss on the validation split, what the samples look like, and how much they recite."""
        writer, seed = Writer(graph, data.vocabulary), config.fit.seed
        loss_WT = writer.window_losses(data.val, config.window)
        loss_nats = float(loss_WT.mean(axis=1).mean())  # in the order of `examples`, to the bit
        metrics = {
            "val_loss_nats": loss_nats,
            "val_carried_loss_nats": float(writer.carried_losses(data.val).mean()),
            "val_bits_per_character": nats_to_bits(loss_nats),
            "val_perplexity": perplexity(loss_nats),
        }
        recital = report_recitation(writer, data, seed, folder)
        plot_loss_by_position(loss_WT.mean(axis=0), folder / "positions.png")
        texts = writer.write(TEMPERATURES, SHOWN_CHARACTERS, seed)
        return Evaluation(
            metrics | recital.metrics,
            figures=(
                Figure("positions.png", "Loss by position in the window: what context is worth"),
                *recital.figures,
            ),
            samples=tuple(
                Sample(f"At temperature {temperature:g}, seed {seed}, not chosen", text)
                for temperature, text in zip(TEMPERATURES, texts, strict=True)
            ),
        )

    def examples(
        self, config: LstmConfig, data: TextData, graph: Path, judge: Path | None = None
    ) -> Arrays:
        """Each validation window's mean loss, and whether each sample recites.

        Samples of two models have nothing in common but their number. McNemar's test holds all the
        same: which of one stands beside which of the other is chance, as the test has it.
        """
        writer = Writer(graph, data.vocabulary)
        samples = recitation.talk(writer, config.fit.seed)
        return {
            "val_loss_nats": writer.window_losses(data.val, config.window).mean(axis=1),
            "sample_recited_share": recitation.reciting(samples, data),
        }

    def quantise(self, config: LstmConfig, data: TextData, graph: Path, target: Path) -> bool:
        """The cell written out, its matrices in int8."""
        return quantise_recurrent(graph, target)

    def export(self, config: LstmConfig, data: TextData, network: nn.Module) -> Export:
        """The ONNX operator LSTM, batch first, a sequence's state in one row."""
        assert isinstance(network, CharLstm)
        size, state = len(data.vocabulary), network.state_size

        def draw_inputs(rows: int, rng: np.random.Generator) -> Arrays:
            return {
                "token": rng.integers(0, size, (rows, VERIFIED_CHARACTERS)),
                "state": np.tanh(rng.standard_normal((rows, state), dtype=np.float32)),
            }

        return Export(
            module=network.eval(),
            inputs=(
                TensorSpec(
                    name="token",
                    dtype="int64",
                    shape=("N", "T"),
                    minimum=0,
                    maximum=size - 1,
                    description="positions in the vocabulary",
                ),
                TensorSpec(
                    name="state",
                    dtype="float32",
                    shape=("N", state),
                    description="every layer's h, then every layer's c; zeros start a text",
                ),
            ),
            outputs=(
                TensorSpec(
                    name="logits",
                    dtype="float32",
                    shape=("N", "T", size),
                    description="of the character after each token",
                ),
                TensorSpec(
                    name="state_out",
                    dtype="float32",
                    shape=("N", state),
                    description="the state after the last token",
                ),
            ),
            tolerance={"logits": 2e-3, "state_out": 1e-3},
            draw_inputs=draw_inputs,
            vocabulary=data.vocabulary,
        )


KIND = Lstm()
