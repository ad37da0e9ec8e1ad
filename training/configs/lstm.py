"""Settings of a language model's run."""

from __future__ import annotations

from dataclasses import dataclass

from training.config import KindConfig, require


@dataclass(frozen=True)
class NetworkConfig:
    """How wide and how deep."""

    embedding: int = 64
    """Size of a character's vector; 0 feeds one-hot characters."""
    hidden: int = 512
    layers: int = 1
    dropout: float = 0.0
    """On the last layer's output, and between layers."""
    weight_drop: float = 0.0
    """On the recurrent weights: the share that is 0 throughout a step's windows."""

    def __post_init__(self) -> None:
        require(self.embedding >= 0, "embedding", self.embedding, "0 or more")
        require(self.hidden >= 1, "hidden", self.hidden, "1 or more")
        require(self.layers >= 1, "layers", self.layers, "1 or more")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        require(0 <= self.weight_drop < 1, "weight_drop", self.weight_drop, "in [0, 1)")


@dataclass(frozen=True)
class LstmConfig(KindConfig):
    """Everything that a language model's run is made of."""

    network: NetworkConfig = NetworkConfig()
    window: int = 256
    """Characters of one training example; also of one validation window."""

    def __post_init__(self) -> None:
        require(2 <= self.window <= 4096, "window", self.window, "in 2..4096")
