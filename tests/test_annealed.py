"""Annealed importance sampling: each part against its law, the whole against known likelihoods."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import linear_gaussian, make_model

from minivae import VAE, Architecture, Autoencoder, Estimate
from minivae.distributions import Gaussian
from minivae.evaluation import Annealing, annealed, annealed_likelihood, bidirectional
from minivae.evaluation.annealed import Path, anneal, leapfrog, simulate, transition, tune
from minivae.exact import exact_evidence
from minivae.models.networks import LIKELIHOODS
from minivae.numerics import log_mean_exp
from minivae.verify import complex_step, gradient_error


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def likelihood_of(model: VAE, x: np.ndarray, sigma: float) -> np.ndarray:
    """log N(x; b, W^T W + sigma^2 I) of a linear-Gaussian model."""
    view = model.parameters.views(model.parameters.theta)
    W, b = view["decoder.mu.W"], view["decoder.mu.b"]
    C, r = W.T @ W + sigma**2 * np.eye(len(b)), x - b
    quadratic = (r * np.linalg.solve(C, r.T).T).sum(axis=1)
    return -0.5 * (len(b) * math.log(2 * math.pi) + np.linalg.slogdet(C)[1] + quadratic)


def posterior(model: VAE, x: np.ndarray, n: int, draw: np.random.Generator) -> np.ndarray:
    """n exact samples (n, B, K): in `linear_gaussian` the encoder is the posterior."""
    q = model.encode(x)
    return q.sample(draw.standard_normal((n, *q.mu.shape)))


# ---- the path ----


@settings(max_examples=50)
@given(T=st.integers(1, 300), delta=st.floats(0.01, 20.0))
def test_temperatures_rise_from_0_to_1_on_a_sigmoid(T: int, delta: float) -> None:
    betas = Annealing(n_temperatures=T, delta=delta).betas()
    assert betas[0] == 0.0 and betas[-1] == 1.0 and len(betas) == T + 1
    assert (np.diff(betas) > 0.0).all()
    low, high = 1 / (1 + math.exp(delta)), 1 / (1 + math.exp(-delta))
    for t, beta in enumerate(betas):
        s = 1 / (1 + math.exp(-delta * (2 * t / T - 1)))
        assert math.isclose(beta, (s - low) / (high - low), rel_tol=1e-9, abs_tol=1e-12)
        assert math.isclose(beta, 1.0 - betas[T - t], abs_tol=1e-12)


def complex_path(model: VAE, x: np.ndarray, settings_: Annealing) -> Path:
    """The path of the same model with complex parameters, for derivatives by complex step."""
    twin = model.twin()
    twin.parameters.bind(twin.parameters.theta.astype(complex))
    return Path(twin, x, settings_)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    likelihood=st.sampled_from(sorted(LIKELIHOODS)),
    start=st.sampled_from(["prior", "encoder"]),
    beta=st.floats(0.0, 1.0),
)
def test_the_pull_is_the_derivative_of_the_log_density(
    seed: int, likelihood: str, start: str, beta: float
) -> None:
    """By complex step, and the density itself from its definition."""
    model, x, _ = make_model(
        VAE, rng(seed), activation="tanh", likelihood=likelihood, variance="pixel"
    )
    z = rng(seed).normal(size=(2, len(x), 2))
    point = Path(model, x, Annealing(start=start)).at(z)
    c = rng(seed + 1).normal(size=(2, len(x)))
    path = complex_path(model, x, Annealing(start=start))
    want = complex_step(lambda a: (c * path.at(a).log_f(beta)).sum(), z)
    got = c[..., None] * point.pull(beta)
    assert gradient_error(got, want, float(np.abs(c).max())) < 1e-12
    q = model.encode(x) if start == "encoder" else Gaussian(np.zeros(2), np.zeros(2))
    log_0 = q.log_prob(z)
    log_joint = np.stack([model.decode(z_c).log_prob(x) for z_c in z])
    log_joint += Gaussian(np.zeros(2), np.zeros(2)).log_prob(z)
    assert np.allclose(point.log_f(beta), (1 - beta) * log_0 + beta * log_joint, rtol=1e-11)
    assert np.allclose(point.log_f(1.0), log_joint, rtol=1e-11)


# ---- the transition ----


def linear_path(settings_: Annealing, sigma: float = 0.6) -> tuple[Path, VAE, np.ndarray, Any]:
    model, x, log_p = linear_gaussian(rng(), sigma=sigma)
    return Path(model, x, settings_), model, x, log_p


def test_leapfrog_can_be_walked_back_and_keeps_volumes() -> None:
    model, x, _ = make_model(VAE, rng(), activation="tanh", B=2)
    path = Path(model, x, Annealing(n_leapfrog=5))
    z, v = rng(1).normal(size=(2, 1, 2, 2))
    step = np.array([[0.3], [0.2]])
    point = path.at(z)
    end, w = leapfrog(path, point, v, 0.7, step)
    back, u = leapfrog(path, end, -w, 0.7, step)
    assert np.abs(back.z - z).max() < 1e-12 and np.abs(u + v).max() < 1e-12
    assert np.abs(end.z - z).max() > 0.1
    # The Jacobian of (z, v) -> (z', v') for each example has determinant 1.
    path = complex_path(model, x, Annealing(n_leapfrog=5))
    jacobian = np.empty((2, 4, 4))
    for column in range(4):
        dz, dv = np.zeros((2, 1, 1, 2))
        (dz, dv)[column // 2][..., column % 2] = 1e-30
        a, b = leapfrog(path, path.at(z + 1j * dz), v + 1j * dv, 0.7, step)
        jacobian[:, :, column] = np.concatenate([a.z, b], axis=2)[0].imag / 1e-30
    assert np.abs(np.linalg.det(jacobian) - 1.0).max() < 1e-12


def test_the_energy_error_falls_with_the_square_of_the_step() -> None:
    model, x, _ = make_model(VAE, rng(2), activation="tanh", B=1)
    z, v = rng(1).normal(size=(2, 50, 1, 2))
    errors = []
    for n in (10, 20, 40):
        path = Path(model, x, Annealing(n_leapfrog=n))
        point = path.at(z)
        end, w = leapfrog(path, point, v, 1.0, np.array([[1.0 / n]]))
        change = end.log_f(1.0) - point.log_f(1.0) + 0.5 * ((v**2).sum(-1) - (w**2).sum(-1))
        errors.append(np.abs(change).mean())
    assert errors[0] > 1e-5
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 3.5 < coarse / fine < 4.5


@pytest.mark.parametrize("step", [0.8, 1.0])
def test_a_transition_leaves_the_posterior_unchanged(step: float) -> None:
    """20,000 exact samples, moved with steps so long that many moves are rejected, are still exact:
    mean and variance in the coordinates where the posterior is N(0, 1)."""
    path, model, x, _ = linear_path(Annealing(n_leapfrog=3), sigma=1.0)
    q = model.encode(x)
    draw, n = rng(3), 20_000
    point = path.at(posterior(model, x, n, draw))
    before = point.z
    for _ in range(2):
        point, acceptance = transition(path, point, 1.0, np.full((len(x), 1), step), draw)
    assert 0.2 < acceptance.mean() < 0.97 and acceptance.shape == (4,)
    moved = (point.z != before).any(axis=2).mean()
    assert moved > 0.3
    r = (point.z - q.mu) / np.exp(0.5 * q.logvar)
    assert np.abs(r.mean(axis=0)).max() < 4.5 / math.sqrt(n)
    assert np.abs((r**2).mean(axis=0) - 1.0).max() < 4.5 * math.sqrt(2 / n)
    fresh = path.at(point.z)
    for a, b in zip(point, fresh, strict=True):  # everything moved along with z
        assert np.allclose(a, b, rtol=0, atol=1e-10)


def test_a_wrong_start_is_forgotten() -> None:
    """From z = 3 the chain finds the density f_beta of its own beta, a Gaussian that is known."""
    path, model, x, _ = linear_path(Annealing(n_leapfrog=4), sigma=1.0)
    view = model.parameters.views(model.parameters.theta)
    W, b = view["decoder.mu.W"], view["decoder.mu.b"]
    draw, n, beta = rng(5), 4_000, 0.3
    point = path.at(np.full((n, len(x), 2), 3.0))
    for _ in range(12):
        point, _ = transition(path, point, beta, np.full((len(x), 1), 0.4), draw)
    precision = 1.0 + beta * (W**2).sum(axis=1)
    mean = beta * (x - b) @ W.T / precision
    assert np.abs(point.z.mean(axis=0) - mean).max() < 5 / math.sqrt(n)
    assert np.abs(point.z.var(axis=0) * precision - 1.0).max() < 5 * math.sqrt(2 / n)


def test_a_particle_that_flies_off_stays_where_it_was() -> None:
    model, x, _ = make_model(VAE, rng(), likelihood="gaussian", activation="relu")
    for dtype, step in (("float64", 1e80), ("float32", 1e15)):
        twin = model.twin(dtype)
        path = Path(twin, twin.array(x), Annealing(n_leapfrog=4))
        point = path.at(path.sample(rng()))
        tall = np.full((len(x), 1), step, dtype)
        end, acceptance = transition(path, point, 1.0, tall, rng(1))
        assert np.array_equal(end.z, point.z) and (acceptance == 0.0).all()


# ---- the weights ----


@pytest.mark.parametrize("start", ["prior", "encoder"])
@pytest.mark.parametrize("T", [1, 2, 4])
def test_weights_have_the_mean_p_of_x_with_few_and_bad_steps(start: str, T: int) -> None:
    """Forward E w = p(x), backward from the posterior E 1/w = 1 / p(x): by 20,000 chains."""
    settings_ = Annealing(n_chains=20_000, n_temperatures=T, n_leapfrog=2, start=start)
    model, x, log_p = linear_gaussian(rng(), D=3, K=1, sigma=1.0)
    view = model.parameters.views(model.parameters.theta)
    exact = posterior(model, x, 20_000, rng(9))
    view["encoder.mu.b"][...] += 0.2  # now the encoder is a wrong start, somewhat too wide
    view["encoder.logvar.0.b"][...] += 0.4
    path = Path(model, x, settings_)
    steps = [np.full((len(x), 1), 0.9)] * (T + 1)
    log_w, acceptance = anneal(path, path.sample(rng(1)), path.betas, steps, rng(2))
    back, _ = anneal(path, exact, path.betas[::-1], steps[::-1], rng(3))
    assert log_w.shape == (20_000, 4) and acceptance.shape == (4,)
    for ratio in (np.exp(log_w - log_p), np.exp(back + log_p)):
        error = ratio.std(axis=0, ddof=1) / math.sqrt(20_000)
        assert error.max() < 0.08  # the weights are tame enough to say something
        assert (np.abs(ratio.mean(axis=0) - 1.0) < 4.5 * error).all()
    if T == 1:  # no transition at all: plain importance sampling from p_0
        z = path.sample(rng(1))
        log_ratio = path.at(z).log_f(1.0) - path.start.log_prob(z)
        assert np.allclose(log_w, log_ratio, rtol=0, atol=1e-12) and (acceptance == 1.0).all()


def test_the_path_ends_in_the_posterior() -> None:
    """With many temperatures the last places are nearly samples of it, and weights nearly equal."""
    path, model, x, log_p = linear_path(Annealing(64, 100, 4))
    steps = tune(path, rng(1))
    log_w, acceptance = anneal(path, path.sample(rng(2)), path.betas, steps, rng(3))
    assert np.abs(log_mean_exp(log_w) - log_p).max() < 0.25
    assert log_w.std(axis=0).max() < 0.9
    assert np.abs(acceptance - 0.65).max() < 0.12


def test_the_pilot_finds_steps_for_every_example_and_temperature() -> None:
    """Where noise is small the posterior is narrow, and so are the steps at beta = 1."""
    found = []
    for sigma in (1.0, 0.1):
        path, *_ = linear_path(Annealing(16, 60, 4), sigma)
        steps = tune(path, rng(1))
        assert len(steps) == 61 and all(s.shape == (4, 1) for s in steps)
        found.append(np.array(steps)[..., 0])
    assert (found[1][-1] < 0.3 * found[0][-1]).all()
    assert (found[1][-1] < 0.3 * found[1][5]).all()


# ---- from both sides ----


def test_the_sandwich_encloses_the_exact_likelihood_of_a_linear_world() -> None:
    model, _, _ = linear_gaussian(rng(), sigma=0.6)
    got = bidirectional(model, 40, rng(2), Annealing(16, 50, 4))
    log_p = likelihood_of(model, got.x, 0.6)
    below, above = Estimate.of(log_p - got.lower), Estimate.of(got.upper - log_p)
    for side in (below, above):
        assert side.mean > -3 * side.standard_error
    assert 0.0 < got.gap.mean() < 0.15 and np.allclose(got.gap, got.upper - got.lower)
    assert got.x.shape == (40, 5) and got.z.shape == (40, 2) and got.acceptance.shape == (40,)
    assert 0.5 < got.acceptance.mean() < 0.8


def test_with_few_temperatures_the_sandwich_is_wide_and_still_encloses() -> None:
    model, _, _ = linear_gaussian(rng(), sigma=0.2)
    got = bidirectional(model, 200, rng(2), Annealing(4, 5, 2))
    log_p = likelihood_of(model, got.x, 0.2)
    assert got.gap.mean() > 1.0
    assert (log_p - got.lower).mean() > 0.3 and (got.upper - log_p).mean() > 0.3


@pytest.mark.parametrize("start", ["prior", "encoder"])
def test_the_sandwich_closes_on_a_small_vae(start: str) -> None:
    """A gap below 0.1 nats, around the log p(x) of the quadrature."""
    model, _, _ = make_model(VAE, rng(4), D=8, latent=2, hidden=(6,), activation="tanh")
    view = model.parameters.views(model.parameters.theta)
    view["encoder.logvar.0.W"][...], view["encoder.logvar.0.b"][...] = 0.0, 0.0
    view["encoder.mu.W"][...] *= 0.3
    got = bidirectional(model, 25, rng(2), Annealing(16, 60, 4, start))
    log_p = exact_evidence(model, got.x).log_evidence
    below, above = Estimate.of(log_p - got.lower), Estimate.of(got.upper - log_p)
    for side in (below, above):
        assert -3 * side.standard_error < side.mean < 0.1
    assert got.gap.mean() < 0.1


def test_annealing_finds_the_likelihood_of_given_data() -> None:
    model, x, log_p = linear_gaussian(rng(), sigma=0.6)
    found = annealed_likelihood(model, x, rng(1), Annealing(32, 100, 4))
    off = np.abs(found.evidence.log_evidence - log_p)
    assert (off < 4 * found.evidence.standard_error).all() and off.max() < 0.3
    assert found.evidence.n_samples == 32 and (found.evidence.ess > 16).all()
    assert found.acceptance.shape == (4,)


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_simulated_data_have_the_moments_of_the_model(likelihood: str) -> None:
    model, _, _ = make_model(VAE, rng(), likelihood=likelihood, variance="pixel")
    z, x = simulate(model, 4_000, rng(1))
    assert z.shape == (4_000, 2) and x.shape == (4_000, 4)
    assert np.abs(z.mean(axis=0)).max() < 0.08 and np.abs(z.var(axis=0) - 1).max() < 0.12
    residual = x - model.decode(z).mean
    error = residual.std(axis=0) / math.sqrt(4_000)
    assert (np.abs(residual.mean(axis=0)) < 4.5 * error).all()
    if likelihood == "bernoulli":
        assert set(x.ravel()) == {0.0, 1.0}
    if likelihood == "gaussian":
        scaled = residual / np.exp(0.5 * model.decode(z).logvar)
        assert np.abs(scaled.var(axis=0) - 1.0).max() < 0.12
    model.check(x)


# ---- memory, dtype, device, errors ----


def test_examples_come_in_batches_of_bounded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, log_p = linear_gaussian(rng(), sigma=1.0)
    rows: list[int] = []
    at = Path.at

    def watch(self: Path, z: Any) -> Any:
        rows.append(z.shape[0] * z.shape[1])
        return at(self, z)

    monkeypatch.setattr(Path, "at", watch)
    monkeypatch.setattr(annealed, "ROWS", 50)
    found = annealed_likelihood(model, x, rng(1), Annealing(16, 40, 3))
    assert max(rows) == 48 and min(rows) == 16  # 3 examples, then 1
    assert np.abs(found.evidence.log_evidence - log_p).max() < 0.5
    assert bidirectional(model, 7, rng(1), Annealing(16, 3, 2)).gap.shape == (7,)
    assert annealed_likelihood(model, x, rng(1), Annealing(60, 2, 1)).acceptance.shape == (4,)


def test_the_model_is_left_alone() -> None:
    model, x, _ = make_model(VAE, rng())
    model.parameters.grad[...] = 7.0
    theta = model.parameters.theta.copy()
    annealed_likelihood(model, x, rng(), Annealing(2, 4, 2))
    bidirectional(model, 2, rng(), Annealing(2, 4, 2))
    assert (model.parameters.grad == 7.0).all()
    assert np.array_equal(model.parameters.theta, theta)


def test_float32_stays_float32_and_agrees() -> None:
    model, x, _ = make_model(VAE, rng(), activation="tanh")
    single = model.twin("float32")
    path = Path(single, single.array(x), Annealing(4, 10, 3, "encoder"))
    point, acceptance = transition(
        path, path.at(path.sample(rng())), 0.5, np.full((3, 1), 0.1, "f"), rng(1)
    )
    assert {str(a.dtype) for a in (*point, acceptance, *tune(path, rng(2)))} == {"float32"}
    found = annealed_likelihood(single, x.astype("f"), rng(1), Annealing(64, 20, 4))
    want = annealed_likelihood(model, x, rng(2), Annealing(64, 20, 4))
    assert found.evidence.log_evidence.dtype == np.float64
    both = np.hypot(found.evidence.standard_error, want.evidence.standard_error)
    assert (np.abs(found.evidence.log_evidence - want.evidence.log_evidence) < 5 * both).all()


def test_on_a_strict_device() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    here, x, _ = make_model(VAE, rng(), likelihood="gaussian")
    there = VAE(
        here.architecture, dtype="float64", device=lambda a: strict.asarray(a, device=device)
    )
    there.parameters.bind(strict.asarray(here.parameters.theta, device=device))
    for start in ("prior", "encoder"):
        settings_ = Annealing(3, 4, 2, start)
        want = annealed_likelihood(here, x, rng(1), settings_)
        got = annealed_likelihood(there, x, rng(1), settings_)
        assert np.allclose(got.evidence.log_evidence, want.evidence.log_evidence, rtol=1e-9)
        assert np.allclose(got.acceptance, want.acceptance, rtol=1e-9)
        both = bidirectional(here, 2, rng(1), settings_), bidirectional(there, 2, rng(1), settings_)
        assert np.allclose(both[0].gap, both[1].gap, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_chains": 0}, "expected n_chains of at least 1, got 0"),
        ({"n_temperatures": 0}, "expected n_temperatures of at least 1, got 0"),
        ({"n_leapfrog": -1}, "expected n_leapfrog of at least 1, got -1"),
        ({"start": "nowhere"}, "expected start 'prior' or 'encoder', got 'nowhere'"),
        ({"target": 1.0}, "expected target between 0 and 1, got 1.0"),
        ({"delta": 0.0}, "expected a positive, finite delta, got 0.0"),
        ({"delta": math.inf}, "expected a positive, finite delta, got inf"),
    ],
)
def test_settings_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Annealing(**options)


def test_models_and_data_that_are_refused() -> None:
    points, y, _ = make_model(Autoencoder, rng())
    model, x, _ = make_model(VAE, rng())
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        annealed_likelihood(points, y, rng())
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        bidirectional(points, 3, rng())
    with pytest.raises(ValueError, match="expected values in"):
        annealed_likelihood(model, x + 5.0, rng())
    with pytest.raises(ValueError, match="expected n of at least 1, got 0"):
        bidirectional(model, 0, rng())


def test_the_seed_decides() -> None:
    model = VAE(Architecture(4, 2, (3,)), dtype="float64")
    x = np.ones((2, 4))
    one, two, other = (
        annealed_likelihood(model, x, rng(s), Annealing(2, 3, 2)).evidence.log_evidence
        for s in (1, 1, 2)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, other)
