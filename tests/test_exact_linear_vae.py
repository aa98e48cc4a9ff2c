"""The linear VAE: ELBO = log p(x) through the whole library, its optimum, and Shannon's curve."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from exact_worlds import dense_log_prob, known_spectrum, random_world
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, Architecture, estimate_likelihood, load_digits, objectives
from minivae.exact import (
    LinearGaussian,
    Spectrum,
    as_vae,
    as_world,
    best_decoder,
    cubature,
    expected_elbo,
    fit_ppca,
    max_log_likelihood,
    mean_kl,
    noise_variance,
    operating_point,
    principal_angles,
    reverse_water_filling,
    train_exactly,
)
from minivae.optimizers import Adam
from minivae.verify import complex_step, gradient_error, worst

EIGENVALUES = [4.0, 2.0, 0.7, 0.1]


def linear_vae(D: int, K: int, variance: str = "shared", sigma: float = 1.0, seed: int = 0) -> VAE:
    a = Architecture(D, K, (), likelihood="gaussian", variance=variance, sigma=sigma)
    return VAE(a, seed=seed, dtype="float64")


def perturbed(model: VAE, rng: np.random.Generator, size: float = 0.3) -> VAE:
    model.parameters.theta += size * rng.normal(size=len(model.parameters))
    return model


def gradient(model: VAE, x: np.ndarray, kl_weight: float = 1.0) -> dict[str, np.ndarray]:
    """The gradient of the library's own ELBO, exact by cubature, by the name of the array."""
    model.parameters.zero_grad()
    eps = cubature(len(x), model.architecture.latent)
    objectives.elbo(model, x, eps, kl_weight=kl_weight)
    return model.parameters.views(model.parameters.grad)


def error(got: np.ndarray, want: np.ndarray) -> float:
    return gradient_error(got, want, scale=float(np.abs(want).max()))


# ---- ELBO = log p(x) ----


@pytest.mark.parametrize("K", [1, 2, 8, 20])
def test_at_the_optimum_the_elbo_of_our_vae_is_log_p(K: int) -> None:
    """The strongest check there is: every part of the library must be right at once."""
    x = load_digits().train.x.astype(np.float64)
    world = fit_ppca(Spectrum.of(x), K)
    x = x[:100]
    bound = objectives.elbo(as_vae(world), x, cubature(100, K), gradient=False)
    log_p = dense_log_prob(world, x)
    assert np.abs(world.log_prob(x) - log_p).max() < 1e-10
    assert np.abs(bound.elbo - log_p).max() < 1e-10
    assert np.allclose(bound.kl.sum(axis=1), world.kl(x), rtol=1e-10)


def test_every_importance_weight_is_p_of_x() -> None:
    s = known_spectrum(EIGENVALUES)
    world, x = fit_ppca(s, 2), np.random.default_rng(0).normal(size=(5, 4))
    result = estimate_likelihood(as_vae(world), x, np.random.default_rng(1), n_samples=3)
    assert np.abs(result.nll + dense_log_prob(world, x)).max() < 1e-10
    assert (result.elbo < -result.nll + 5).all() and np.abs(result.elbo + result.nll).max() > 1e-3


@given(seed=st.integers(0, 10**6), D=st.integers(1, 6), K=st.integers(1, 4))
@settings(max_examples=30)
def test_any_world_becomes_the_vae_with_the_best_diagonal_q(seed: int, D: int, K: int) -> None:
    rng = np.random.default_rng(seed)
    world, x = random_world(rng, D, K), rng.normal(size=(3, D))
    model = as_vae(world)
    bound = objectives.elbo(model, x, cubature(3, K), gradient=False).elbo
    assert np.allclose(world.log_prob(x) - bound, world.diagonal_gap(), rtol=1e-9, atol=1e-9)
    found = gradient(model, x)
    assert max(np.abs(g).max() for name, g in found.items() if name.startswith("encoder")) < 1e-9
    aligned = as_vae(world.aligned())
    bound = objectives.elbo(aligned, x, cubature(3, K), gradient=False).elbo
    assert np.allclose(bound, world.log_prob(x), rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_no_encoder_lifts_the_bound_above_log_p(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, x = perturbed(linear_vae(4, 2), rng), rng.normal(size=(5, 4))
    log_p = as_world(model).log_prob(x)
    assert (objectives.elbo(model, x, cubature(5, 2), gradient=False).elbo < log_p).all()


def test_as_world_reads_what_as_vae_wrote() -> None:
    world = random_world(np.random.default_rng(0), 5, 3)
    back = as_world(as_vae(world))
    assert np.array_equal(back.W, world.W) and np.array_equal(back.b, world.b)
    assert back.variance == pytest.approx(world.variance, rel=1e-14)
    single = VAE(Architecture(5, 3, (), likelihood="gaussian", variance="fixed", sigma=0.5))
    assert as_world(single).W.dtype == np.float64
    assert as_world(single).variance == pytest.approx(0.25, rel=1e-6)


def test_a_posterior_narrower_than_the_encoder_allows_is_refused() -> None:
    world = LinearGaussian(np.array([[1.0, 0.0]]), np.zeros(2), 1e-8)
    with pytest.raises(ValueError, match="log-variance within 15.0, got -18.4"):
        as_vae(world)
    for beta in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive, finite beta"):
            as_vae(replace(world, variance=1.0), beta)
    with pytest.raises(ValueError, match="latent of at least 1, got 0"):
        as_vae(fit_ppca(known_spectrum(EIGENVALUES), 0))


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden": (3,), "likelihood": "gaussian"},
        {"hidden": (), "likelihood": "bernoulli"},
        {"hidden": (), "likelihood": "gaussian", "variance": "pixel"},
    ],
)
def test_a_vae_that_is_not_linear_is_refused(fields: dict) -> None:
    model, x = VAE(Architecture(4, 2, **fields), dtype="float64"), np.full((3, 4), 0.5)
    for call in (as_world, lambda m: expected_elbo(m, x), lambda m: operating_point(m, x)):
        with pytest.raises(ValueError, match=r"linear VAE: hidden=\(\), likelihood='gaussian'"):
            call(model)


# ---- the expectation, by points and by hand ----


@pytest.mark.parametrize("K", [1, 2, 5])
def test_cubature_has_the_moments_of_noise(K: int) -> None:
    eps = cubature(3, K)
    assert eps.shape == (2 * K, 3, K)
    for n in range(3):
        assert np.abs(eps[:, n].mean(axis=0)).max() == 0.0
        assert np.allclose(eps[:, n].T @ eps[:, n] / (2 * K), np.eye(K), atol=1e-14)
        for i, j, k in itertools.product(range(K), repeat=3):
            assert np.mean(eps[:, n, i] * eps[:, n, j] * eps[:, n, k]) == 0.0


@given(
    seed=st.integers(0, 10**6),
    D=st.integers(1, 5),
    K=st.integers(1, 4),
    variance=st.sampled_from(["shared", "fixed"]),
    beta=st.sampled_from([0.3, 1.0, 3.0]),
)
@settings(max_examples=25)
def test_the_expected_elbo_is_the_elbo_on_cubature(
    seed: int, D: int, K: int, variance: str, beta: float
) -> None:
    rng = np.random.default_rng(seed)
    model, x = perturbed(linear_vae(D, K, variance), rng), rng.normal(size=(4, D))
    model.parameters.zero_grad()
    want = objectives.elbo(model, x, cubature(4, K), kl_weight=beta)
    want_grad = model.parameters.grad.copy()
    model.parameters.zero_grad()
    got = expected_elbo(model, x, kl_weight=beta)
    for name in ("elbo", "reconstruction", "kl", "loss"):
        assert np.allclose(getattr(got, name), getattr(want, name), rtol=1e-11, atol=1e-11), name
    assert error(model.parameters.grad, want_grad) < 1e-11
    expected_elbo(model, x, kl_weight=beta)
    assert error(model.parameters.grad, 2.0 * want_grad) < 1e-11  # it adds
    expected_elbo(model, x, kl_weight=beta, gradient=False)
    assert error(model.parameters.grad, 2.0 * want_grad) < 1e-11


def test_the_gradient_of_the_expected_elbo_is_its_derivative() -> None:
    rng = np.random.default_rng(0)
    model, x = perturbed(linear_vae(3, 2), rng), rng.normal(size=(4, 3))
    theta = model.parameters.theta.copy()

    def loss(vector: np.ndarray) -> complex:
        model.parameters.bind(vector)
        return expected_elbo(model, x, 0.7, gradient=False).loss

    want = complex_step(loss, theta)
    model.parameters.bind(theta)
    expected_elbo(model, x, 0.7)
    assert error(model.parameters.grad, want) < 1e-12


# ---- the optimum ----


@pytest.mark.parametrize("K", [1, 2, 3])
def test_at_ppca_no_parameter_of_the_vae_wants_to_move(K: int) -> None:
    s = known_spectrum(EIGENVALUES)
    x = s.stand_ins()
    found = gradient(as_vae(fit_ppca(s, K)), x)
    assert worst(*map(np.abs, found.values())) < 1e-12
    worse = gradient(as_vae(replace(fit_ppca(s, K), variance=1.0)), x)
    assert np.abs(worse["decoder.logvar.c"]).max() > 0.1


@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0, 3.0, 7.0])
def test_the_beta_vae_rests_on_the_curve(beta: float, K: int) -> None:
    """The closed form is a critical point of our own beta-loss, with these rates and errors."""
    s, sigma2 = known_spectrum(EIGENVALUES), 0.5
    x = s.stand_ins()
    world = best_decoder(s, K, sigma2, beta)
    assert world.variance == sigma2
    model = as_vae(world, beta)
    found = gradient(model, x, kl_weight=beta)
    del found["decoder.logvar.c"]  # sigma is given
    assert worst(*map(np.abs, found.values())) < 1e-12
    want = reverse_water_filling(s.eigenvalues, beta * sigma2, K)
    got = operating_point(model, x)
    assert got.active() == want.active()
    assert np.allclose(got.rates, want.rates, atol=1e-12)
    assert np.allclose(got[:3], want[:3], rtol=1e-12, atol=1e-12)


def test_the_operating_point_is_measured_by_the_elbo_itself() -> None:
    rng = np.random.default_rng(0)
    model, x = perturbed(linear_vae(4, 2, sigma=0.6), rng), rng.normal(size=(7, 4))
    sigma2 = as_world(model).variance
    result = objectives.elbo(model, x, cubature(7, 2), gradient=False)
    error = -2.0 * result.reconstruction - 4 * math.log(2 * math.pi * sigma2)
    got = operating_point(model, x)
    assert got.distortion == pytest.approx(sigma2 * error.mean(), rel=1e-12)
    assert got.rate == pytest.approx(result.kl.sum(axis=1).mean(), rel=1e-12)
    assert np.allclose(got.rates, result.kl.mean(axis=0), rtol=1e-12)
    of_mean = ((x - model.reconstruct(x)) ** 2).sum(axis=1).mean()
    assert got.mean_distortion == pytest.approx(of_mean, rel=1e-12)
    assert got.mean_distortion < got.distortion


# ---- training gets there ----


@pytest.mark.parametrize("seed", [0, 1])
def test_a_trained_linear_vae_is_ppca(seed: int) -> None:
    s = known_spectrum(EIGENVALUES)
    x = s.stand_ins()
    model = linear_vae(4, 2, seed=seed)
    losses = train_exactly(model, x, steps=1800, learning_rate=0.2)
    best, world = max_log_likelihood(s.eigenvalues, 2), as_world(model)
    assert -1e-12 < losses[-1] + best < 1e-5
    assert -1e-12 < best - world.log_prob(x).mean() < 1e-5
    assert world.variance == pytest.approx(noise_variance(s.eigenvalues, 2), abs=1e-3)
    assert operating_point(model, x).rate == pytest.approx(mean_kl(s.eigenvalues, 2), abs=2e-3)
    assert principal_angles(world.W, s.axes[:2]).max() < 2e-3
    assert world.diagonal_gap() < 1e-5  # its latents are the principal axes themselves


def test_on_digits_training_finds_the_maximum_of_the_likelihood() -> None:
    x = load_digits().train.x.astype(np.float64)
    x -= x.mean(axis=0)
    s = Spectrum.of(x)
    model = linear_vae(64, 2, sigma=0.2)
    train_exactly(model, s.stand_ins(), steps=1500, learning_rate=0.1)
    best = max_log_likelihood(s.eigenvalues, 2)
    bound = expected_elbo(model, x, gradient=False).elbo.mean()
    assert 0 < best - as_world(model).log_prob(x).mean() < best - bound < 1e-3


def test_beta2_is_adams() -> None:
    x = known_spectrum(EIGENVALUES).stand_ins()
    model, by_hand = linear_vae(4, 2), linear_vae(4, 2)
    train_exactly(model, x, steps=3, learning_rate=0.1, beta2=0.5)
    adam = Adam(0.1, beta2=0.5)
    for step in range(3):
        adam.learning_rate = 0.05 * (1.0 + math.cos(math.pi * step / 3))
        by_hand.parameters.zero_grad()
        expected_elbo(by_hand, x)
        adam.step(by_hand.parameters.theta, by_hand.parameters.grad)
    assert np.array_equal(model.parameters.theta, by_hand.parameters.theta)


@pytest.mark.parametrize("K", [3, 1])
@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_a_trained_beta_vae_is_on_shannons_curve(beta: float, K: int) -> None:
    s, sigma2 = known_spectrum(EIGENVALUES), 0.5
    x = s.stand_ins()
    model = linear_vae(4, K, "fixed", math.sqrt(sigma2))
    train_exactly(model, x, steps=1600 if K > 1 else 1000, learning_rate=0.2, kl_weight=beta)
    got, want = operating_point(model, x), reverse_water_filling(s.eigenvalues, beta * sigma2, K)
    assert np.allclose(got[:3], want[:3], rtol=0, atol=5e-5)  # 4 digits
    assert got.active() == want.active()
    if K == 3:
        shannon = reverse_water_filling(s.eigenvalues, beta * sigma2)
        assert got.rate == pytest.approx(shannon.rate, abs=5e-5)


def test_minibatches_come_close() -> None:
    s = known_spectrum(EIGENVALUES)
    x = fit_ppca(s, 2).sample(300, np.random.default_rng(0))[1]
    model = linear_vae(4, 2)
    losses = train_exactly(model, x, steps=1200, learning_rate=0.05, batch_size=50, seed=3)
    best = max_log_likelihood(Spectrum.of(x).eigenvalues, 2)
    assert len(losses) == 1200
    assert 0 < best - expected_elbo(model, x, gradient=False).elbo.mean() < 0.01


def test_training_is_repeatable_and_visits_every_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from minivae.exact import linear_vae as module

    x = np.random.default_rng(0).normal(size=(10, 4))
    runs = [train_exactly(linear_vae(4, 2), x, 9, batch_size=4, seed=s) for s in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    seen: list[np.ndarray] = []
    original = module.expected_elbo

    def spy(model: VAE, batch: np.ndarray, kl_weight: float) -> objectives.Elbo:
        seen.append(batch)
        return original(model, batch, kl_weight)

    monkeypatch.setattr(module, "expected_elbo", spy)
    train_exactly(linear_vae(4, 2), x, 4, batch_size=5)
    assert [len(batch) for batch in seen] == [5, 5, 5, 5]
    for pair in (seen[:2], seen[2:]):
        assert np.array_equal(np.sort(np.concatenate(pair), axis=0), np.sort(x, axis=0))
    assert not np.array_equal(seen[0], seen[2])
    seen.clear()
    train_exactly(linear_vae(4, 2), x, 2, batch_size=10)
    assert all(np.array_equal(batch, x) for batch in seen)
    seen.clear()
    train_exactly(linear_vae(4, 2), x, 3, batch_size=4)
    assert [len(batch) for batch in seen] == [4, 4, 4]


def test_the_learning_rate_falls_along_a_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    from minivae.exact import linear_vae as module

    rates: list[float] = []

    class Watched(module.Adam):
        def step(self, theta: np.ndarray, grad: np.ndarray) -> None:
            rates.append(self.learning_rate)

    monkeypatch.setattr(module, "Adam", Watched)
    train_exactly(linear_vae(4, 2), np.zeros((3, 4)), 4, learning_rate=0.2)
    want = [0.2 * math.cos(math.pi * t / 8) ** 2 for t in range(4)]
    assert rates == pytest.approx(want, rel=1e-12)


def test_training_refuses_what_it_cannot_take() -> None:
    model = linear_vae(4, 2)
    with pytest.raises(ValueError, match=r"shape \(N, 4\)"):
        train_exactly(model, np.zeros((3, 5)))
    with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
        train_exactly(model, np.zeros((3, 4)), batch_size=0)
    with pytest.raises(ValueError, match=r"shape \(N, 4\)"):
        operating_point(model, np.zeros((3, 5)))
