"""The KL taken apart: I(x; z) + KL(q(z) || p(z)), against quadrature and in the limits."""

from __future__ import annotations

import math

import numpy as np
from oracles import make_model, scalar_vae

from minivae import VAE
from minivae.distributions import Gaussian
from minivae.evaluation import surgery


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(z: np.ndarray, mu: float, logvar: float) -> np.ndarray:
    variance = math.exp(logvar)
    return np.exp(-0.5 * (z - mu) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


def by_quadrature(q: Gaussian) -> tuple[float, float]:
    """I(x; z) and KL(q(z) || p(z)) of one latent, by the trapezoid rule."""
    z = np.linspace(-14, 14, 20_001)
    step = z[1] - z[0]
    each = np.array([normal(z, m, v) for m, v in zip(q.mu[:, 0], q.logvar[:, 0], strict=True)])
    mixture = each.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        ratio = np.where(each > 0, each * np.log(each / mixture), 0.0)
        rest = np.where(mixture > 0, mixture * np.log(mixture / normal(z, 0, 0)), 0.0)
    return float(ratio.sum(axis=1).mean() * step), float(rest.sum() * step)


def test_with_one_latent_it_is_the_quadrature() -> None:
    model, _ = scalar_vae(rng(), "bernoulli")
    x = rng(1).integers(0, 2, (20, 3)).astype(float)
    result = surgery(model, x, rng(2), samples=2_000)
    information, marginal = by_quadrature(model.encode(x))
    assert 0.05 < information < math.log(20) and marginal > 0.05
    assert 0.0 < result.noise < 0.02
    assert abs(result.mutual_information.mean - information) < 4 * result.noise
    assert abs(result.marginal_kl.mean - marginal) < 4 * result.noise


def test_a_collapsed_model_says_nothing() -> None:
    model, x, _ = make_model(VAE, rng(), B=20)
    view = model.parameters.views(model.parameters.theta)
    for name in view:
        if name.startswith(("encoder.mu", "encoder.logvar")):
            view[name][...] = 0.0
    result = surgery(model, x, rng(1), samples=3)
    for estimate in (result.kl, result.mutual_information, result.marginal_kl):
        assert abs(estimate.mean) < 1e-14


def test_codes_far_apart_tell_what_there_is_to_tell() -> None:
    """All different examples reach ln N; equal ones cannot be told apart by any code."""
    model, _, _ = make_model(VAE, rng(), D=4, latent=2)
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.W"][...] *= 1e4
    x = np.array([[n >> i & 1 for i in range(4)] for n in range(12)], float)
    result = surgery(model, x, rng(1), samples=2)
    assert abs(result.mutual_information.mean - math.log(12)) < 1e-12
    assert result.mutual_information.mean <= result.limit + 1e-14
    twice = surgery(model, np.concatenate([x, x]), rng(1))
    assert abs(twice.mutual_information.mean - math.log(12)) < 1e-12
    assert twice.limit == math.log(24) and math.isnan(twice.noise)
