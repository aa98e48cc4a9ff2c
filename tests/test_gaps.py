"""The anatomy of the gap: against closed forms, and for a trained model against quadrature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from exact_worlds import random_world
from oracles import make_model

from minivae import (
    VAE,
    Architecture,
    Autoencoder,
    binarise_splits,
    load_digits,
    smoothed_mean,
    train,
)
from minivae.evaluation import Anatomy, Annealing, Estimate, Gaps, Refining, Sampled, anatomy, gaps
from minivae.evaluation.gaps import evidence_of, measure
from minivae.exact import FullGaussian, as_vae, exact_bound, exact_evidence
from minivae.optimizers import Adam


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def within(got: Sampled, truth: np.ndarray | float, slack: float = 0.0) -> None:
    """3 standard errors in the mean over the examples, 5 for every single one."""
    off = np.abs(got.value - truth)
    assert abs((got.value - truth).mean()) <= 3 * got.noise_of_mean + slack
    assert (off <= 5 * got.error + slack).all(), (off / got.error).max()


# ---- a trained model with two latents: gate 2 ----


@pytest.fixture(scope="module")
def trained() -> tuple[VAE, np.ndarray, np.ndarray]:
    data = binarise_splits(load_digits(), "new")
    architecture = Architecture(64, 2, (24,), "tanh")
    model = VAE(architecture, smoothed_mean(data.train.x), 0, "float64")
    train(model, data.train.x, epochs=4, batch_size=64, optimizer=Adam(5e-3), binarisation="new",
          progress=False)  # fmt: skip
    return model, data.test.x[:16].astype(np.float64), data.test.y[:16]


@pytest.fixture(scope="module")
def taken_apart(trained: tuple[VAE, np.ndarray, np.ndarray]) -> Anatomy:
    model, x, _ = trained
    return anatomy(model, x, rng(1), Refining(steps=150, choice=1000), samples=600)


def test_the_gaps_are_the_divergences_from_the_posterior_by_quadrature(
    trained: tuple[VAE, np.ndarray, np.ndarray], taken_apart: Anatomy
) -> None:
    model, x, _ = trained
    found = taken_apart.gaps
    full = FullGaussian(taken_apart.full.q.mu, taken_apart.full.q.covariance)
    qs = [model.encode(x), taken_apart.diagonal.q, full]
    exact = [exact_bound(model, x, 1e-3, q=q) for q in qs]
    stated = max(float(e.error.max()) for e in exact)
    assert stated < 2e-3 and taken_apart.method == "quadrature"
    within(found.gap, exact[0].kl, stated)
    within(found.approximation, exact[1].kl, stated)
    within(found.full_approximation, exact[2].kl, stated)
    within(found.elbo, exact[0].elbo, stated)
    within(found.refined, exact[1].elbo, stated)
    within(found.full, exact[2].elbo, stated)
    within(found.amortisation, exact[0].kl - exact[1].kl, 2 * stated)
    within(found.covariance, exact[1].kl - exact[2].kl, 2 * stated)
    # none of them is negative, of no image, but for the stated error and the noise of the choice
    assert all((e.kl > -stated).all() for e in exact)
    choice = 3 * taken_apart.diagonal.error[-1]
    assert (exact[0].kl - exact[1].kl > -choice).all()
    assert (exact[1].kl - exact[2].kl > -3 * taken_apart.full.error[-1]).all()
    # and in the mean they are worth speaking of
    assert found.amortisation.over_examples().mean > 0.05
    assert found.approximation.over_examples().mean > 0.05
    assert exact[2].kl.mean() < exact[1].kl.mean() - 0.003


def test_refinement_has_arrived(
    trained: tuple[VAE, np.ndarray, np.ndarray], taken_apart: Anatomy
) -> None:
    """By quadrature, no small step in any direction finds a better diagonal q."""
    model, x, _ = trained
    q, moved_there = taken_apart.diagonal.q, taken_apart.diagonal.moved[:4]
    best = exact_bound(model, x[:4], 1e-4, q=type(q)(q.mu[:4], q.logvar[:4]))
    assert moved_there.sum() >= 3
    for name in ("mu", "logvar"):
        for k in (0, 1):
            for side in (-0.1, 0.1):
                part = {"mu": q.mu[:4].copy(), "logvar": q.logvar[:4].copy()}
                part[name][:, k] += side * np.exp(0.5 * part["logvar"][:, k] * (name == "mu"))
                moved = exact_bound(model, x[:4], 1e-4, q=type(q)(**part))
                assert moved.kl.mean() > best.kl.mean()
                assert (moved.kl > best.kl - 5e-3)[moved_there].all()


def test_the_curve_ends_at_the_refined_bound(taken_apart: Anatomy) -> None:
    curve = taken_apart.diagonal
    rise = curve.elbo[-1] - curve.elbo[0]
    want = taken_apart.gaps.amortisation
    error = np.hypot(curve.error[-1], want.error) + curve.error[0]
    assert (np.abs(rise - want.value)[curve.moved] < 5 * error[curve.moved]).all()
    assert curve.elbo.mean(axis=1)[-1] > curve.elbo.mean(axis=1)[0]


# ---- a linear world ----


@pytest.fixture(scope="module")
def linear() -> tuple[Any, np.ndarray, Anatomy]:
    world = random_world(rng(0), 4, 3, 0.4)
    model, x = as_vae(world), world.sample(60, rng(1))[1]
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.W"][...] *= 0.9
    given = Sampled(world.log_prob(x), np.zeros(len(x)))
    return world, x, anatomy(model, x, rng(2), log_evidence=given)


def test_in_a_linear_world_both_gaps_are_formulas(linear: tuple[Any, np.ndarray, Anatomy]) -> None:
    world, x, found = linear
    M = world.W @ world.W.T + world.variance * np.eye(3)
    best = 0.5 * (np.log(np.diagonal(M)).sum() - np.linalg.slogdet(M)[1])
    assert best > 0.1 and found.method == "given"
    got = found.gaps
    slack = 0.01  # of the steps, which end near the optimum
    within(got.approximation, best, slack)
    within(got.full_approximation, 0.0, slack)
    model = as_vae(world)
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.W"][...] *= 0.9
    whole = world.gap(x, model.encode(x))
    within(got.gap, whole)
    within(got.amortisation, whole - best, slack)
    within(got.covariance, best, slack)
    assert (got.amortisation.value > -5 * got.amortisation.error).all()
    mean = got.full_approximation.over_examples().mean
    assert mean < got.approximation.over_examples().mean < got.gap.over_examples().mean


def test_the_parts_add_up(linear: tuple[Any, np.ndarray, Anatomy]) -> None:
    got = linear[2].gaps
    whole = got.approximation.value + got.amortisation.value
    assert np.allclose(whole, got.gap.value, rtol=1e-12, atol=1e-12)
    whole = got.full_approximation.value + got.covariance.value
    assert np.allclose(whole, got.approximation.value, rtol=1e-12, atol=1e-12)
    # common noise: the difference is known better than from two independent estimates
    apart = np.hypot(got.elbo.error, got.refined.error)
    assert (got.amortisation.error < apart).mean() > 0.9


def test_examples_that_kept_the_start_gained_exactly_nothing() -> None:
    world = random_world(rng(0), 5, 2, 0.5).aligned()
    model, x = as_vae(world), world.sample(10, rng(1))[1]
    got = anatomy(model, x, rng(2), Refining(steps=3, learning_rate=2.0), samples=20)
    assert not got.diagonal.moved.any() and not got.gaps.amortisation.value.any()
    assert not got.gaps.amortisation.error.any()


def test_the_final_bounds_have_draws_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of the generator is used twice: what each stage draws is new."""
    model, x, _ = make_model(VAE, rng(0), activation="tanh")
    seen: list[float] = []
    from minivae.evaluation import refinement

    normal = refinement.standard_normal

    def watched(*arguments: Any) -> np.ndarray:
        eps = normal(*arguments)
        seen.extend(eps.ravel().tolist())
        return eps

    monkeypatch.setattr(refinement, "standard_normal", watched)
    anatomy(model, x, rng(1), Refining(steps=4, choice=6), samples=8)
    assert len(seen) == len(set(seen)) == 2 * (4 * 4 + 3) * 6 + 4 * 6


# ---- log p(x) ----


def test_evidence_is_integrated_for_two_latents_and_annealed_for_more() -> None:
    world = random_world(rng(0), 6, 2, 0.5)
    model, x = as_vae(world), world.sample(8, rng(1))[1]
    got, method = evidence_of(model, x, rng())
    assert method == "quadrature" and np.abs(got.value - world.log_prob(x)).max() < 1e-3
    assert np.array_equal(got.error, exact_evidence(model, x, 1e-3).error)
    world = random_world(rng(0), 6, 3, 0.5)
    model, x = as_vae(world), world.sample(8, rng(1))[1]
    annealing = Annealing(n_chains=32, n_temperatures=60, n_leapfrog=4)
    got, method = evidence_of(model, x, rng(), annealing)
    assert method == "annealing"
    within(got, world.log_prob(x))
    assert 0 < got.error.max() < 0.3


def test_three_latents_all_the_way() -> None:
    world = random_world(rng(0), 6, 3, 0.5)
    model, x = as_vae(world), world.sample(8, rng(1))[1]
    annealing = Annealing(n_chains=32, n_temperatures=60, n_leapfrog=4)
    stages: list[str] = []
    got = anatomy(model, x, rng(2), Refining(100), 100, annealing, progress=stages.append)
    assert got.method == "annealing" and len(stages) == 4
    within(got.gaps.approximation, world.diagonal_gap(), 0.03)


# ---- values ----


def test_sampled() -> None:
    draws = rng(0).normal(size=(50, 4)) * [1.0, 2.0, 3.0, 4.0] + 7.0
    a = Sampled.of(draws)
    assert np.allclose(a.value, draws.sum(axis=0) / 50)
    assert np.allclose(a.error, [np.std(d, ddof=1) / math.sqrt(50) for d in draws.T])
    b = Sampled(np.arange(4.0), np.full(4, 0.5))
    assert np.allclose((a - b).value, a.value - b.value)
    assert np.allclose((a - b).error ** 2, a.error**2 + 0.25)
    assert b.noise_of_mean == pytest.approx(0.25)  # 0.5 / sqrt(4)
    assert b.over_examples() == Estimate.of(np.arange(4.0))
    assert b[1:3].value.tolist() == [1.0, 2.0]
    assert b[np.array([True, False, False, True])].value.tolist() == [0.0, 3.0]


def test_by_class() -> None:
    column = [Sampled(np.arange(5.0) + i, np.full(5, 0.1 * i)) for i in range(6)]
    found = Gaps(*column)
    classes = found.by_class(np.array([3, 1, 3, 1, 1]))
    assert list(classes) == [1, 3] and [len(c) for c in classes.values()] == [3, 2]
    assert classes[3].log_evidence.value.tolist() == [0.0, 2.0]
    assert classes[1].covariance.value.tolist() == [6.0, 8.0, 9.0]
    assert classes[1].amortisation.error.tolist() == pytest.approx([0.4] * 3)
    assert found.gap.value.tolist() == [-1.0] * 5
    assert found.approximation.value.tolist() == [-2.0] * 5
    assert found.full_approximation.value.tolist() == [-3.0] * 5
    with pytest.raises(ValueError, match="expected 5 labels"):
        found.by_class(np.zeros(4, int))


def test_batches_are_measured_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    world = random_world(rng(0), 5, 2, 0.5)
    model, x = as_vae(world), world.sample(7, rng(1))[1]
    monkeypatch.setattr(gaps, "BATCH", 3)
    q = model.encode(x)
    got = measure(model, x, [q, world.best_diagonal(x), q][:1] + [q], rng(2), 200)
    within(got[0], world.elbo(x, q))
    assert np.array_equal(got[0].value, got[1].value) and not got[2].value.any()


def test_bad_input_is_refused() -> None:
    model, x, _ = make_model(VAE, rng(0))
    for samples in (2, 7, 0):
        with pytest.raises(ValueError, match="samples even and at least 4"):
            anatomy(model, x, rng(), samples=samples)
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        anatomy(make_model(Autoencoder, rng(0))[0], x, rng())
    with pytest.raises(ValueError, match=r"q with mu of shape \(3, 2\), got \(2, 2\)"):
        exact_bound(model, x, q=model.encode(x[:2]))
