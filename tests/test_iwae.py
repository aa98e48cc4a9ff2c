"""IWAE training: its gradient, what it is for k = 1, and its mean against quadrature."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import make_model

from minivae import objectives
from minivae.datasets import load_digits
from minivae.models import IWAE, VAE, Architecture
from minivae.models.networks import LIKELIHOODS
from minivae.training import train
from minivae.verify import model_errors

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=100)
@given(
    likelihood=st.sampled_from(sorted(LIKELIHOODS)), S=st.integers(1, 4), B=st.integers(1, 3),
    seed=SEEDS,
)  # fmt: skip
def test_the_gradient_of_the_bound(likelihood: str, S: int, B: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, x, eps = make_model(VAE, rng, B, S, likelihood=likelihood, activation="tanh")
    errors = model_errors(model, lambda g: objectives.iwae(model, x, eps, gradient=g))
    assert max(errors.values()) <= 1e-12, errors


def log_weight(model: VAE, x: np.ndarray, z: np.ndarray, mu: Any, logvar: Any) -> np.ndarray:
    """log p(x|z) + log p(z) - log q(z|x) of rows, written from the densities."""
    p = model.decode(z).log_prob(x)
    prior = -0.5 * (z**2 + math.log(2 * math.pi)).sum(axis=-1)
    q = -0.5 * ((z - mu) ** 2 / np.exp(logvar) + logvar + math.log(2 * math.pi)).sum(axis=-1)
    return p + prior - q


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_the_bound_is_the_log_of_the_mean_weight(likelihood: str) -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(1), B=3, S=4, likelihood=likelihood)
    q = model.encode(x)
    log_w = np.stack(
        [log_weight(model, x, q.mu + np.exp(0.5 * q.logvar) * e, q.mu, q.logvar) for e in eps]
    )
    result = objectives.iwae(model, x, eps, gradient=False)
    assert result.bound == pytest.approx(np.log(np.exp(log_w).mean(axis=0)), abs=1e-12)
    assert result.elbo == pytest.approx(log_w.mean(axis=0), abs=1e-12)
    assert float(result.loss) == pytest.approx(-result.bound.mean(), abs=1e-12)
    assert (result.bound >= result.elbo).all()
    assert result.terms() == {"iwae": result.bound, "elbo": result.elbo}


def test_one_sample_is_the_elbo_with_a_sampled_kl() -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(2), B=2, S=1)
    one = objectives.iwae(model, x, eps, gradient=False)
    assert np.array_equal(one.bound, one.elbo)
    many = np.random.default_rng(3).normal(size=(40_000, 2, 2))
    difference = (
        objectives.iwae(model, x, many, gradient=False).elbo
        - objectives.elbo(model, x, many, gradient=False).elbo
    )
    assert np.abs(difference).max() < 0.05  # the same reconstruction; the KL sampled


def test_the_mean_gradient_is_that_of_quadrature() -> None:
    """k = 2, one latent: the expectation over both eps by Gauss-Hermite, derived numerically."""
    rng = np.random.default_rng(4)
    model, x, _ = make_model(VAE, rng, B=1, latent=1, hidden=(3,), activation="tanh")
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    pairs = list(itertools.product(range(40), range(40)))
    weight = np.array([weights[i] * weights[j] for i, j in pairs]) / (2.0 * math.pi)
    eps = np.array([[nodes[i], nodes[j]] for i, j in pairs]).T[:, :, None]  # (2, 1600, 1)
    rows = np.repeat(x, len(pairs), axis=0)
    parameters = model.parameters

    def expected() -> float:
        return float(weight @ objectives.iwae(model, rows, eps, gradient=False).bound)

    theta, slope = parameters.theta, np.zeros(len(parameters))
    for i in range(len(slope)):
        at = theta[i]
        values = []
        for step in (1e-5, -1e-5):
            theta[i] = at + step
            values.append(expected())
        theta[i] = at
        slope[i] = (values[0] - values[1]) / 2e-5
    draws = []
    for seed in range(300):
        parameters.zero_grad()
        noise = np.random.default_rng(seed).normal(size=(2, 300, 1))
        objectives.iwae(model, np.repeat(x, 300, axis=0), noise)
        draws.append(-parameters.grad.copy())
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1) / math.sqrt(300)
    moving = error > 1e-12
    assert np.abs((mean - slope)[~moving]).max(initial=0.0) < 1e-8
    score = (mean - slope)[moving] / error[moving]
    assert np.abs(score).max() < 4.0
    assert np.abs(slope).max() > 50 * error.max()  # and the test can see a wrong one


def test_training_reports_both_bounds_and_watches_the_one_it_climbs() -> None:
    digits = load_digits()
    x = (digits.train.x[:200] > 0.5).astype(np.float32)
    model = IWAE(Architecture(64, 2, (16,)))
    history = train(model, x, x[:50], epochs=3, batch_size=50, samples=4, progress=False)
    row = history.rows[-1]
    assert row["train_iwae"] > row["train_elbo"] and row["valid_iwae"] > row["valid_elbo"]
    assert history.best["valid_iwae"] == max(history["valid_iwae"])  # type: ignore[index]
    one = train(IWAE(Architecture(64, 2, (16,))), x, x[:50], epochs=3, batch_size=50, samples=1,
                progress=False).rows[-1]  # fmt: skip
    assert one["valid_iwae"] == one["valid_elbo"]  # the k of the training is that of the watching
    with pytest.raises(ValueError, match="samples of at least 1, got 0"):
        model.objective(x[:2], np.random.default_rng(0), samples=0)
