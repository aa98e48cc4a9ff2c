"""The KL taken apart: I(x; z) + KL(q(z) || p(z)), against quadrature and in the limits."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import make_model

from minivae import VAE, Adam, Architecture, Autoencoder, load_digits, smoothed_mean, train
from minivae.arrays import to_device
from minivae.distributions import Gaussian
from minivae.evaluation import exact_surgery, surgery
from minivae.evaluation.surgery import log_density, log_mixture


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(z: np.ndarray, mu: float, logvar: float) -> np.ndarray:
    variance = math.exp(logvar)
    return np.exp(-0.5 * (z - mu) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


def by_quadrature(q: Gaussian, n: int = 20_001, width: float = 14.0) -> tuple[float, float]:
    """I(x; z) = 1/N sum KL(q_n || q) and KL(q || p), by the trapezoid rule over one or two axes."""
    line = np.linspace(-width, width, n)
    volume, K = (line[1] - line[0]) ** q.mu.shape[1], q.mu.shape[1]
    with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
        axes = [[normal(line, m, v) for m, v in zip(q.mu[:, k], q.logvar[:, k], strict=True)]
                for k in range(K)]  # fmt: skip
        prior = normal(line, 0, 0)
        each = np.array(axes[0])
        if K == 2:
            each = np.array([np.outer(a, b) for a, b in zip(*axes, strict=True)])
            prior = np.outer(prior, prior)
        mixture = each.mean(axis=0)
        ratio = np.where(each > 0, each * np.log(each / mixture), 0.0)
        rest = np.where(mixture > 0, mixture * np.log(mixture / prior), 0.0)
    return float(ratio.sum() / len(each) * volume), float(rest.sum() * volume)


def digits() -> np.ndarray:
    return load_digits().test.x.astype(np.float64)


@functools.cache
def trained(K: int, **options: float) -> VAE:
    """A small VAE of grey digits, trained for a second."""
    x = load_digits().train.x.astype(np.float64)
    a = Architecture(64, K, (32,), "tanh")
    model = VAE(a, smoothed_mean(x), dtype="float64")
    train(
        model, x, epochs=12, batch_size=128, optimizer=Adam(5e-3), binarisation="new",
        progress=False, **options,
    )  # fmt: skip
    return model


def bits(n: int) -> np.ndarray:
    """n different examples of four bits."""
    return np.array([[i >> j & 1 for j in range(4)] for i in range(n)], float)


def spread(K: int, N: int = 12, scale: float = 1.0, logvar: float = -1.0) -> VAE:
    """A VAE of `bits` whose posteriors differ in place, in width and from the prior."""
    model, _, _ = make_model(VAE, rng(3), D=4, latent=K, activation="tanh")
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.W"][...] *= scale
    view["encoder.logvar.0.W"][...] *= 0.2
    view["encoder.logvar.0.b"][...] = logvar
    return model


# ---- against quadrature ----


@pytest.mark.parametrize("K", [1, 2])
def test_the_exact_surgery_is_the_quadrature_written_out(K: int) -> None:
    """The trapezoid rule on another lattice, and the information as a mean of divergences."""
    model, x = spread(K, scale=4.0), bits(12)
    got = exact_surgery(model, x)
    n, width = (20_001, 14.0) if K == 1 else (901, 9.0)
    information, marginal = by_quadrature(model.encode(x), n, width)
    assert 0.3 < information < math.log(12) and marginal > 0.05
    assert abs(got.mutual_information - information) < 1e-8 + got.error
    assert abs(got.marginal_kl - marginal) < 1e-8 + got.error
    assert got.error < 1e-6


@pytest.mark.parametrize("K", [1, 2])
def test_the_three_numbers_of_a_trained_model_agree_with_the_quadrature(K: int) -> None:
    model, x = trained(K), digits()
    exact = exact_surgery(model, x, chunk=70)
    assert abs(exact.kl - exact.mutual_information - exact.marginal_kl) < 1e-12 + exact.error
    assert exact.mutual_information > 0.5 and exact.marginal_kl > 0.005
    got = surgery(model, x, rng(2), samples=20)
    assert abs(got.kl.mean - exact.kl) < 1e-12
    assert 0.0 < got.noise < 0.03
    assert abs(got.mutual_information.mean - exact.mutual_information) < 4 * got.noise
    assert abs(got.marginal_kl.mean - exact.marginal_kl) < 4 * got.noise


def test_the_stated_noise_is_the_spread_over_draws() -> None:
    model, x = spread(2), bits(12)
    exact = exact_surgery(model, x)
    runs = [surgery(model, x, rng(i), samples=3) for i in range(400)]
    means = np.array([r.mutual_information.mean for r in runs])
    # 400 repeats know a spread to 1 / sqrt(800) = 3.5 %.
    assert abs(np.mean([r.noise for r in runs]) / means.std() - 1) < 0.12
    assert abs(means.mean() - exact.mutual_information) < 4 * means.std() / 20  # no bias
    rest = np.array([r.marginal_kl.mean for r in runs])
    assert abs(rest.mean() - exact.marginal_kl) < 4 * rest.std() / 20


def test_a_minibatch_as_the_mixture_would_be_wrong() -> None:
    """The mixture is all of the data: with a tenth of it the information is another number."""
    model, x = trained(2), digits()
    whole = exact_surgery(model, x).mutual_information
    parts = [exact_surgery(model, x[i::10], 1e-3).mutual_information for i in range(10)]
    assert np.mean(parts) < whole - 0.02


def test_the_error_is_over_the_examples() -> None:
    """Other data sets of the same size, drawn with replacement, differ by as much."""
    model, x = trained(1), digits()
    stated = surgery(model, x, rng(1), samples=30)
    draw = rng(5)
    others = [exact_surgery(model, x[draw.integers(0, 250, 250)]) for _ in range(60)]
    for name in ("kl", "mutual_information", "marginal_kl"):
        scatter = np.std([getattr(o, name) for o in others])
        # 60 repeats know a spread to 9 %; the draws add their own noise to what is stated.
        assert 0.7 < getattr(stated, name).standard_error / scatter < 1.5, name


# ---- limits ----


def test_a_collapsed_model_says_nothing() -> None:
    model, x, _ = make_model(VAE, rng(), B=20)
    view = model.parameters.views(model.parameters.theta)
    for name in view:
        if name.startswith(("encoder.mu", "encoder.logvar")):
            view[name][...] = 0.0
    result, exact = surgery(model, x, rng(1), samples=3), exact_surgery(model, x)
    for name in ("kl", "mutual_information", "marginal_kl"):
        assert abs(getattr(result, name).mean) < 1e-14
        assert abs(getattr(exact, name)) < 1e-12 + exact.error
    view["encoder.mu.b"][...] = [3.0, 0.0]  # collapsed elsewhere: nats, and no information
    moved = surgery(model, x, rng(1), samples=3)
    assert abs(moved.kl.mean - 4.5) < 1e-12 and abs(moved.mutual_information.mean) < 1e-14
    assert abs(moved.marginal_kl.mean - 4.5) < 1e-12


def test_a_model_trained_to_collapse_is_zero_within_its_errors() -> None:
    result = surgery(trained(2, kl_weight=30.0), digits(), rng(), samples=5)
    assert 0.0 <= result.kl.mean < 5e-3
    for estimate in (result.mutual_information, result.marginal_kl):
        assert abs(estimate.mean) < 4 * estimate.standard_error + 1e-3


def test_codes_far_apart_tell_what_there_is_to_tell() -> None:
    """All different examples reach ln N; equal ones cannot be told apart by any code."""
    model, x = spread(2, scale=1e4), bits(12)
    result = surgery(model, x, rng(1), samples=2)
    assert abs(result.mutual_information.mean - math.log(12)) < 1e-12
    assert result.limit == math.log(12)  # of the examples, not of their draws
    twice = surgery(model, np.concatenate([x, x]), rng(1))
    assert abs(twice.mutual_information.mean - math.log(12)) < 1e-12
    assert twice.limit == math.log(24) and math.isnan(twice.noise)


@given(st.integers(1, 16), st.integers(1, 5), st.floats(-4.0, 4.0), st.integers(0, 10**6))
def test_never_above_ln_n(N: int, K: int, log_scale: float, seed: int) -> None:
    """For every draw, however near or far the codes are: here for one draw of each example."""
    model, x = spread(K, scale=10.0**log_scale), bits(N)
    result = surgery(model, x, rng(seed))
    assert result.mutual_information.mean <= math.log(N) + 1e-13
    assert (result.n_examples, result.n_samples) == (N, 1)
    total = result.mutual_information.mean + result.marginal_kl.mean
    assert abs(total - result.kl.mean) <= 1e-12 * (1 + result.kl.mean)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6))
def test_every_single_ratio_keeps_to_the_limit(N: int, K: int, seed: int) -> None:
    draw = rng(seed)
    q = Gaussian(draw.normal(0, 10, (N, K)), draw.normal(-3, 4, (N, K)))
    z = q.sample(draw.normal(size=(N, K)))
    ratio = log_density(z, q) - log_mixture(z, q)
    rounding = 1e-15 * (1 + np.abs(log_density(z, q)))
    assert (ratio <= math.log(N) + rounding).all()


# ---- parts ----


def test_the_density_of_the_mixture() -> None:
    draw = rng()
    q = Gaussian(draw.normal(size=(5, 3)), draw.normal(size=(5, 3)))
    z = draw.normal(size=(7, 3))
    each = [math.prod(normal(z[:, k], q.mu[n, k], q.logvar[n, k]) for k in range(3))
            for n in range(5)]  # fmt: skip
    assert np.allclose(log_mixture(z, q), np.log(np.mean(each, axis=0)), rtol=1e-12)
    assert np.allclose(log_density(z[:5], q), q.log_prob(z[:5]), rtol=1e-12)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    model, x = spread(2), bits(12)
    want = surgery(model, x, rng(4), samples=2)
    monkeypatch.setattr(sys.modules["minivae.evaluation.surgery"], "PAIRS", 50)  # 4 draws at a time
    got = surgery(model, x, rng(4), samples=2, chunk=5)
    assert abs(got.mutual_information.mean - want.mutual_information.mean) < 1e-13
    assert abs(got.kl.mean - want.kl.mean) < 1e-13


def test_more_samples_are_other_draws() -> None:
    model, x = spread(2), bits(12)
    assert surgery(model, x, rng(), samples=2).noise > 1e-3
    noise = [surgery(model, x, rng(), samples=s).noise for s in (50, 800)]
    assert 2.5 < noise[0] / noise[1] < 6.0  # 1 / sqrt(S)


def test_a_float32_model_is_measured_in_float64() -> None:
    model, x = spread(2), bits(12)
    model.parameters.bind(model.parameters.theta.astype("f"))
    model.parameters.grad[...] = 7.0
    same = model.twin("float64")
    assert surgery(model, x.astype("f"), rng()) .kl == surgery(same, x, rng()).kl  # fmt: skip
    assert (model.parameters.grad == 7.0).all()


def test_on_another_library() -> None:
    strict = pytest.importorskip("array_api_strict")
    model, x = spread(2), bits(12)
    other = spread(2)
    device = strict.Device("device1")
    other.device = lambda a: strict.asarray(a, device=device)
    other.parameters.bind(to_device(model.parameters.theta, other.device))
    want, got = surgery(model, x, rng(), samples=2), surgery(other, x, rng(), samples=2)
    assert abs(want.mutual_information.mean - got.mutual_information.mean) < 1e-12
    assert abs(want.noise - got.noise) < 1e-12


# ---- refusals ----


def test_refusals() -> None:
    model, x = spread(2), bits(12)
    with pytest.raises(ValueError, match="samples of at least 1, got 0"):
        surgery(model, x, rng(), samples=0)
    with pytest.raises(ValueError, match="chunk of at least 1, got 0"):
        surgery(model, x, rng(), chunk=0)
    with pytest.raises(ValueError, match="shape"):
        surgery(model, x[:0], rng())
    with pytest.raises(ValueError, match="one or two latents, got 3"):
        exact_surgery(spread(3), x)
    with pytest.raises(ValueError, match="positive tolerance"):
        exact_surgery(model, x, tolerance=0.0)
    autoencoder, data, _ = make_model(Autoencoder, rng())
    with pytest.raises(TypeError, match="Autoencoder: it has no q"):
        surgery(autoencoder, data, rng())  # type: ignore[arg-type]


def test_narrow_posteriors_are_found_and_what_is_missed_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sigma = 5e-4 beside a spacing of 0.07; and a q(z) of which the lattice sees a half."""
    import sys

    model, x = spread(2, logvar=-60.0), bits(12)
    assert abs(exact_surgery(model, x).mutual_information - math.log(12)) < 1e-6
    module = sys.modules["minivae.evaluation.surgery"]
    monkeypatch.setattr(module, "log_mixture", lambda z, q: log_mixture(z, q) - math.log(2))
    with pytest.raises(ValueError, match=r"integrate to 1, got 0.5: .*too narrow for the lattice"):
        exact_surgery(spread(2), x)
