"""The training loop: minibatches, a progress bar, a held-out bound each epoch.

    history = train(model, train_x, valid_x, epochs=10)

All randomness is a function of (seed, epoch, purpose), so that the same seed gives the same run.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from minivae import blas
from minivae.arrays import Array, generator, like, namespace
from minivae.datasets import Streamed, binarise
from minivae.distributions import Bernoulli
from minivae.models.base import Model
from minivae.optimizers import Adam, Optimizer

SHUFFLE, NOISE, BINARISE, VALIDATION = 2, 3, 4, 5  # purposes; 1 is the initial theta

Row = dict[str, float]


@dataclass
class History:
    """One row for each epoch: its number, the means of train and validation, the seconds it took.

    The numbers of train are averaged during the epoch, while the weights change; those of valid are
    taken after it.

    The columns are the terms of the objective, in nats per example: "train_elbo",
    "train_reconstruction", "train_kl", "valid_elbo", ...
    """

    rows: list[Row] = field(default_factory=list)

    def __getitem__(self, column: str) -> list[float]:
        """A column, for a plot."""
        return [row[column] for row in self.rows]


class Meter:
    """Sums of an objective's terms over many batches, kept where they were computed.

    A sum is read, which on a GPU waits for all that was launched, only in `means`; so is the check
    that every loss was finite.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.losses: Any = 0.0
        self.n = 0

    def add(self, result: Any) -> None:
        """Add a batch: each example counts once, also in a smaller last batch."""
        for name, values in result.terms().items():
            xp = namespace(values)
            total = xp.sum(values, dtype=xp.float64)
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.losses = self.losses + result.loss
        self.n += int(values.shape[0])

    def means(self) -> dict[str, float]:
        """The mean of each term over all examples, in nats.

        Raises  FloatingPointError if a loss was not finite.
        """
        if not math.isfinite(float(self.losses)):
            raise FloatingPointError("the loss is not finite: try a smaller learning rate")
        return {name: float(total) / self.n for name, total in self.sums.items()}


def train(
    model: Model,
    x: Array,
    valid_x: np.ndarray | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer | None = None,
    seed: int = 0,
    binarisation: str = "none",
    progress: bool | None = True,
    after_epoch: Callable[[Row], None] | None = None,
    **options: Any,
) -> History:
    """Minimise the model's loss over minibatches of ``x``.

    x, valid_x    (N, D) NumPy arrays; valid_x may be None or empty.  They are moved to the model's
                  device once, in its dtype.  An x that is `Streamed` stays where it is; its batches
                  are moved one by one.
    optimizer     Adam with its defaults if None.
    binarisation  "new" draws black and white from grey afresh each time an example is used; with
                  "none" x is used as it is.  Validation data are used as they are.
    progress      a bar on standard error; None shows it only on a terminal.
    after_epoch   called with each row of the history.
    options       go to the model's objective while training: kl_weight, free_bits, samples.
                  Validation uses the plain objective: weights and floors do not leak into it.
    Raises        ValueError for sizes below 1 or an x of another width; FloatingPointError if the
                  loss is not finite.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"expected {name} of at least 1, got {value}")
    optimizer = optimizer or Adam()
    few = blas_threads(model, batch_size * options.get("samples", 1))
    train_x = model.array(model.check(x))  # leaves alone what is no NumPy array
    held_out = None
    if valid_x is not None and len(valid_x):
        held_out = model.array(model.check(valid_x))
    if (
        model.likelihood is Bernoulli
        and binarisation != "new"
        and _is_grey(x if isinstance(x, np.ndarray) else x[:1000])
    ):
        warnings.warn(
            "grey pixels under a Bernoulli: the numbers are no likelihood; "
            "binarisation='new' draws black and white",
            stacklevel=2,
        )
    history = History()
    with _bar(epochs * len(x), progress) as bar, blas.threads(few):
        for epoch in range(epochs):
            start = time.perf_counter()
            bar.set_description(f"epoch {epoch + 1}/{epochs}", refresh=False)
            means = _one_epoch(
                model, train_x, epoch, batch_size, optimizer, seed, binarisation, options, bar
            )
            row: Row = {"epoch": epoch + 1, **_prefixed("train", means)}
            if held_out is not None:
                rng = generator(model.device, seed, 0, VALIDATION)  # the same noise every epoch
                row |= _prefixed("valid", evaluate_objective(model, held_out, rng))
            _require_finite(model.parameters.theta)
            row["seconds"] = time.perf_counter() - start
            history.rows.append(row)
            if after_epoch is not None:
                after_epoch(row)
    return history


def evaluate_objective(model: Model, x: Array, rng: Any, batch_size: int = 500) -> dict[str, float]:
    """The plain objective's terms, averaged over ``x`` (N, D), in nats per example."""
    meter = Meter()
    for start in range(0, x.shape[0], batch_size):
        stop = min(start + batch_size, x.shape[0])
        meter.add(model.objective(x[start:stop, :], rng, gradient=False))
    return meter.means()


def blas_threads(model: Model, rows: int) -> int | None:
    """The BLAS threads that `train` uses: 1 for a small network, None for all there are.

    rows  of a batch, times the samples of each example.
    """
    views = model.parameters.views(model.parameters.theta).values()
    return blas.worthwhile_threads(rows * max(math.prod(view.shape) for view in views))


def batches(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The indices 0..n-1 in random order, in batches; the last one may be smaller."""
    order = rng.permutation(n)
    return (order[i : i + batch_size] for i in range(0, n, batch_size))


def _require_finite(theta: Array) -> None:
    if not math.isfinite(float(namespace(theta).sum(theta))):
        raise FloatingPointError("the parameters are not finite: try a smaller learning rate")


def _is_grey(x: np.ndarray) -> bool:
    return bool(((x != 0.0) & (x != 1.0)).any())


def _bar(examples: int, progress: bool | None) -> Any:
    return tqdm(
        total=examples,
        unit="ex",
        unit_scale=True,
        smoothing=0.1,
        disable=None if progress is None else not progress,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {rate_fmt}, {remaining} left{postfix}",
        dynamic_ncols=True,
    )


def _one_epoch(
    model: Model,
    x: Array,
    epoch: int,
    batch_size: int,
    optimizer: Optimizer,
    seed: int,
    binarisation: str,
    options: dict[str, Any],
    bar: Any,
) -> dict[str, float]:
    parameters, meter = model.parameters, Meter()
    noise = generator(model.device, seed, epoch, NOISE)
    pixels = generator(model.device, seed, epoch, BINARISE)
    order = generator("cpu", seed, epoch, SHUFFLE)
    every = 20 if model.device == "cpu" else 100  # how often to wait for the numbers and show them
    for step, rows in enumerate(batches(x.shape[0], batch_size, order)):
        batch = binarise(_rows(model, x, rows), binarisation, pixels)
        parameters.zero_grad()
        meter.add(model.objective(batch, noise, **options))
        optimizer.step(parameters.theta, parameters.grad)
        if step % every == 0:
            bar.set_postfix_str(_shown(meter.means()), refresh=False)
        bar.update(len(rows))
    bar.set_postfix_str(_shown(meter.means()))
    return meter.means()


def _rows(model: Model, x: Array, rows: np.ndarray) -> Array:
    if isinstance(x, Streamed):
        return model.array(x[rows])
    return namespace(x).take(x, like(rows, x), axis=0)


def _shown(means: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in means.items()) + " nats"


def _prefixed(prefix: str, means: dict[str, float]) -> Row:
    return {f"{prefix}_{name}": value for name, value in means.items()}
