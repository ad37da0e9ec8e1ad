"""GANs, from DCGAN to the one shipped, and what a search varies."""

from __future__ import annotations

from training.config import FitConfig, OptimizerConfig, ScheduleConfig
from training.configs.gan import GanConfig, GuideConfig, NetworkConfig
from training.search.space import Choice, Real

# DCGAN's own settings (Radford et al. 2016), with the class given to both players.
DCGAN = GanConfig(
    network=NetworkConfig(
        architecture="dcgan",
        noise=100,
        generator_widths=(256, 128, 64),
        critic_widths=(64, 128, 256),
    ),
    loss="cross_entropy",
    fit=FitConfig(epochs=20, batch_size=128),
    optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.5),
    critic_optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.5),
    schedule=ScheduleConfig(name="constant", warmup=0.0),
)

# 83 % agreement (81.5 to 83.7) by the shipped classifier, variety 1.08 of real images', a Fréchet
# distance of 137 in its features (floor 15.8), in 27 minutes on 2 cores of a Zen 5 processor (AMD,
# family 26) that did other work beside it; one run. With a guide of weight 0.02: 79 %, 1.14, 142.
# The shipped one, guided in its last two epochs alone and then averaged with what it was before,
# has 89 %, 0.97 and 105; the README has its two commands.
STANDARD = GanConfig(
    # Noise to 32x32 in 32 million multiplications.
    network=NetworkConfig(
        architecture="projection",
        generator_widths=(256, 128, 48),
        critic_widths=(64, 128, 256),
        guide_widths=(48, 96, 192),
    ),
    # A small classifier learns first, then tells the generator whether its pictures show the class
    # that was asked for. An epoch of it, at 0.1 as at 0.5, took a fitted generator from 67 to 99 %
    # agreement, and its variety from 0.90 to 0.69 of real images': fit.start_share goes half of the
    # way back. A guided critic, which sees by the guide as well, won at once: after an epoch all
    # pictures were one.
    guide=GuideConfig(epochs=3, weight=0.1),
    # The critic's own opinion on the class is what it learns most from: without, it told real
    # images from drawn ones no better after an epoch than before.
    class_weight=0.5,
    # The hinge loss and two time scales: the critic learns twice as fast as the generator.
    loss="hinge",
    optimizer=OptimizerConfig(name="adam", lr=2e-4, beta1=0.0, beta2=0.9),
    critic_optimizer=OptimizerConfig(name="adam", lr=4e-4, beta1=0.0, beta2=0.9),
    # A dozen epochs of 50,000 are few enough that the critic cannot learn images by heart, so it
    # needs no augmentation but the mirror and the guide's shift; small batches buy more turns.
    flip=True,
    fit=FitConfig(epochs=15, batch_size=32, ema_decay=0.999),
    # The last tenth of the steps settles what the two players have been circling.
    schedule=ScheduleConfig(name="linear", warmup=0.01, final=0.1),
)

# Seconds on a few dozen images, for tests.
TINY = GanConfig(
    network=NetworkConfig(
        noise=8,
        generator_widths=(16, 16, 16),
        critic_widths=(16, 16, 16),
        guide_widths=(16, 16, 16),
    ),
    guide=GuideConfig(epochs=1, weight=0.1),
    flip=True,
    augment_translate_px=2,
    augment_cutout_px=4,
    augment_colour=0.5,
    fit=FitConfig(epochs=2, batch_size=8, ema_decay=0.9, precision="float32"),
    samples_per_class=8,
)

PRESETS = {
    "dcgan": DCGAN,
    "standard": STANDARD,
    "tiny": TINY,
}

SPACE = (
    Real("optimizer.lr", 5e-5, 1e-3, log=True),
    Real("critic_optimizer.lr", 5e-5, 2e-3, log=True),
    Choice("optimizer.beta1", ("0.0", "0.5")),
    Real("fit.ema_decay", 0.9, 0.9995),
    Choice("fit.batch_size", ("32", "64", "128")),
)
