"""The collapse laboratory: make posterior collapse on purpose, and try every cure on every cause.

    results = [experiment(cause, cure, digits) for cause in CAUSES for cure in CURES]

An experiment trains one small VAE and looks, every few epochs, at what its latents do on held-out
images.  A collapsed posterior is q(z|x) = p(z) for all x: the code says nothing, and the decoder is
a model of the data that ignores it.

    causes    nothing       a shallow network and weight 1, which needs no cure
              kl-weight     what is said costs several times its nats
              no-warm-up    a deep decoder that is charged for the code before it can read it
              dead-decoder  units that no code switches on
              made-decoder  a decoder that predicts each pixel from those before it
              shortcut      the decoder sees the image; its loss is an objective, not a bound
    cures     none, warm-up, cyclical, free-bits, kl-floor, aggressive

Everything is a function of (seed, epoch, purpose), so an experiment gives the same numbers alone or
beside others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minivae import blas
from minivae.arrays import Array, generator, standard_normal, to_numpy
from minivae.datasets import Dataset, binarise
from minivae.evaluation import Estimate
from minivae.evaluation.surgery import surgery
from minivae.evaluation.usage import latent_usage
from minivae.lab.collapse_models import (
    PixelByPixel,
    PixelByPixelVAE,
    ShortcutVAE,
    WithShortcut,
    log_px,
    with_dead_units,
)
from minivae.lab.evidence import heard
from minivae.models import VAE, Architecture, smoothed_mean
from minivae.optimizers import Adam
from minivae.schedules import Cyclical, LinearWarmUp
from minivae.training import BINARISE, NOISE, SHUFFLE, batches

INNER, LOOKING = 32, 33
"""Purposes of generators: the encoder's own steps, and the draws of a measurement."""

SHALLOW, DEEP = (64,), (64,) * 5


@dataclass(frozen=True)
class Cause:
    """A way to make collapse.

    make       (mean of the data (D,), number of latents, seed) -> a model
    kl_weight  in the loss, all the way
    is_bound   False where the loss is an objective and no bound on log p(x)
    """

    name: str
    what: str
    make: Callable[[np.ndarray, int, int], VAE]
    kl_weight: float = 1.0
    is_bound: bool = True


@dataclass(frozen=True)
class Cure:
    """A way to train against it.

    options     of the objective: free_bits, kl_floor
    schedule    number of steps -> a factor of the KL weight for each step
    aggressive  the encoder takes steps of its own before each step of the decoder
    """

    name: str
    what: str
    options: dict[str, float] = field(default_factory=dict)
    schedule: Callable[[int], Callable[[int], float]] | None = None
    aggressive: bool = False


def _plain(hidden: tuple[int, ...]) -> Callable[[np.ndarray, int, int], VAE]:
    return lambda mean, K, seed: VAE(Architecture(len(mean), K, hidden), mean, seed)


def _dead(mean: np.ndarray, K: int, seed: int) -> VAE:
    return with_dead_units(_plain(SHALLOW)(mean, K, seed))


def _made_decoder(mean: np.ndarray, K: int, seed: int) -> VAE:
    return PixelByPixelVAE(PixelByPixel(len(mean), K, SHALLOW), mean, seed)


def _shortcut(mean: np.ndarray, K: int, seed: int) -> VAE:
    return ShortcutVAE(WithShortcut(len(mean), K, SHALLOW), mean, seed)


CAUSES = {
    cause.name: cause
    for cause in (
        Cause("nothing", "one hidden layer, KL weight 1", _plain(SHALLOW)),
        Cause("kl-weight", "KL weight 8", _plain(SHALLOW), kl_weight=8.0),
        Cause("no-warm-up", "five hidden layers, full KL weight from step 0", _plain(DEEP)),
        Cause("dead-decoder", "the decoder's first units are off for every code", _dead),
        Cause("made-decoder", "the decoder sees the pixels before each", _made_decoder),
        Cause("shortcut", "the decoder sees the image", _shortcut, is_bound=False),
    )
}
CURES = {
    cure.name: cure
    for cure in (
        Cure("none", "no cure"),
        Cure("warm-up", "KL weight from 0 over the first half",
             schedule=lambda steps: LinearWarmUp(max(1, steps // 2))),
        Cure("cyclical", "four cycles of the KL weight",
             schedule=lambda steps: Cyclical(max(2, steps), max(1, min(4, steps // 2)))),
        Cure("free-bits", "0.2 nats of each latent are free", {"free_bits": 0.2}),
        Cure("kl-floor", "2 nats of the KL in total are free", {"kl_floor": 2.0}),
        Cure("aggressive", "the encoder steps alone until the bound stops rising", aggressive=True),
    )
}  # fmt: skip


class Look(NamedTuple):
    """What the latents do on held-out images after an epoch.

    kl                  (K,)  nats per example
    variance            (K,)  of the posterior mean over the data, in units of the prior's
    mutual_information  nats, at most ln N
    """

    epoch: int
    kl: np.ndarray
    variance: np.ndarray
    mutual_information: Estimate

    @property
    def active(self) -> int:
        """Active units by the rule of Burda and others: the variance of the mean exceeds 0.01."""
        return int((self.variance > 0.01).sum())


class Result(NamedTuple):
    """One experiment; all in nats per held-out example.

    bound     the plain ELBO; where ``is_bound`` is False an objective of the same formula
    heard     how much worse log p(x|z) is with the code of another example
    encoder_steps, decoder_steps   that training took: aggressive updates are not free
    """

    cause: str
    cure: str
    is_bound: bool
    looks: list[Look]
    bound: Estimate
    heard: Estimate
    encoder_steps: int
    decoder_steps: int

    @property
    def last(self) -> Look:
        """After the last epoch."""
        return self.looks[-1]


@dataclass(frozen=True)
class Setting:
    """What all experiments share."""

    latent: int = 10
    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 2e-3
    looks: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("latent", "epochs", "batch_size", "looks"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"expected a seed of at least 0, got {self.seed}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"expected a positive learning_rate, got {self.learning_rate}")


def experiment(cause: str, cure: str, data: Dataset, setting: Setting | None = None) -> Result:
    """Train one VAE with a cause of collapse and a cure, and look at it on held-out images.

    data    grey images in train, which are drawn black and white at every use; valid and test
            as `binarise_splits` leaves them, both of which are only looked at.
    Raises  ValueError, one line, for a name that is in neither list.
    """
    for name, known in ((cause, CAUSES), (cure, CURES)):
        if name not in known:
            raise ValueError(f"expected one of {', '.join(known)}, got {name!r}")
    made, against, setting = CAUSES[cause], CURES[cure], setting or Setting()
    model = made.make(smoothed_mean(data.train.x), setting.latent, setting.seed)
    held = np.concatenate([data.valid.x, data.test.x])
    training = Climb(model, data.train.x, made, against, setting)
    looks = [look(model, held, 0)]
    with blas.threads(1):
        for epoch in range(setting.epochs):
            training.epoch(epoch)
            done = epoch + 1
            if done == setting.epochs or done % max(1, setting.epochs // setting.looks) == 0:
                looks.append(look(model, held, done))
    rng = generator("cpu", setting.seed, 0, LOOKING)
    terms = model.objective(held, rng, gradient=False, samples=8)
    z = model.encode(held).sample(standard_normal(rng, (len(held), setting.latent), held))
    return Result(
        cause, cure, made.is_bound, looks, Estimate.of(to_numpy(terms[0]).astype(np.float64)),
        heard(lambda z: to_numpy(log_px(model, held, z)).astype(np.float64), z).together,
        training.encoder_steps, training.decoder_steps,
    )  # fmt: skip


def look(model: VAE, x: np.ndarray, epoch: int) -> Look:
    """Look at the latents on examples x (N, D).  The same noise at every look."""
    use = latent_usage(model, x)
    information = surgery(model, x, generator("cpu", 0, 0, LOOKING)).mutual_information
    return Look(epoch, use.kl, use.variance, information)


class Climb:
    """The training of one experiment: with the cure "none" step by step that of `train`.

    The encoder's parameters come first in theta, so the encoder and the decoder are two slices, and
    each has an Adam of its own.  As Adam treats every number by itself, two that step together
    are one.  Aggressive training lets the encoder's step alone.
    """

    def __init__(
        self, model: VAE, x: np.ndarray, cause: Cause, cure: Cure, setting: Setting
    ) -> None:
        self.model, self.x, self.cure, self.setting = model, x, cure, setting
        self.steps = -(-len(x) // setting.batch_size)
        total = self.steps * setting.epochs
        self.factor = cure.schedule(total) if cure.schedule else lambda step: 1.0
        self.options: dict[str, Any] = dict(cure.options)
        self.kl_weight = cause.kl_weight
        names = model.parameters.views(model.parameters.theta)
        split = sum(view.size for name, view in names.items() if name.startswith("encoder."))
        self.parts = (slice(split), slice(split, None))
        self.adams = (Adam(setting.learning_rate), Adam(setting.learning_rate))
        self.inner = generator("cpu", setting.seed, 0, INNER)
        self.aggressive, self.best_information = cure.aggressive, -math.inf
        self.encoder_steps = self.decoder_steps = 0

    def epoch(self, epoch: int) -> None:
        """One pass over the data."""
        noise, pixels, order = (
            generator("cpu", self.setting.seed, epoch, p) for p in (NOISE, BINARISE, SHUFFLE)
        )
        for i, rows in enumerate(batches(len(self.x), self.setting.batch_size, order)):
            weight = self.kl_weight * self.factor(epoch * self.steps + i)
            if self.aggressive:
                self._catch_up(weight)
            self._gradient(binarise(self.x[rows], "new", pixels), noise, weight)
            self._step(encoder=not self.aggressive, decoder=True)
        if self.aggressive:
            self._judge(epoch)

    def _catch_up(self, weight: float, most: int = 20, window: int = 5) -> None:
        """Steps of the encoder alone, until the loss of a few batches is no longer falling.

        He and others stop when the loss, averaged over ten batches, no longer falls; we average
        over five and take at most twenty steps.
        """
        before = math.inf
        for _ in range(most // window):
            losses = 0.0
            for _ in range(window):
                rows = self.inner.integers(0, len(self.x), self.setting.batch_size)
                batch = binarise(self.x[rows], "new", self.inner)
                losses += self._gradient(batch, self.inner, weight)
                self._step(encoder=True, decoder=False)
            if losses >= before:
                return
            before = losses

    def _judge(self, epoch: int) -> None:
        """Stop being aggressive when the mutual information no longer rises."""
        x = binarise(self.x[:500], "fixed", generator("cpu", 0, 0, BINARISE))
        rng = generator("cpu", self.setting.seed, epoch, LOOKING)
        now = surgery(self.model, x, rng).mutual_information.mean
        self.aggressive = now > self.best_information
        self.best_information = max(now, self.best_information)

    def _gradient(self, batch: Array, noise: Any, weight: float) -> float:
        self.model.parameters.zero_grad()
        result = self.model.objective(batch, noise, kl_weight=weight, **self.options)
        loss = float(result.loss)
        if not math.isfinite(loss):
            raise FloatingPointError("the loss is not finite: a smaller --learning-rate")
        return loss

    def _step(self, encoder: bool, decoder: bool) -> None:
        theta, grad = self.model.parameters.theta, self.model.parameters.grad
        for wanted, part, adam in zip((encoder, decoder), self.parts, self.adams, strict=True):
            if wanted:
                adam.step(theta[part], grad[part])
        self.encoder_steps += encoder
        self.decoder_steps += decoder
