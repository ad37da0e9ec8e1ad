"""Private training: a fit whose weights tell almost nothing of any one example.

DP-SGD (Abadi et al. 2016, arXiv:1607.00133) by Opacus: each step takes every example with the same
small probability (Poisson sampling), clips each example's gradient and adds Gaussian noise to their
sum. What that guarantees is (epsilon, delta)-differential privacy of one example, added or removed:
an image with its label, or a window of text.

The noise and the sampling come from a secret that is drawn anew for each process and kept nowhere,
since whoever knew them could take the noise off again. A private run can therefore not be repeated
bit for bit, unlike every other.

Not counted in epsilon: the channel means and deviations, or the set of characters, which are taken
from the training data as they are.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import msgspec
import torch
from torch import nn

from training.config import KindConfig, require
from training.errors import ConfigError
from training.networks.separable import lay_out_planes, replace_norms, separable
from training.networks.whitening import Whitening
from training.tasks.base import Batch, Phase, Task

FEWEST_EXAMPLES = 32
"""Of a step, on average: an empty draw is drawn again, which adds less than exp(-32) a step to
delta."""
ACCOUNTANT = "prv"  # Gopi et al. 2021, arXiv:2106.02848: the tightest of Opacus'
FALL = 1.75  # power of the frequency: neighbours then correlate at 0.95, as in small photographs

NOTES: Mapping[str, str] = {
    "epsilon": "privacy spent on each training example; smaller is more private",
    "delta": "probability, at most, with which epsilon may not hold",
}


class Privacy(msgspec.Struct, frozen=True, kw_only=True):
    """What a fit spent, and how it was counted."""

    epsilon: float
    delta: float
    clip_norm: float
    noise_multiplier: float
    """Deviation of the noise as a multiple of `clip_norm`."""
    sample_rate: float
    """Probability with which a step takes an example."""
    steps: int


def guard(task: Task, config: KindConfig) -> Task:
    """The task as it is, or, where the configuration asks for privacy, its private counterpart.

    Raises ConfigError for what cannot be trained privately, or not with these settings.
    """
    return PrivateTask(task, config) if config.privacy.epsilon else task


class PrivateTask(Task):
    """A task of one network whose batches are Poisson samples and whose optimiser adds noise."""

    def __init__(self, task: Task, config: KindConfig) -> None:
        _check(task, config)
        self.task, self.config = task, config
        self.served, self.monitor = task.served, task.monitor
        self.steps_per_epoch = task.steps_per_epoch
        self.sample_rate = config.fit.batch_size / task.examples
        network = task.modules[task.served]
        replace_norms(network)
        for module in network.modules():
            if isinstance(module, Whitening):
                # Filters fitted to the training images would tell of them.
                device = module.filters.weight.device
                module.fit(natural_noise().to(device))
        self.modules = {task.served: network}
        # The task's own loss runs the counterpart, whose parameters are the network's.
        self.counterpart = separable(network)
        lay_out_planes(network)
        task.modules = {task.served: self.counterpart}
        self.phases = (replace(task.phases[0], module=self.counterpart),)
        self._secret = torch.Generator().manual_seed(secrets.randbits(63))

    def optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        """Opacus' optimiser around the usual one; the noise is what the budget asks for."""
        from opacus.grad_sample import GradSampleModule  # noqa: PLC0415 - for private runs alone
        from opacus.optimizers import DPOptimizer  # noqa: PLC0415

        # A network's input, a picture or characters, needs no gradient, and torch warns of that.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for module in self.counterpart.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(_in_planes)
        GradSampleModule(self.counterpart, batch_first=True, loss_reduction="mean")
        parameter = next(phase.module.parameters())
        private: torch.optim.Optimizer = DPOptimizer(
            super().optimizer(phase),
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.config.privacy.clip_norm,
            expected_batch_size=self.config.fit.batch_size,
            loss_reduction="mean",
            generator=torch.Generator(parameter.device).manual_seed(secrets.randbits(63)),
        )
        return private

    @cached_property
    def noise_multiplier(self) -> float:
        """The least noise with which the whole run stays within the budget."""
        from opacus.accountants.utils import get_noise_multiplier  # noqa: PLC0415

        privacy = self.config.privacy
        try:
            with _quiet_accountant():
                noise: float = get_noise_multiplier(
                    target_epsilon=privacy.epsilon,
                    target_delta=privacy.delta,
                    sample_rate=self.sample_rate,
                    steps=self.config.fit.epochs * self.steps_per_epoch,
                    accountant=ACCOUNTANT,
                )
        except ValueError as error:
            raise ConfigError(
                f"privacy.epsilon is {privacy.epsilon:g}: no amount of noise keeps a run of "
                f"{self.config.fit.epochs} epochs within it; allow more or train for less",
                field="privacy.epsilon",
            ) from error
        return noise

    def spent(self, steps: int) -> Privacy:
        """The account after so many steps."""
        from opacus.accountants import create_accountant  # noqa: PLC0415

        noise, privacy = self.noise_multiplier, self.config.privacy
        accountant = create_accountant(mechanism=ACCOUNTANT)
        accountant.history = [(noise, self.sample_rate, steps)]
        with _quiet_accountant():
            epsilon = float(accountant.get_epsilon(delta=privacy.delta))
        return Privacy(
            epsilon=epsilon,
            delta=privacy.delta,
            clip_norm=privacy.clip_norm,
            noise_multiplier=noise,
            sample_rate=self.sample_rate,
            steps=steps,
        )

    def batch(self, epoch: int, step: int) -> Batch:
        """A Poisson sample of the training examples; not a function of the seed, but secret."""
        index_B = torch.empty(0, dtype=torch.int64)
        while not len(index_B):
            drawn = torch.rand(self.task.examples, generator=self._secret) < self.sample_rate
            index_B = drawn.nonzero().squeeze(1)
        return self.task.gather(index_B, epoch)

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """As the task does, on data that are not protected."""
        return self.task.validate(network, folder, epoch)


def _in_planes(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Opacus unfolds a convolution's input by its strides and takes it to lie in planes (NCHW); of
    one in channels-last order it would take pixels that belong to other places and examples.
    """
    return tuple(x_BCHW.contiguous() for x_BCHW in inputs)


@contextmanager
def _quiet_accountant() -> Iterator[None]:
    """Without its advice on the orders of a bound that only sizes its grid."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield


def _check(task: Task, config: KindConfig) -> None:
    if len(task.phases) != 1 or not task.examples:
        raise ConfigError(
            "privacy.epsilon is set, but this kind cannot be trained privately: a step of it reads "
            "the training examples in more than one way",
            field="privacy.epsilon",
        )
    fit = config.fit
    require(
        fit.clip_norm == 0,
        "fit.clip_norm",
        fit.clip_norm,
        "0 with privacy, which clips each example's gradient to privacy.clip_norm",
    )
    require(
        fit.batch_size >= FEWEST_EXAMPLES,
        "fit.batch_size",
        fit.batch_size,
        f"{FEWEST_EXAMPLES} or more with privacy; larger ones drown more of the noise",
    )
    require(
        fit.batch_size <= task.examples // 2,
        "fit.batch_size",
        fit.batch_size,
        f"at most half of the {task.examples} training examples with privacy",
    )
    name = config.optimizer.name
    require(
        name != "muon",
        "optimizer.name",
        name,
        "sgd, adam or adamw with privacy, which adds to them",
    )
    require(fit.precision != "bfloat16", "fit.precision", fit.precision, "float32 with privacy")


def natural_noise(images: int = 256, size: int = 32) -> torch.Tensor:
    """Pictures of nothing with the statistics of photographs: float32 [images,3,size,size], mean 0
    and deviation 1.

    Amplitudes fall with the frequency (Field 1987), and channels share most of what they show. The
    same ones every time.
    """
    draw = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(size)
    radius = torch.hypot(frequency[:, None], frequency[None, :]).clamp_min(1 / size)
    shared = torch.randn((images, 1, size, size), generator=draw)
    own = torch.randn((images, 3, size, size), generator=draw)
    spectrum = torch.fft.fft2(shared + 0.3 * own) / radius**FALL
    noise_BCHW: torch.Tensor = torch.fft.ifft2(spectrum).real
    return (noise_BCHW - noise_BCHW.mean()) / noise_BCHW.std()
