"""Refinement: its gradient, its optimum where that is known, and honest choices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from exact_worlds import random_world
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import check_derivative, make_model

from minivae import VAE, Autoencoder, objectives
from minivae.arrays import to_numpy
from minivae.distributions import CholeskyGaussian, Gaussian
from minivae.evaluation import Refined, Refining, refine
from minivae.evaluation.refinement import (
    Family,
    chosen,
    climb,
    elbo_pairs,
    elbo_slope,
    joined,
    mean_and_error,
    parts,
    rows,
)
from minivae.exact import FullGaussian, LinearGaussian, as_vae
from minivae.models.networks import LIKELIHOODS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def full(q: Family) -> FullGaussian:
    return (
        FullGaussian(q.mu, q.covariance) if isinstance(q, CholeskyGaussian) else FullGaussian.of(q)
    )


def spoiled(world: LinearGaussian) -> VAE:
    """The world's VAE with an encoder that is off: means displaced, variances too large."""
    model = as_vae(world)
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.b"][...] += np.linspace(-0.5, 0.8, world.latent)
    view["encoder.logvar.0.b"][...] += 0.4
    return model


def a_family(kind: str, B: int, K: int, draw: np.random.Generator) -> Family:
    mu, logvar = draw.normal(size=(B, K)), draw.normal(size=(B, K))
    if kind == "diagonal":
        return Gaussian(mu, logvar)
    return CholeskyGaussian(mu, logvar, np.tril(draw.normal(size=(B, K, K)), -1))


def complex_model(model: VAE) -> VAE:
    twin = model.twin()
    twin.parameters.bind(twin.parameters.theta.astype(complex))
    return twin


# ---- the gradient ----


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    likelihood=st.sampled_from(sorted(LIKELIHOODS)),
    variance=st.sampled_from(["shared", "fixed", "pixel"]),
    kind=st.sampled_from(["diagonal", "full"]),
    S=st.integers(1, 3),
    B=st.integers(1, 3),
)
def test_the_slope_is_the_derivative_with_the_density_of_q_held(
    seed: int, likelihood: str, variance: str, kind: str, S: int, B: int
) -> None:
    """By complex step of the mean of log p(x, z) - log q_held(z), with z by the parameters."""
    model, x, _ = make_model(
        VAE, rng(seed), B=B, activation="tanh", likelihood=likelihood, variance=variance
    )
    q, eps = a_family(kind, B, 2, rng(seed)), rng(seed + 1).normal(size=(S, B, 2))
    model.parameters.grad[...] = 0.0
    slopes = elbo_slope(model, x, q, eps)
    assert not model.parameters.grad.any()
    held, other = full(q), complex_model(model)
    inverse = np.linalg.inv(np.broadcast_to(held.covariance, (B, 2, 2)))

    def surrogate(values: dict[str, np.ndarray]) -> complex:
        z = type(q)(**{**vars(q), **values}).sample(eps)
        r = z - q.mu
        log_q = -0.5 * np.einsum("sbi,bij,sbj->", r, inverse, r)
        log_p = sum(other.decode(z_s).log_prob(x).sum() for z_s in z.astype(complex))
        return (log_p - 0.5 * (z * z).sum() - log_q) / S

    for (name, at), slope in zip(vars(q).items(), slopes, strict=True):
        assert slope.shape == at.shape
        got = slope if name != "lower" else np.tril(slope, -1)
        assert np.array_equal(got, slope)
        check_derivative(
            f"elbo_slope {kind} {name}", slope, lambda a, n=name: surrogate({n: a}), at, 1.0
        )


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_the_slope_is_right_in_the_mean(kind: str) -> None:
    """Against the closed form of a linear world, whose ELBO is differentiated numerically."""
    world = random_world(rng(3), 5, 2, 0.5)
    model, x = as_vae(world), world.sample(2, rng(4))[1]
    q = a_family(kind, 2, 2, rng(5))
    slopes = [elbo_slope(model, x, q, rng(seed).normal(size=(4000, 2, 2))) for seed in range(10)]
    for i, (name, at) in enumerate(vars(q).items()):
        got = np.stack([slope[i] for slope in slopes])
        mean, error = got.mean(axis=0), got.std(axis=0, ddof=1) / math.sqrt(10)
        for place in np.ndindex(at.shape):
            if name == "lower" and place[1] <= place[2]:
                continue
            h = np.zeros_like(at)
            h[place] = 1e-5
            up, down = (
                world.elbo(x, full(type(q)(**{**vars(q), name: at + side * h}))).sum()
                for side in (1.0, -1.0)
            )
            assert abs(mean[place] - (up - down) / 2e-5) < 5 * error[place] + 1e-6, (name, place)


def test_at_the_posterior_the_slope_is_zero_for_every_draw() -> None:
    world = random_world(rng(0), 6, 3, 0.5)
    model, x = as_vae(world), world.sample(4, rng(1))[1]
    L = np.broadcast_to(np.linalg.cholesky(world.posterior_covariance), (4, 3, 3))
    sigma = np.diagonal(L, axis1=1, axis2=2)
    q = CholeskyGaussian(world.posterior_mean(x), 2 * np.log(sigma), L / sigma[..., None])
    for slope in elbo_slope(model, x, q, rng(2).normal(size=(5, 4, 3))):
        assert np.abs(slope).max() < 1e-10
    draws = elbo_pairs(model, x, [q], rng(3), 6)[0]
    assert np.abs(draws - world.log_prob(x)).max() < 1e-10  # and the bound has no noise


# ---- the estimate ----


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_pairs_are_unbiased_with_the_error_that_is_stated(kind: str) -> None:
    world = random_world(rng(0), 5, 2, 0.5)
    model, x = as_vae(world), world.sample(60, rng(1))[1]
    q = a_family(kind, 60, 2, rng(2))
    draws = elbo_pairs(model, x, [q, rows(model.encode(x), 0, 60)], rng(3), 400)
    assert draws.shape == (2, 200, 60) and draws.dtype == np.float64
    mean, error = mean_and_error(draws)
    for i, truth in enumerate((world.elbo(x, full(q)), world.elbo(x, model.encode(x)))):
        t = (mean[i] - truth) / error[i]
        assert abs(t.mean()) < 3 / math.sqrt(60) and 0.7 < t.std() < 1.3


def test_pairs_are_the_estimate_of_the_objective() -> None:
    """The same noise through `objectives.elbo`, whose KL is closed: equal once E log q is exact."""
    model, x, _ = make_model(VAE, rng(1), B=3, activation="tanh")
    q = model.encode(x)
    got = elbo_pairs(model, x, [q], rng(5), 2)[0, 0]
    eps = rng(5).standard_normal((1, 3, 2))
    z = np.stack([q.sample(eps[0]), q.sample(-eps[0])])
    want = np.mean([model.decode(a).log_prob(x) for a in z], axis=0)
    zero = Gaussian(np.zeros(2), np.zeros(2))
    want += zero.log_prob(z).mean(axis=0) - q.log_prob(z).mean(axis=0)
    assert np.allclose(got, want, rtol=1e-12)
    noise = np.concatenate([eps, -eps])
    assert not np.allclose(got, objectives.elbo(model, x, noise, gradient=False).elbo)


def test_memory_is_bounded_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, _ = make_model(VAE, rng(0), B=4, activation="tanh")
    want = elbo_pairs(model, x, [model.encode(x)], rng(1), 30)
    seen: list[int] = []
    forward = model.decoder.forward
    monkeypatch.setattr(
        model.decoder, "forward", lambda z: seen.append(len(z)) or forward(z), raising=False
    )
    monkeypatch.setattr("minivae.evaluation.refinement.ROWS", 12)
    got = elbo_pairs(model, x, [model.encode(x)], rng(1), 30)
    assert np.allclose(got, want, rtol=1e-12) and max(seen) <= 12 and sum(seen) == 120


# ---- the climb ----


def test_in_a_linear_world_it_finds_the_best_of_both_families() -> None:
    world = random_world(rng(0), 4, 3, 0.4)
    model, x = spoiled(world), world.sample(20, rng(1))[1]
    before = model.parameters.grad.copy(), model.parameters.theta.copy()
    start = world.gap(x, model.encode(x))
    assert start.min() > world.diagonal_gap() + 0.3
    diagonal = refine(model, x, rng(2))
    excess = world.gap(x, diagonal.q) - world.diagonal_gap()
    assert diagonal.moved.all() and excess.min() > -1e-9
    assert excess.mean() < 0.01 and excess.max() < 0.03
    best = world.best_diagonal(x)
    assert np.abs(diagonal.q.logvar - best.logvar).mean() < 0.05
    whole = refine(model, x, rng(3), start=CholeskyGaussian.of(diagonal.q))
    gap = world.gap(x, full(whole.q))
    assert world.diagonal_gap() > 0.1 and gap.mean() < 1e-3 and gap.max() < 5e-3
    assert np.array_equal(before[0], model.parameters.grad)
    assert np.array_equal(before[1], model.parameters.theta)


def test_the_curve_is_the_bound_at_its_marks() -> None:
    world = random_world(rng(0), 6, 2, 0.4)
    model, x = spoiled(world), world.sample(30, rng(1))[1]
    settings_ = Refining(steps=30)
    got = refine(model, x, rng(2), settings_)
    assert got.marks.tolist() == [0, 1, 2, 5, 10, 20, 30]
    assert got.elbo.shape == got.error.shape == (7, 30)
    places = climb(model.twin(), x, rng(2), settings_, model.encode(x))
    truth = np.stack([world.elbo(x, q) for q in places])
    t = (got.elbo - truth) / got.error
    assert np.abs(t.mean(axis=1)).max() < 4 / math.sqrt(30) and np.abs(t).max() < 5
    assert (np.diff(truth.mean(axis=1)) > 0).all()
    for a, b in itertools.pairwise(places):  # Adam works in place; a place must be a copy
        assert all((v != w).all() for v, w in zip(parts(a), parts(b), strict=True))
    for a, b in zip(parts(got.q), parts(places[-1]), strict=True):
        assert np.array_equal(a[got.moved], b[got.moved])


def test_marks() -> None:
    assert Refining(steps=0).marks() == [0]
    assert Refining(steps=1).marks() == [0, 1]
    assert Refining(steps=20).marks() == [0, 1, 2, 5, 10, 20]
    assert Refining(steps=300).marks()[-3:] == [100, 200, 300]


def test_who_is_made_worse_keeps_the_start() -> None:
    """From the best q on, wild steps lose: the start is kept, exactly, where the choice sees it."""
    world = random_world(rng(0), 5, 2, 0.5).aligned()
    model, x = as_vae(world), world.sample(25, rng(1))[1]  # q is the posterior: nothing to gain
    got = refine(model, x, rng(2), Refining(steps=3, learning_rate=2.0))
    assert not got.moved.any()
    q = model.encode(x)
    assert np.array_equal(got.q.mu, q.mu) and np.array_equal(got.q.logvar, q.logvar)
    assert (got.elbo[-1] < got.elbo[0]).all()


def test_each_example_is_judged_alone() -> None:
    """Every second one starts at its posterior and can only lose, the others far from it."""
    world = random_world(rng(0), 5, 2, 0.5).aligned()
    model, x = as_vae(world), world.sample(8, rng(1))[1]
    q = model.encode(x)
    mu = q.mu.copy()
    mu[::2] += 10.0 * np.exp(0.5 * q.logvar[::2])
    got = refine(model, x, rng(2), Refining(steps=3, learning_rate=1.0), Gaussian(mu, q.logvar))
    assert got.moved.tolist() == [True, False] * 4
    assert np.array_equal(got.q.mu[1::2], q.mu[1::2])


def test_each_example_has_a_choice_of_its_own() -> None:
    start, end = (a_family("full", 3, 2, rng(seed)) for seed in (0, 1))
    q = chosen(start, end, np.array([True, False, True]))
    for v, a, b in zip(parts(q), parts(start), parts(end), strict=True):
        assert np.array_equal(v[[0, 2]], b[[0, 2]]) and np.array_equal(v[1], a[1])


def test_no_steps_change_nothing() -> None:
    model, x, _ = make_model(VAE, rng(0), activation="tanh")
    got = refine(model, x, rng(1), Refining(steps=0))
    assert got.marks.tolist() == [0] and not got.moved.any()
    assert np.array_equal(got.q.mu, model.encode(x).mu)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_batches_are_joined_in_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = random_world(rng(0), 5, 2, 0.5)
    model, x = spoiled(world), world.sample(7, rng(1))[1]
    monkeypatch.setattr("minivae.evaluation.refinement.ROWS", 24)  # 3 examples at a time
    start = model.encode(x) if kind == "diagonal" else CholeskyGaussian.of(model.encode(x))
    got = refine(model, x, rng(2), Refining(steps=150), start)
    best = world.diagonal_gap() if kind == "diagonal" else 0.0
    assert (world.gap(x, full(got.q)) - best).max() < 0.05
    assert got.elbo.shape[1] == len(got.moved) == len(got.q.mu) == 7
    again = joined([rows(got.q, 0, 3), rows(got.q, 3, 7)])
    assert all(np.array_equal(a, b) for a, b in zip(parts(again), parts(got.q), strict=True))


def test_a_shared_logvar_may_start() -> None:
    world = random_world(rng(0), 5, 2, 0.5)
    model, x = as_vae(world), world.sample(5, rng(1))[1]
    start = Gaussian(np.zeros((5, 2)), np.zeros(2))  # the prior
    got = refine(model, x, rng(2), Refining(steps=200), start)
    assert got.q.logvar.shape == (5, 2)
    assert (world.gap(x, got.q) - world.diagonal_gap()).max() < 0.05


def test_float32_stays_and_the_noise_is_fresh() -> None:
    model, x, _ = make_model(VAE, rng(0), activation="tanh")
    model = model.twin("float32")
    a, b = (refine(model, x, rng(seed), Refining(steps=5)) for seed in (1, 2))
    assert a.q.mu.dtype == a.q.logvar.dtype == np.float32 and a.elbo.dtype == np.float64
    assert not np.array_equal(a.elbo, b.elbo)
    again = refine(model, x, rng(1), Refining(steps=5))
    assert np.array_equal(a.elbo, again.elbo) and np.array_equal(a.q.mu, again.q.mu)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "at least 0 steps, got -1"),
        ({"samples": 3}, "even number of samples, got 3"),
        ({"samples": 0}, "even number of samples, got 0"),
        ({"learning_rate": 0.0}, "positive, finite learning_rate, got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate, got inf"),
        ({"choice": 2}, "choice even and at least 4, got 2"),
        ({"choice": 5}, "choice even and at least 4, got 5"),
    ],
)
def test_settings_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Refining(**options)


def test_bad_input_is_refused() -> None:
    model, x, _ = make_model(VAE, rng(0))
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        refine(make_model(Autoencoder, rng(0))[0], x, rng())
    with pytest.raises(ValueError, match=r"shape \(N, 4\)"):
        refine(model, x[:, :3], rng())
    with pytest.raises(ValueError, match=r"mu of shape \(3, 2\), got \(2, 2\)"):
        refine(model, x, rng(), start=rows(model.encode(x), 0, 2))
    assert isinstance(refine(model, x, rng(), Refining(steps=1)), Refined)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_on_a_strict_device(kind: str) -> None:
    """No NumPy function meets an array of the device, and the numbers are those of the host."""
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    here, x, _ = make_model(VAE, rng(), activation="tanh")
    there = VAE(
        here.architecture, dtype="float64", device=lambda a: strict.asarray(a, device=device)
    )
    there.parameters.bind(strict.asarray(here.parameters.theta, device=device))
    found = []
    for model in (there, here):
        start = model.encode(x)
        start = CholeskyGaussian.of(start) if kind == "full" else start
        found.append(refine(model, x, rng(1), Refining(steps=3, choice=8), start))
    got, want = found
    assert type(got.elbo) is np.ndarray and got.q.mu.device == device
    assert np.allclose(got.elbo, want.elbo, rtol=0, atol=1e-11)
    for a, b in zip(parts(got.q), parts(want.q), strict=True):
        assert np.allclose(to_numpy(a), b, rtol=0, atol=1e-11)
