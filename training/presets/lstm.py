"""Text models, from the first lesson's to the one shipped, and what a search varies."""

from __future__ import annotations

from training.config import FitConfig, OptimizerConfig, ScheduleConfig
from training.configs.lstm import LstmConfig, NetworkConfig
from training.search.space import Choice, Real

# The first character model of every course: one-hot characters, 128 units, Adam as it comes.
TEXTBOOK = LstmConfig(
    network=NetworkConfig(embedding=0, hidden=128),
    window=100,
    fit=FitConfig(epochs=10, batch_size=32, clip_norm=5.0),
    optimizer=OptimizerConfig(name="adam", lr=1e-3),
    schedule=ScheduleConfig(name="constant", warmup=0.0),
)

# What is shipped: 1.421 nats (1.408 with carried state) in 15 minutes on one core of a Zen 5
# processor (AMD, family 26), one run; at a rate of 3e-3 it came to 1.449.
# A search of 12 trials of 4 epochs (docs/search/shakespeare-standard) chose the rate: those of 7e-3
# to 2e-2 end between 1.56 and 1.59 nats of held-out training text, those of 1e-3 to 2e-3 above 1.8.
# It tells no dropout, decay or beta2 from another.
STANDARD = LstmConfig(
    # One wide layer: it passes half as many characters again through a core as two narrower ones.
    # A million characters are few for a million weights: what holds it back from learning them by
    # heart (dropped recurrent weights and outputs) decides the result.
    network=NetworkConfig(embedding=64, hidden=512, layers=1, dropout=0.35, weight_drop=0.3),
    # Two or three speeches: as far back as the text's own structure reaches.
    window=256,
    # Small batches cost no speed here and buy updates. Clipping tames the recurrent gradient, and
    # averaged weights spare the last point its noise.
    fit=FitConfig(epochs=36, batch_size=32, clip_norm=1.0, ema_decay=0.995),
    optimizer=OptimizerConfig(name="adamw", lr=1e-2, beta2=0.99, weight_decay=0.05),
    schedule=ScheduleConfig(name="cosine", warmup=0.03, final=0.02),
)

# Seconds on a few pages, for tests.
TINY = LstmConfig(
    network=NetworkConfig(embedding=8, hidden=16, layers=2, dropout=0.1),
    window=16,
    fit=FitConfig(epochs=2, batch_size=8, clip_norm=1.0, ema_decay=0.9, precision="float32"),
)

PRESETS = {
    "textbook": TEXTBOOK,
    "standard": STANDARD,
    "tiny": TINY,
}

SPACE = (
    Real("optimizer.lr", 1e-3, 1e-2, log=True),
    Real("optimizer.weight_decay", 1e-3, 0.3, log=True),
    Real("network.dropout", 0.0, 0.6),
    Real("network.weight_drop", 0.0, 0.6),
    Choice("network.hidden", ("384", "512", "640")),
)
