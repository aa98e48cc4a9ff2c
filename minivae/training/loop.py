"""The training loop: minibatches, schedules, a progress bar, a held-out bound each epoch.

    history = train(model, train_x, valid_x, epochs=10)
    history = train(model, train_x, valid_x, epochs=20, history=history)    # ten more

All randomness is a function of (seed, epoch, purpose), and a schedule of the step alone.  So the
same seed gives the same run, and a run that was interrupted needs no saved generator to go on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minivae import blas
from minivae.arrays import Array, copy, generator
from minivae.datasets import binarise
from minivae.models.base import Model
from minivae.optimizers import Adam, Optimizer, clip_by_global_norm
from minivae.training.batches import Fetch, batches, conditions, fetcher
from minivae.training.failure import check_state, nothing_lost
from minivae.training.history import History, Meter, Row

SHUFFLE, NOISE, BINARISE, VALIDATION = 2, 3, 4, 5  # purposes; 1 is the initial theta
START, RENEW = 8, 9  # of `Model.start` and `Model.after_epoch`

Schedule = Callable[[int], float]
"""A factor for each optimiser step, counted from 0; see `minivae.schedules`."""


@dataclass(frozen=True)
class Plan:
    """What does not change from epoch to epoch; see `train`."""

    batch_size: int
    seed: int
    binarisation: str
    learning_rate_schedule: Schedule | None
    kl_schedule: Schedule | None
    clip: float | None
    options: dict[str, Any]


def train(
    model: Model,
    x: np.ndarray,
    valid_x: np.ndarray | None = None,
    *,
    y: np.ndarray | None = None,
    valid_y: np.ndarray | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer | None = None,
    learning_rate_schedule: Schedule | None = None,
    kl_schedule: Schedule | None = None,
    clip: float | None = None,
    patience: int | None = None,
    seed: int = 0,
    binarisation: str = "none",
    progress: bool | None = True,
    history: History | None = None,
    keep_best: bool = True,
    after_epoch: Callable[[Row], None] | None = None,
    **options: Any,
) -> History:
    """Minimise the model's loss over minibatches of ``x``.

    x, valid_x    (N, D) NumPy arrays; valid_x may be None or empty.  They are moved to the model's
                  device once, in its dtype.  An ``x`` whose rows are still on a disk (a memory map,
                  `minivae.datasets.Streamed`) stays there, and each batch is fetched by itself.
    y, valid_y    (N, C) the conditions of a conditional model, beside x and valid_x.
    epochs        in all, those of ``history`` included.
    optimizer     Adam with its defaults if None.
    learning_rate_schedule, kl_schedule
                  factors of the optimiser's learning rate and of kl_weight at each step.
    clip          the largest norm that the gradient of all parameters together may have.
    patience      stop after so many epochs without a better held-out bound, and go back to the
                  parameters of the best one (unless keep_best is False).  A call that goes on with
                  the history goes on from the last.
    binarisation  "new" draws black and white from grey afresh each time an example is used; with
                  "none" x is used as it is.  Validation data are used as they are.
    progress      a bar on standard error; None shows it only on a terminal.
    history       of the same training so far, to go on from: give the same optimiser, too.  Without
                  it the epochs count from 1, and a second call repeats the noise of the first.
    after_epoch   called with each row of the history.
    options       go to the model's objective while training: kl_weight, free_bits, kl_floor,
                  samples.  Validation uses the plain objective: weights and floors do not leak
                  into it, only what says which bound it is (``model.BOUND``).
    Raises        ValueError for sizes below 1 or an x of another width; FloatingPointError if the
                  loss is not finite, which names the layer or term that failed first.  Model,
                  optimiser and history are then as they were after the last good epoch.
    """
    _check_sizes(epochs, batch_size, clip, patience, valid_x)
    optimizer = Adam() if optimizer is None else optimizer
    history = History() if history is None else history
    plan = Plan(
        batch_size, seed, binarisation, learning_rate_schedule, kl_schedule, clip, options
    )  # fmt: skip
    few = blas_threads(model, batch_size * options.get("samples", 1))
    model.check(x)
    fetch = fetcher(model, x, conditions(model, x, y))
    held_out, held_out_y = None, None
    if valid_x is not None and len(valid_x):
        held_out = model.array(model.check(valid_x))
        held_out_y = conditions(model, valid_x, valid_y)
    bound = {name: options[name] for name in model.BOUND if name in options}
    if binarisation != "new":
        model.warn_if_grey(x)
    if history.last_theta is not None:  # where the training stood, before it went back to the best
        model.parameters.theta[...] = history.last_theta
        history.last_theta = None
    first = len(history.rows)
    if first == 0:
        model.start(x, generator("cpu", seed, 0, START))
    with _bar(first, epochs, len(x), progress) as bar, blas.threads(few):
        for epoch in range(first, epochs):
            if patience is not None and history.stale >= patience:
                break
            start = time.perf_counter()
            bar.set_description(f"epoch {epoch + 1}/{epochs}", refresh=False)
            one_epoch = partial(_one_epoch, model, fetch, len(x), epoch, optimizer, plan)
            with nothing_lost(model.parameters, optimizer, history, one_epoch):
                means = one_epoch(bar)
                means |= model.after_epoch(generator("cpu", seed, epoch, RENEW))
                row: Row = {"epoch": epoch + 1, **_prefixed("train", means)}
                if held_out is not None:
                    rng = generator(model.device, seed, 0, VALIDATION)  # the same every epoch
                    row |= _prefixed(
                        "valid", evaluate_objective(model, held_out, rng, y=held_out_y, **bound)
                    )
                check_state(model.parameters, optimizer)
                row["seconds"] = time.perf_counter() - start
                history.add(row, model.parameters.theta)
            if after_epoch is not None:
                after_epoch(row)
    if patience is not None and keep_best and history.best_theta is not None:
        history.last_theta = copy(model.parameters.theta)
        model.parameters.theta[...] = history.best_theta
    return history


def evaluate_objective(
    model: Model,
    x: Array,
    rng: Any,
    batch_size: int = 500,
    y: Array | None = None,
    **options: Any,
) -> dict[str, float]:
    """The plain objective's terms, averaged over ``x`` (N, D), in nats per example.

    y        (N, C) the conditions of a conditional model.
    options  of the objective; none for the plain one.
    """
    meter = Meter()
    for start in range(0, x.shape[0], batch_size):
        stop = min(start + batch_size, x.shape[0])
        given = {} if y is None else {"y": y[start:stop, :]}
        meter.add(model.objective(x[start:stop, :], rng, gradient=False, **given, **options))
    return meter.means()


def blas_threads(model: Model, rows: int) -> int | None:
    """The BLAS threads that `train` uses: 1 for a small network, None for all there are.

    rows  of a batch, times the samples of each example.
    """
    views = model.parameters.views(model.parameters.theta).values()
    return blas.worthwhile_threads(rows * max(math.prod(view.shape) for view in views))


def _one_epoch(
    model: Model,
    fetch: Fetch,
    n: int,
    epoch: int,
    optimizer: Optimizer,
    plan: Plan,
    bar: Any = None,
    look: Callable[[int, Any], None] | None = None,
) -> dict[str, float]:
    """One pass over n examples; ``look`` sees the number of each step in it, and its result."""
    parameters, meter = model.parameters, Meter()
    noise = generator(model.device, plan.seed, epoch, NOISE)
    pixels = generator(model.device, plan.seed, epoch, BINARISE)
    order = generator("cpu", plan.seed, epoch, SHUFFLE)
    steps = -(-n // plan.batch_size)
    every = 20 if model.device == "cpu" else 100  # how often to wait for the numbers and show them
    rate = optimizer.learning_rate
    model.before_epoch()
    try:
        for step, rows in enumerate(batches(n, plan.batch_size, order)):
            now = epoch * steps + step
            x, given = fetch(rows)
            x = binarise(x, plan.binarisation, pixels)
            parameters.zero_grad()
            result = model.objective(x, noise, **given, **_scheduled(plan, now))
            meter.add(result)
            if look is not None:
                look(step, result)
            if plan.clip is not None:
                clip_by_global_norm(parameters.grad, plan.clip)
            if plan.learning_rate_schedule is not None:
                optimizer.learning_rate = rate * plan.learning_rate_schedule(now)
            optimizer.step(parameters.theta, parameters.grad)
            model.after_step(result)
            if bar is not None:
                if step % every == 0:
                    bar.set_postfix_str(_shown(meter.means()), refresh=False)
                bar.update(len(rows))
    finally:
        optimizer.learning_rate = rate
    means = meter.means()
    if bar is not None:
        bar.set_postfix_str(_shown(means))
    return means


def _scheduled(plan: Plan, step: int) -> dict[str, Any]:
    """The options of the objective at a step."""
    if plan.kl_schedule is None:
        return plan.options
    weight = plan.options.get("kl_weight", 1.0) * plan.kl_schedule(step)
    return {**plan.options, "kl_weight": weight}


def _check_sizes(
    epochs: int, batch_size: int, clip: float | None, patience: int | None, valid_x: Any
) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if value is not None and value < 1:
            raise ValueError(f"expected {name} of at least 1, got {value}")
    if clip is not None and not 0.0 < clip < math.inf:
        raise ValueError(f"expected clip positive, got {clip}")
    if patience is not None and (valid_x is None or not len(valid_x)):
        raise ValueError("patience needs held-out data to watch: expected valid_x, got none")


def _bar(first: int, epochs: int, n: int, progress: bool | None) -> Any:
    from tqdm import tqdm  # only when there is something to show: importing minivae is quick

    return tqdm(
        initial=first * n,
        total=epochs * n,
        unit="ex",
        unit_scale=True,
        smoothing=0.1,
        disable=None if progress is None else not progress,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {rate_fmt}, {remaining} left{postfix}",
        dynamic_ncols=True,
    )


def _shown(means: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in means.items()) + " nats"


def _prefixed(prefix: str, means: dict[str, float]) -> Row:
    return {f"{prefix}_{name}": value for name, value in means.items()}
