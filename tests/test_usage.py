"""Which latents are used: KL, variance of the mean, and the two rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from oracles import make_model

from minivae import VAE, Autoencoder
from minivae.evaluation import Usage, latent_usage


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_kl_and_variance_latent_by_latent() -> None:
    """With Python's sums, one example at a time."""
    model, x, _ = make_model(VAE, rng(), B=7, latent=3)
    usage = latent_usage(model, x, chunk=2)
    for k in range(3):
        kl, mean = [], []
        for row in x:
            q = model.encode(row[None])
            mu, logvar = float(q.mu[0, k]), float(q.logvar[0, k])
            kl.append(0.5 * (mu**2 + math.exp(logvar) - logvar - 1))
            mean.append(mu)
        centre = sum(mean) / 7
        assert math.isclose(usage.kl[k], sum(kl) / 7, rel_tol=1e-12)
        spread = sum((v - sum(kl) / 7) ** 2 for v in kl) / 6
        assert math.isclose(usage.kl_error[k], math.sqrt(spread / 7), rel_tol=1e-10)
        moved = sum((v - centre) ** 2 for v in mean) / 7
        assert math.isclose(usage.variance[k], moved, rel_tol=1e-10)


def test_the_two_rules() -> None:
    usage = Usage(np.array([0.02, 0.001, 3.0]), np.zeros(3), np.array([0.0, 0.05, 0.9]))
    assert usage.active().tolist() == [False, True, True]
    assert usage.active_by_kl().tolist() == [True, False, True]
    assert usage.active(0.5).tolist() == usage.active_by_kl(1.0).tolist() == [False, False, True]


@pytest.mark.parametrize("call", [lambda m, x: latent_usage(m, x, 0)])
def test_a_chunk_below_one_is_refused(call: Any) -> None:
    model, x, _ = make_model(VAE, rng())
    with pytest.raises(ValueError, match="chunk of at least 1, got 0"):
        call(model, x)


def test_an_autoencoder_has_no_posterior() -> None:
    model, x, _ = make_model(Autoencoder, rng())
    with pytest.raises(TypeError, match="Autoencoder: it has no q"):
        latent_usage(model, x)  # type: ignore[arg-type]
