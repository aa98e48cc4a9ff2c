"""Rungs about runs: training against a loop that is written by hand, and what is kept of it."""

import hashlib
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from minivae import objectives, training
from minivae.datasets import load_digits
from minivae.models import IWAE, VAE, Architecture
from minivae.optimizers import Adam
from minivae.runs import checkpoint
from minivae.schedules import LinearWarmUp
from minivae.verify.figures import Figure, Setting, worst

SHUFFLE, NOISE, BINARISE, VALIDATION = 2, 3, 4, 5
"""The purposes of the noise, by number: those that every run since the first has had."""

Options = dict[str, Any]

RUNS: dict[str, Options] = {
    "the plain ELBO": {},
    "three samples and free bits": {"samples": 3, "free_bits": 0.2},
    "a KL weight and its warm-up": {"kl_weight": 0.5, "kl_schedule": LinearWarmUp(8)},
    "clipping and a rate that rises": {"clip": 1.0, "learning_rate_schedule": LinearWarmUp(9)},
    "pixels that are drawn anew": {"binarisation": "new"},
    "the importance-weighted bound": {"samples": 3},
}
"""What is asked of `train`, one run each; the last trains an IWAE."""


def training_run(setting: Setting) -> list[Figure]:
    """theta after some epochs, and the history's numbers, against fifteen lines of NumPy.

    The batches do not divide the data, and the last one is smaller.
    """
    digits, epochs = load_digits(), setting.pick(2, 2, 10)
    figures, reported = [], 0.0
    for name, options in RUNS.items():
        x = digits.train.x[:50].astype(np.float64)
        x = x if "binarisation" in options else np.rint(x)
        valid = np.rint(digits.valid.x[:30]).astype(np.float64)
        kind = IWAE if name == "the importance-weighted bound" else VAE
        model, other = (kind(Architecture(64, 3, (8,)), dtype="float64") for _ in range(2))
        means = _by_hand(other, x, valid, epochs, **options)
        history = training.train(
            model, x, valid, epochs=epochs, batch_size=16, optimizer=Adam(0.01), seed=7,
            progress=False, **options,
        )  # fmt: skip
        off = worst(np.abs(model.parameters.theta - other.parameters.theta))
        figures.append(Figure(name, off, 1e-9, "of theta"))
        bound = "iwae" if kind is IWAE else "elbo"
        row = [history.rows[-1][f"{part}_{bound}"] for part in ("train", "valid")]
        reported = worst(reported, np.abs(np.subtract(row, means)))
    return [
        *figures,
        Figure("bounds that the history reports", reported, 1e-8, "nats"),
        Figure("theta that is kept against the best epoch's", _kept(), 0.0, "of theta"),
    ]


def files(setting: Setting) -> list[Figure]:
    """A checkpoint gives back every bit; one that holds a pickled command does not run it."""
    _ran.clear()
    with tempfile.TemporaryDirectory() as name:
        folder, theta = Path(name), np.random.default_rng(61).normal(size=5).astype(np.float32)
        got = _read(folder, theta)
        lost = 1.0 if got is None else float((~(got == theta)).sum())
        wrong = _read(folder, np.array([_Command()] * 5, dtype=object))
    refused = float(wrong is not None)
    return [
        Figure("numbers that a checkpoint changes", lost, 0.0, "of 5"),
        Figure("commands that a checkpoint could run", float(len(_ran)), 0.0, "commands"),
        Figure("checkpoints of objects that are taken", refused, 0.0, "files"),
    ]


def _by_hand(
    model: VAE, x: np.ndarray, valid: np.ndarray, epochs: int, samples: int = 1,
    kl_weight: float = 1.0, free_bits: float = 0.0, clip: float = math.inf, binarisation: str = "",
    kl_schedule: Any = None, learning_rate_schedule: Any = None,
) -> tuple[float, float]:  # fmt: skip
    """Adam on minibatches of 16; the mean bound of the last epoch, and of held-out data."""
    theta, grad = model.parameters.theta, model.parameters.grad
    m = v = np.zeros_like(theta)
    step = 0
    for epoch in range(epochs):
        order, noise, pixels = (
            _generator(epoch, purpose) for purpose in (SHUFFLE, NOISE, BINARISE)
        )
        permutation, total = order.permutation(len(x)), 0.0
        for start in range(0, len(x), 16):
            batch = x[permutation[start : start + 16]]
            if binarisation:
                batch = (pixels.random(batch.shape) < batch).astype(np.float64)
            weight = kl_weight * (kl_schedule(step) if kl_schedule else 1.0)
            grad[...] = 0.0
            total += _bound(model, batch, noise, samples, weight, free_bits, True)
            g = grad * min(1.0, clip / math.sqrt(float((grad * grad).sum())))
            rate = 0.01 * (learning_rate_schedule(step) if learning_rate_schedule else 1.0)
            step += 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            theta -= rate * m / (1.0 - 0.9**step) / (np.sqrt(v / (1.0 - 0.999**step)) + 1e-8)
    samples = samples if isinstance(model, IWAE) else 1  # weights and floors are no matter here
    held_out = _bound(model, valid, _generator(0, VALIDATION), samples, 1.0, 0.0, False)
    return total / len(x), held_out / len(valid)


def _kept() -> float:
    """Steps are so long that the best epoch is not the last one that patience waits for."""
    digits, seen = load_digits(), []
    model = VAE(Architecture(64, 3, (8,)))

    def look(row: training.Row) -> None:
        seen.append((row["valid_elbo"], model.parameters.theta.copy()))

    training.train(
        model, np.rint(digits.train.x[:40]), np.rint(digits.valid.x[:30]), epochs=30, batch_size=20,
        optimizer=Adam(0.1), patience=2, progress=False, after_epoch=look,
    )  # fmt: skip
    best = max(range(len(seen)), key=lambda epoch: seen[epoch][0])
    late = float(best == len(seen) - 1)  # then nothing was shown
    return worst(late, np.abs(model.parameters.theta - seen[best][1]))


def _generator(epoch: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((7, epoch, purpose)))


def _bound(
    model: VAE, x: np.ndarray, noise: np.random.Generator, samples: int, weight: float,
    floor: float, gradient: bool,
) -> float:  # fmt: skip
    """The sum of the bound that the model trains by."""
    eps = noise.standard_normal((samples, len(x), 3))
    if isinstance(model, IWAE):
        return float(objectives.iwae(model, x, eps, gradient).bound.sum())
    return float(objectives.elbo(model, x, eps, weight, floor, gradient).elbo.sum())


_ran: list[str] = []


def _run() -> float:
    _ran.append("a command")
    return 0.0


class _Command:
    """What it is pickled as is a call: whoever unpickles it, makes the call."""

    def __reduce__(self) -> Any:
        return _run, ()


def _read(folder: Path, values: np.ndarray) -> np.ndarray | None:
    """A file with this array, as `checkpoint` reads it; None if it refuses."""
    buffer = io.BytesIO()
    np.savez(buffer, theta=values)
    content = buffer.getvalue()
    (folder / "last.npz").write_bytes(content)
    entry = {
        "file": "last.npz", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    try:
        return checkpoint.read_arrays(folder, entry, {"theta": ((5,), "float32")})["theta"]
    except ValueError:
        return None
