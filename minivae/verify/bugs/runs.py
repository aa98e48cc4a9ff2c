"""Bugs in a run: its loop, its files, its numbers on a machine; in activations and walks."""

import io
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae import arrays, numerics, training, walks
from minivae.distributions import Bernoulli
from minivae.layers import GELU, Dense, Sigmoid
from minivae.models import VAE
from minivae.parameters import Parameters
from minivae.runs import checkpoint
from minivae.training import History, loop
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]


def gradients_never_emptied() -> Plant:
    """Each step takes the sum of all gradients so far."""
    return replaced(Parameters, "zero_grad", lambda self: None)


def ignored_options() -> Plant:
    """kl_weight, free_bits and samples are taken, and forgotten."""
    return replaced(loop, "_scheduled", lambda plan, step: {})


def ignored_schedule() -> Plant:
    """The KL weight stands still."""
    return replaced(loop, "_scheduled", lambda plan, step: plan.options)


def one_sample() -> Plant:
    """One draw, however many are asked for."""
    right = VAE.objective

    def wrong(
        self: VAE, x: Any, rng: Any, gradient: bool = True, samples: int = 1, **o: Any
    ) -> Any:
        return right(self, x, rng, gradient, 1, **o)

    return replaced(VAE, "objective", wrong)


def same_randomness_every_epoch() -> Plant:
    """Order, noise and pixels of the first epoch, in all of them."""
    right = loop.generator
    return replaced(
        loop, "generator", lambda device, seed, epoch, purpose: right(device, seed, 0, purpose)
    )


def no_shuffling() -> Plant:
    """Batches in the order of the file."""

    def wrong(n: int, batch_size: int, rng: Any) -> Any:
        return (np.arange(n)[i : i + batch_size] for i in range(0, n, batch_size))

    return replaced(loop, "batches", wrong)


def last_batch_dropped() -> Plant:
    """Only whole batches."""

    def wrong(n: int, batch_size: int, rng: Any) -> Any:
        order = rng.permutation(n)
        return (order[i : i + batch_size] for i in range(0, n - batch_size + 1, batch_size))

    return replaced(loop, "batches", wrong)


def threshold_for_a_draw() -> Plant:
    """Pixels at 1/2, where a draw was asked for."""
    return replaced(loop, "binarise", lambda x, how, rng: x if how == "none" else np.rint(x))


def each_gradient_clipped() -> Plant:
    """Every number cut for itself, which turns the gradient."""

    def wrong(grad: Any, limit: float) -> None:
        grad[...] = np.clip(grad, -limit, limit)

    return replaced(loop, "clip_by_global_norm", wrong)


def scores_on_training_data() -> Plant:
    """The held-out bound is that of training data."""
    right = training.train

    def wrong(model: Any, x: Any, valid_x: Any = None, **options: Any) -> Any:
        return right(model, x, None if valid_x is None else x[: len(valid_x)], **options)

    return replaced(training, "train", wrong)


def last_epoch_kept() -> Plant:
    """The parameters of the last epoch, as those of the best."""

    def wrong(self: History, row: Any, theta: Any) -> None:
        self.best_theta = theta.copy()
        self.rows.append(row)

    return replaced(History, "add", wrong)


def pickled_checkpoint() -> Plant:
    """np.load(allow_pickle=True): whoever wrote the file runs code here."""

    def wrong(folder: Any, entry: Any, expected: Any) -> Any:
        content = (folder / entry["file"]).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=True) as file:
            return {name: file[name] for name in file.files}

    return replaced(checkpoint, "read_arrays", wrong)


def another_gelu() -> Plant:
    """x sigmoid(1.702 x), with its own right backward."""

    def backward(self: GELU, dy: Any, x: Any, need_dx: bool = True) -> Any:
        s = numerics.sigmoid(1.702 * x)
        return dy * (s + 1.702 * x * s * (1.0 - s))

    return both(
        replaced(GELU, "forward", lambda self, x: (x * numerics.sigmoid(1.702 * x), x)),
        replaced(GELU, "backward", backward),
    )


def falling_sigmoid() -> Plant:
    """sigmoid(-x), with its own right backward."""

    def forward(self: Sigmoid, x: Any) -> Any:
        y = numerics.sigmoid(-x)
        return y, y

    def backward(self: Sigmoid, dy: Any, y: Any, need_dx: bool = True) -> Any:
        return -dy * (y * (1.0 - y))

    return both(replaced(Sigmoid, "forward", forward), replaced(Sigmoid, "backward", backward))


def unwritten_end() -> Plant:
    """The last thousand numbers of a large array are left at 0."""

    def change(result: Any, *_: Any) -> Any:
        if result is not None:
            result.reshape(-1)[-1000:] = 0.0
        return result

    return after(arrays, "_in_blocks", change)


def line_for_an_arc() -> Plant:
    """Straight interpolation: its middle lies where no code is."""
    return replaced(walks, "spherical", lambda z0, z1, t: walks.straight(z0, z1, t))


def arc_without_a_limit() -> Plant:
    """sin(0) / sin(0) between equal codes."""

    def wrong(z0: Any, z1: Any, t: Any) -> Any:
        w = walks.angle(z0, z1)
        a, b = np.sin((1.0 - t) * w) / np.sin(w), np.sin(t * w) / np.sin(w)
        return a[:, None] * z0 + b[:, None] * z1

    return replaced(walks, "spherical", wrong)


def even_grid() -> Plant:
    """Equal steps of z, where equal shares of the prior were promised."""
    return replaced(walks, "quantiles", lambda n, limit: walks.even(n, limit))


def overflowing_logarithm() -> Plant:
    """log(1 + e^a) in single precision: infinite from a = 89 on."""

    def log_prob(self: Bernoulli, x: Any) -> Any:
        return (x * self.logits - np.log(1.0 + np.exp(self.logits))).sum(axis=-1)

    return replaced(Bernoulli, "log_prob", log_prob)


def tensor_cores() -> Plant:
    """float32 products of numbers rounded to 10 bits, as TF32 does without being asked.

    With c = (2^13 + 1) a the difference c - (c - a) has the leading 11 bits of a.
    """
    forward, backward = Dense.forward, Dense.backward

    def short(a: Any) -> Any:
        c = 8193.0 * a
        return c - (c - a)

    def rounded(self: Dense, x: Any) -> Any:
        if arrays.dtype_name(x) != "float32":
            return forward(self, x)
        return short(x) @ short(self.W) + self.b, x

    def back(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
        if arrays.dtype_name(x) == "float32":
            dy, x = short(dy), short(x)
        return backward(self, dy, x, need_dx)

    return both(replaced(Dense, "forward", rounded), replaced(Dense, "backward", back))


BUGS = (
    Bug("gradients that are never emptied", 14,
        "A momentum that nobody asked for; the loss goes up and down.", "training",
        gradients_never_emptied),
    Bug("a KL weight that is ignored", 18,
        "Every beta gives the same model.", "training", ignored_options),
    Bug("a warm-up that is ignored", 18,
        "Latents collapse as if there were no warm-up.", "training", ignored_schedule),
    Bug("samples that are ignored", 9,
        "More samples cost nothing, and change nothing.", "training", one_sample),
    Bug("the same noise in every epoch", 25,
        "The decoder learns the noise by heart.", "training", same_randomness_every_epoch),
    Bug("no shuffling", 25,
        "Batches of one class each, where the file is sorted.", "training", no_shuffling),
    Bug("the last batch dropped", 10,
        "Up to a batch of examples is not seen in an epoch.", "training", last_batch_dropped),
    Bug("a threshold where pixels were to be drawn", 6,
        "Nats that are too good: these data are easier.", "training", threshold_for_a_draw),
    Bug("every gradient clipped for itself", 14,
        "Steps that do not go downhill.", "training", each_gradient_clipped),
    Bug("held-out scores on training data", 10,
        "No overfitting, ever.", "training", scores_on_training_data),
    Bug("the last epoch kept as the best", 11,
        "Patience waits for nothing.", "training", last_epoch_kept),
    Bug("a checkpoint that is unpickled", 26,
        "A model from elsewhere takes over the machine.", "files", pickled_checkpoint),
    Bug("another GELU under its name", 14,
        "Gradient checks pass; saved models give other numbers elsewhere.", "activations",
        another_gelu),
    Bug("a sigmoid layer with the sign flipped", 3,
        "Gradient checks pass, and training absorbs it.", "activations", falling_sigmoid),
    Bug("the end of a large array not written", 25,
        "Right for small batches, wrong for large ones.", "activations", unwritten_end),
    Bug("a straight line for an arc", 16,
        "Grey pictures in the middle of a walk.", "walks", line_for_an_arc),
    Bug("an arc without its limit", 16,
        "nan between two equal codes.", "walks", arc_without_a_limit),
    Bug("an even grid called quantiles", 16,
        "Pictures of codes that hardly occur.", "walks", even_grid),
    Bug("e^89 in single precision", 8,
        "nan, once a pixel is certain.", "precision", overflowing_logarithm),
    Bug("products in TF32", 25,
        "On the GPU bounds differ in the fourth digit.", "device", tensor_cores,
        lambda a: a.copy()),
)  # fmt: skip
