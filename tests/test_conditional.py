"""The conditional VAE: its gradient, its bound below the truth, and where its condition goes."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import settle

from minivae import objectives
from minivae.arrays import beside, to_numpy
from minivae.datasets import load_digits
from minivae.datasets.base import Dataset
from minivae.datasets.conditions import conditions
from minivae.distributions import Gaussian
from minivae.exact import exact_bound, exact_evidence
from minivae.models import ConditionalArchitecture, ConditionalVAE
from minivae.models.networks import LIKELIHOODS
from minivae.training import train
from minivae.verify import complex_step, model_errors

SEEDS = st.integers(0, 2**32 - 1)


def make(
    rng: np.random.Generator, B: int = 3, S: int = 2, D: int = 4, C: int = 3, latent: int = 2,
    **architecture: Any,
) -> tuple[ConditionalVAE, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """A float64 model with a drawn theta, x (B, D), real y (B, C) and eps (S, B, K)."""
    options = {"hidden": (3,), "activation": "tanh", "prior": "learned", **architecture}
    shape = ConditionalArchitecture(D, latent, n_conditions=C, **options)  # type: ignore[arg-type]
    model = ConditionalVAE(shape, dtype="float64")
    x = rng.normal(size=(B, D))
    if shape.likelihood == "bernoulli":
        x = rng.integers(0, 2, (B, D)).astype(float)
    elif shape.likelihood == "continuous-bernoulli":
        x = rng.random((B, D))
    y, eps = rng.normal(size=(B, C)), rng.normal(size=(S, B, latent))
    settle(
        model.parameters,
        lambda: objectives.conditional_elbo(model, x, y, eps, gradient=False),
        rng,
    )
    return model, x, y, eps


# ---- gradients ----


@settings(max_examples=25)
@given(
    likelihood=st.sampled_from(sorted(LIKELIHOODS)), prior=st.sampled_from(["standard", "learned"]),
    S=st.integers(1, 3), B=st.integers(1, 3), C=st.integers(1, 3),
    kl_weight=st.sampled_from([1.0, 0.3]), hidden=st.sampled_from([(), (3,), (3, 2)]), seed=SEEDS,
)  # fmt: skip
def test_the_gradient(
    likelihood: str, prior: str, S: int, B: int, C: int, kl_weight: float, hidden: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    model, x, y, eps = make(rng, B, S, C=C, likelihood=likelihood, prior=prior, hidden=hidden)
    errors = model_errors(
        model, lambda g: objectives.conditional_elbo(model, x, y, eps, kl_weight, gradient=g)
    )
    assert max(errors.values()) <= 1e-12, errors
    assert ("prior.mu.W" in errors) == (prior == "learned")


def test_the_gradient_above_and_below_a_floor() -> None:
    model, x, y, eps = make(np.random.default_rng(5), B=3)
    kl = objectives.conditional_elbo(model, x, y, eps, gradient=False).kl.mean(axis=0)
    floor = float(kl.mean())
    assert kl.min() < floor - 1e-3 and kl.max() > floor + 1e-3
    errors = model_errors(
        model, lambda g: objectives.conditional_elbo(model, x, y, eps, 0.7, floor, gradient=g)
    )
    assert max(errors.values()) <= 1e-12, errors
    total = float(np.maximum(kl, floor).sum())
    for most in (total - 1e-3, total + 1e-3):  # of all latents together
        errors = model_errors(
            model,
            lambda g, most=most: objectives.conditional_elbo(  # type: ignore[misc]
                model, x, y, eps, 0.7, floor, gradient=g, kl_floor=most
            ),
        )
        assert max(errors.values()) <= 1e-12, errors


@settings(max_examples=40)
@given(seed=SEEDS, B=st.integers(1, 3), K=st.integers(1, 3))
def test_the_divergence_pulls_at_both(seed: int, B: int, K: int) -> None:
    rng = np.random.default_rng(seed)
    mu, logvar, mu_p, logvar_p = rng.normal(size=(4, B, K))
    q, p = Gaussian(mu, logvar), Gaussian(mu_p, logvar_p)
    for slope, derivative in (
        (q.kl_grad(p)[0], complex_step(lambda v: Gaussian(v, logvar).kl(p).sum(), mu)),
        (q.kl_grad(p)[1], complex_step(lambda v: Gaussian(mu, v).kl(p).sum(), logvar)),
        (q.kl_grad_prior(p)[0], complex_step(lambda v: q.kl(Gaussian(v, logvar_p)).sum(), mu_p)),
        (q.kl_grad_prior(p)[1], complex_step(lambda v: q.kl(Gaussian(mu_p, v)).sum(), logvar_p)),
    ):
        assert np.abs(slope - derivative).max() <= 1e-12 * (1.0 + np.abs(derivative).max())


# ---- the bound ----


def pieces(model: ConditionalVAE, x: np.ndarray, y: np.ndarray, eps: np.ndarray) -> Any:
    """The bound of every example with loops over samples, from the densities alone."""
    q, p_z = model.encode(x, y), model.prior_of(y)
    reconstruction = np.mean(
        [model.decode(q.mu + np.exp(q.logvar / 2) * e, y).log_prob(x) for e in eps], axis=0
    )
    var, var_p = np.exp(q.logvar), np.exp(p_z.logvar)
    kl = 0.5 * (np.log(var_p / var) - 1.0 + (var + (q.mu - p_z.mu) ** 2) / var_p)
    return reconstruction, kl


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_the_value_is_that_of_the_formula(prior: str) -> None:
    model, x, y, eps = make(np.random.default_rng(1), B=4, S=3, prior=prior)
    reconstruction, kl = pieces(model, x, y, eps)
    result = objectives.conditional_elbo(model, x, y, eps, 0.5, 0.2, gradient=False)
    assert result.reconstruction == pytest.approx(reconstruction, abs=1e-12)
    assert result.kl == pytest.approx(kl, abs=1e-12)
    assert result.elbo == pytest.approx(reconstruction - kl.sum(axis=1), abs=1e-12)
    charged = 0.5 * np.maximum(kl.mean(axis=0), 0.2).sum()
    assert float(result.loss) == pytest.approx(charged - reconstruction.mean(), abs=1e-12)


def evidence(model: ConditionalVAE, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log p(x|y) for two latents, by a plain sum over a fine lattice in the prior's coordinates."""
    t = np.linspace(-9.0, 9.0, 181)
    u = np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
    log_cell = -0.5 * (u * u).sum(axis=1) - math.log(2.0 * math.pi) + 2.0 * math.log(t[1] - t[0])
    values = []
    for i in range(len(x)):
        rows = np.repeat(y[i : i + 1], len(u), axis=0)
        p_z = model.prior_of(y[i : i + 1])
        log_f = model.decode(p_z.mu + np.exp(0.5 * p_z.logvar) * u, rows).log_prob(x[i]) + log_cell
        values.append(np.log(np.exp(log_f - log_f.max()).sum()) + log_f.max())
    return np.array(values)


@pytest.mark.parametrize("prior", ["standard", "learned"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_bound_is_below_the_truth_by_quadrature(likelihood: str, prior: str) -> None:
    """And the gap is KL(q || p(z|x,y)), computed on the lattice without the bound."""
    rng = np.random.default_rng(3)
    model, x, y, _ = make(rng, B=3, likelihood=likelihood, prior=prior)
    truth = evidence(model, x, y)
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    eps = np.array([(a, b) for a in nodes for b in nodes])[:, None, :].repeat(3, axis=1)
    weight = np.array([a * b for a in weights for b in weights]) / (2.0 * math.pi)
    q, p_z = model.encode(x, y), model.prior_of(y)
    gap, reconstruction = np.zeros(3), np.zeros(3)
    for w, e in zip(weight, eps, strict=True):
        z = q.mu + np.exp(0.5 * q.logvar) * e
        log_px = model.decode(z, y).log_prob(x)
        reconstruction += w * log_px
        gap += w * (q.log_prob(z) - p_z.log_prob(z) - log_px + truth)
    bound = reconstruction - q.kl(p_z)
    assert (bound < truth - 1e-3).all()
    assert gap == pytest.approx(truth - bound, abs=1e-6)
    some = rng.normal(size=(4000, 3, 2))
    sampled = objectives.conditional_elbo(model, x, y, some, gradient=False).elbo
    assert sampled == pytest.approx(bound, abs=0.25)


def test_for_one_condition_it_is_a_plain_vae() -> None:
    rng = np.random.default_rng(4)
    for hidden in ((), (3,), (3, 2)):
        model, x, y, eps = make(rng, B=3, prior="standard", hidden=hidden)
        same = np.repeat(y[:1], 3, axis=0)
        plain = model.given(y[0])
        want = objectives.conditional_elbo(model, x, same, eps, gradient=False)
        got = objectives.elbo(plain, x, eps, gradient=False)
        assert got.elbo == pytest.approx(want.elbo, abs=1e-12)
        assert got.kl == pytest.approx(want.kl, abs=1e-12)
    exact = exact_evidence(plain, x, 1e-8).log_evidence  # the library's own quadrature
    assert exact == pytest.approx(evidence(model, x, same), abs=1e-6)
    assert (exact_bound(plain, x).elbo < exact).all()
    with pytest.raises(ValueError, match="learned prior"):
        make(rng)[0].given(y[0])


# ---- where the condition goes ----


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_every_network_is_told_the_condition_of_its_own_example(prior: str) -> None:
    model, x, y, eps = make(np.random.default_rng(6), B=3, S=2, prior=prior)
    other = y.copy()
    other[1] += 1.0
    q, moved = model.encode(x, y), model.encode(x, other)
    z = eps[0]
    pixels, changed = model.decode(z, y).mean, model.decode(z, other).mean
    result, again = (
        objectives.conditional_elbo(model, x, c, eps, gradient=False).elbo for c in (y, other)
    )
    prior_moved = model.prior_of(y).mu - model.prior_of(other).mu
    for change in (q.mu - moved.mu, q.logvar - moved.logvar, pixels - changed, result - again):
        assert np.abs(change[1]).min() > 1e-4
        assert not np.abs(change[[0, 2]]).any()
    assert np.any(prior_moved[1]) == (prior == "learned") and not np.any(prior_moved[[0, 2]])


def test_an_example_costs_the_same_in_every_batch() -> None:
    model, x, y, eps = make(np.random.default_rng(7), B=6, S=3)
    whole = objectives.conditional_elbo(model, x, y, eps)
    grad = model.parameters.grad.copy()
    model.parameters.zero_grad()
    for i in range(6):
        rows = slice(i, i + 1)
        one = objectives.conditional_elbo(model, x[rows], y[rows], eps[:, rows])
        assert float(one.elbo[0]) == pytest.approx(float(whole.elbo[i]), abs=1e-12)
    assert np.abs(model.parameters.grad / 6.0 - grad).max() < 1e-12


def test_repeated_has_the_order_of_fold() -> None:
    z, y = np.arange(24.0).reshape(3, 4, 2), np.arange(4.0)[:, None]
    rows = beside(objectives.fold(z), objectives.repeated(y, 3))
    assert rows.shape == (12, 3)
    for s in range(3):
        for b in range(4):
            assert rows[4 * s + b].tolist() == [*z[s, b], y[b, 0]]


# ---- the model ----


def digits_y() -> tuple[Dataset, np.ndarray]:
    digits = load_digits()
    return digits, conditions(digits).of(digits.train)


def test_it_learns_to_draw_a_chosen_class() -> None:
    """And beats the same network without labels, of the same width, on held-out images."""
    digits, y = digits_y()
    x, y = (digits.train.x[:800] > 0.5).astype(np.float32), y[:800]
    held, held_y = (digits.test.x > 0.5).astype(np.float32), conditions(digits).of(digits.test)
    shape = ConditionalArchitecture(64, 2, (48,), n_conditions=10)
    model = ConditionalVAE(shape, x.mean(axis=0) * 0.9 + 0.05)
    history = train(model, x, held, y=y, valid_y=held_y, epochs=30, batch_size=64, progress=False)
    deaf = ConditionalVAE(shape, x.mean(axis=0) * 0.9 + 0.05)
    without = train(
        deaf, x, held, y=0 * y, valid_y=0 * held_y, epochs=30, batch_size=64, progress=False
    )
    assert history.rows[-1]["valid_elbo"] > without.rows[-1]["valid_elbo"] + 2.0
    means = np.stack([x[digits.train.y[:800] == c].mean(axis=0) for c in range(10)])
    asked = np.repeat(np.arange(10), 20)
    drawn = model.sample(200, np.random.default_rng(0), np.eye(10)[asked])
    nearest = ((drawn[:, None, :] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == asked).mean() > 0.6


def test_samples_of_a_learned_prior_come_from_it() -> None:
    model, _, y, _ = make(np.random.default_rng(8), D=2, hidden=(), likelihood="gaussian")
    rows = np.repeat(y[:1], 20_000, axis=0)
    drawn = model.sample(20_000, np.random.default_rng(0), rows)
    p, W = model.prior_of(y[:1]), model.parameters.views(model.parameters.theta)["decoder.mu.W"][:2]
    mean = model.decode(p.mu, y[:1]).mean[0]
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.05 * (1.0 + np.abs(W).max())
    cov = W.T @ np.diag(np.exp(p.logvar[0])) @ W
    assert np.cov(drawn.T) == pytest.approx(cov, rel=0.1, abs=0.02)
    # The model at mean code and its own condition is what reconstruct says.
    x = np.zeros((1, 2))
    code = model.encode(x, y[:1]).mu
    assert np.array_equal(model.means(x, y[:1]), code)
    assert np.array_equal(model.reconstruct(x, y[:1]), model.decode(code, y[:1]).mean)


def test_training_with_the_condition_of_another_example_is_another_training() -> None:
    digits, y = digits_y()
    x = (digits.train.x[:300] > 0.5).astype(np.float32)
    y = y[:300]
    shape = ConditionalArchitecture(64, 2, (16,), n_conditions=10, prior="learned")
    runs = []
    for given_y in (y, y, np.roll(y, 1, axis=0)):
        model = ConditionalVAE(shape)
        history = train(model, x, y=given_y, epochs=3, batch_size=50, progress=False)
        assert model.parameters.theta.dtype == np.float32
        runs.append((model.parameters.theta.copy(), history.rows[-1]["train_elbo"]))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] > runs[2][1] + 0.1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m, x, y: m.means(x), "needs to be told y"),
        (lambda m, x, y: m.reconstruct(x), "needs to be told y"),
        (lambda m, x, y: m.sample(3, None), "needs to be told y"),
        (lambda m, x, y: m.sample(3, None, y[:2]), "expected 3 conditions y, one for each"),
        (lambda m, x, y: m.objective(x, None, y=y, samples=0), "samples of at least 1, got 0"),
        (lambda m, x, y: train(m, x), "a condition y for each x, got none"),
        (lambda m, x, y: train(m, x, y=y[:, :2]), r"conditions of shape \(3, 3\), got \(3, 2\)"),
        (lambda m, x, y: train(m, x, y=y[:2]), r"conditions of shape \(3, 3\), got \(2, 3\)"),
        (lambda m, x, y: train(m, x, y=y / 0.0), "conditions that are finite"),
        (lambda m, x, y: ConditionalArchitecture(4, n_conditions=0), "n_conditions of at least 1"),
        (lambda m, x, y: ConditionalArchitecture(4, prior="flat"), "standard, learned; got 'flat'"),
        (lambda m, x, y: ConditionalArchitecture(0), "n_features of at least 1"),
    ],
)
def test_errors_are_one_line(call: Any, message: str) -> None:
    model, x, y, _ = make(np.random.default_rng(9))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message) as error:
        call(model, x, y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("samples", [1, 3])
def test_the_objective_is_the_bound_with_fresh_noise_and_its_options(samples: int) -> None:
    model, x, y, _ = make(np.random.default_rng(10), B=4)
    got = model.objective(
        x, np.random.default_rng(1), False, y=y, samples=samples, kl_weight=0.4, free_bits=0.3
    )
    eps = np.random.default_rng(1).standard_normal((samples, 4, 2))
    want = objectives.conditional_elbo(model, x, y, eps, 0.4, 0.3, gradient=False)
    for a, b in zip(got, want, strict=True):
        assert a == pytest.approx(b, abs=1e-14)


# ---- on a device that refuses NumPy ----


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_on_a_strict_device(prior: str) -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    device = strict.Device("device1")
    model, x, y, eps = make(np.random.default_rng(11), prior=prior)
    want = objectives.conditional_elbo(model, x, y, eps, 0.7, 0.1)
    grad = model.parameters.grad.copy()
    drawn = model.sample(3, np.random.default_rng(0), y)

    def there(a: np.ndarray) -> Any:
        return strict.asarray(a, device=device)

    model.parameters.bind(there(model.parameters.theta))
    got = objectives.conditional_elbo(model, there(x), there(y), there(eps), 0.7, 0.1)
    for a, b in zip((*got, model.parameters.grad), (*want, grad), strict=True):
        assert a.device == device
        assert to_numpy(a) == pytest.approx(b, abs=1e-12)
    assert model.check_conditions(there(y), 3).device == device
    assert to_numpy(model.sample(3, np.random.default_rng(0), there(y))) == pytest.approx(drawn)
    assert to_numpy(model.reconstruct(x, y)).shape == x.shape
    if prior == "standard":
        here = make(np.random.default_rng(11), prior=prior)[0].given(y[0])
        made = ConditionalVAE(model.architecture, dtype="float64", device=there)
        made.parameters.theta[...] = model.parameters.theta
        plain = made.given(y[0])
        assert plain.parameters.theta.device == device
        assert to_numpy(plain.parameters.theta) == pytest.approx(here.parameters.theta, abs=1e-14)
