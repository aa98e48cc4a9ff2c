"""What the runs of a sweep say: their points in the plane of rate and distortion, and the hull.

    points = [measure(trial) for trial in trials]
    print(table(points))

The rate is the mean KL, the distortion -E_q log p(x|z), both in nats per example and of held-out
images; `minivae.evaluation.rate_distortion` says what they bound and why a sweep traces only the
lower convex hull.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minivae import exact, runs
from minivae.arrays import generator, to_numpy
from minivae.datasets import Dataset
from minivae.evaluation import (
    Estimate,
    RatePoint,
    Usage,
    latent_usage,
    lower_hull,
    rate_distortion,
    regrets,
)
from minivae.lab.sweep import Trial, shown
from minivae.models import VAE

RATE = 30  # the purpose of the generator's noise
SAMPLES = 10
"""Codes for each image; the spread over images is larger than theirs long before."""


class Linear(NamedTuple):
    """A linear VAE on its own training data, beside Shannon's curve of their covariance.

    got    rate in nats, squared error summed over pixels, as its parameters give them exactly.
    level  beta sigma^2, the water level; None if sigma was learned.
    """

    got: exact.RateDistortion
    level: float | None


class Measured(NamedTuple):
    """One point of a sweep.

    point   rate and distortion of the N test images.
    usage   of the latents on the same images.
    linear  for a VAE without hidden layers and with one Gaussian variance.
    """

    kl_weight: float
    folder: str
    point: RatePoint
    usage: Usage
    likelihood: str
    n: int
    linear: Linear | None


def measure(trial: Trial, samples: int = SAMPLES, seed: int = 0) -> Measured:
    """Measure a finished trial on the test images of its run.

    Raises  ValueError, one line, for a run that is damaged or is no VAE's.
    """
    model, config = runs.load_run(trial.folder)
    if not isinstance(model, VAE):
        raise ValueError(f"{trial.folder}: expected a VAE, which has a rate")
    dataset = runs.load_data(config, trial.folder)
    x = dataset.test.x
    point = rate_distortion(model, x, generator("cpu", seed, 0, RATE), samples)
    a = model.architecture
    return Measured(
        trial.kl_weight, trial.folder.name, point, latent_usage(model, x), a.likelihood, len(x),
        _linear(model, dataset, trial.kl_weight) if is_linear(model) else None,
    )  # fmt: skip


def is_linear(model: VAE) -> bool:
    """Whether Shannon's curve is the best that this VAE can do."""
    a = model.architecture
    return not a.hidden and a.likelihood == "gaussian" and a.variance != "pixel"


def _linear(model: VAE, dataset: Dataset, kl_weight: float) -> Linear:
    fixed = model.architecture.variance == "fixed"
    level = kl_weight * model.architecture.sigma**2
    got = exact.operating_point(model, np.asarray(dataset.train.x))
    return Linear(got._replace(rates=to_numpy(got.rates)), level if fixed and level else None)


def eigenvalues(trial: Trial) -> np.ndarray:
    """Of the covariance of the training data, the largest first: what Shannon's curve is made of.

    Raises  ValueError for a damaged run or data that are not there.
    """
    _, config = runs.load_run(trial.folder)
    return to_numpy(
        exact.Spectrum.of(np.asarray(runs.load_data(config, trial.folder).train.x)).eigenvalues
    )


def hull(points: Sequence[Measured]) -> list[int]:
    """The points that are corners of the lower convex hull, by rising rate."""
    R, D = _coordinates(points)
    return lower_hull(R, D)


def table(points: Sequence[Measured]) -> str:
    """All points as text: what they cost, what they leave, and which are corners of the hull."""
    R, D = _coordinates(points)
    corners, lost = set(hull(points)), regrets([p.kl_weight for p in points], R, D)
    K = len(points[0].usage.kl)
    rows = [
        ("KL weight", "rate", "distortion", "ELBO", f"active of {K}", "rate", "-ELBO", "hull"),
        ("", "nats", "nats", "nats", "", "bits/dim", "bits/dim", ""),
    ]
    for i, (p, regret) in enumerate(zip(points, lost, strict=True)):
        bits = p.point.bits_per_dimension
        mark = "corner" if i in corners else ""
        if regret >= 0.005:  # what does not round to 0.00
            best = min(range(len(points)), key=lambda j: D[j] + p.kl_weight * R[j])
            mark += f" {regret:.2f} nats behind {shown(points[best].kl_weight)}"
        rows.append((
            shown(p.kl_weight), _with_error(p.point.rate), _with_error(p.point.distortion),
            _with_error(p.point.elbo), str(int(p.usage.active().sum())),
            f"{bits(p.point.rate.mean):.4f}", f"{bits(-p.point.elbo.mean):.4f}", mark.strip(),
        ))  # fmt: skip
    widths = [max(len(row[c]) for row in rows) for c in range(8)]
    return "\n".join(
        "  ".join(f"{cell:>{w}}" for cell, w in zip(row[:7], widths, strict=False))
        + (f"  {row[7]}" if row[7] else "")
        for row in rows
    )


def linear_table(points: Sequence[Measured], values: np.ndarray) -> str:
    """The linear VAEs on their training data beside Shannon's curve, as text.

    values  (D,) the eigenvalues of the training data.
    """
    lines = ["KL weight      rate   squared error   Shannon's rate for this error   in use"]
    for p in points:
        if p.linear is None:
            continue
        got, best = p.linear.got, _shannon(values, p.linear.got.distortion)
        wanted = ""
        if p.linear.level is not None:
            level, K = p.linear.level, len(p.usage.kl)
            wanted = f" of {exact.reverse_water_filling(values, level, K).active()} wanted"
        lines.append(
            f"{shown(p.kl_weight):>9} {got.rate:9.4f} {got.distortion:15.4f} {best:31.4f}"
            f"   {got.active()}{wanted}"
        )
    return "\n".join(lines)


def results(points: Sequence[Measured]) -> dict[str, Any]:
    """All points as a value for JSON; the standard error of a single image is null."""
    R, D = _coordinates(points)
    lost = regrets([p.kl_weight for p in points], R, D)
    first = points[0]
    return {
        "unit": "nats per example, mean over the test images; bits are per dimension",
        "n": first.n,
        "likelihood": first.likelihood,
        "is_density": first.likelihood != "bernoulli",
        "hull": [points[i].kl_weight for i in hull(points)],
        "points": [_one(p, float(r)) for p, r in zip(points, lost, strict=True)],
    }


def _one(p: Measured, regret: float) -> dict[str, Any]:
    terms = {"rate": p.point.rate, "distortion": p.point.distortion, "elbo": p.point.elbo,
             "squared_error": p.point.squared_error}  # fmt: skip
    value: dict[str, Any] = {"kl_weight": p.kl_weight, "run": p.folder}
    for name, e in terms.items():
        error = None if math.isnan(e.standard_error) else e.standard_error
        value[name] = {"mean": e.mean, "standard_error": error}
        if name != "squared_error":
            value[name]["bits_per_dimension"] = p.point.bits_per_dimension(e.mean)
    value["mean_squared_error"] = p.point.mean_squared_error
    value["active_units"] = int(p.usage.active().sum())
    value["active_by_kl"] = int(p.usage.active_by_kl().sum())
    value["kl_per_latent"] = [float(kl) for kl in p.usage.kl]
    value["regret"] = regret
    if p.linear is not None:
        got = p.linear.got
        value["on_training_data"] = {"rate": got.rate, "squared_error": got.distortion,
                                     "active": got.active(), "level": p.linear.level}  # fmt: skip
    return value


def _coordinates(points: Sequence[Measured]) -> tuple[list[float], list[float]]:
    return [p.point.rate.mean for p in points], [p.point.distortion.mean for p in points]


def _shannon(values: np.ndarray, error: float) -> float:
    """Shannon's rate; 0 where the error is as large as that of saying nothing, or larger."""
    return exact.shannon_rate(values, error) if error < float(values.sum()) else 0.0


def _with_error(e: Estimate) -> str:
    return f"{e.mean:.2f}" if math.isnan(e.standard_error) else str(e)
