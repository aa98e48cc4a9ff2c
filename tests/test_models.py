"""Models: what an architecture means, where a model starts, and the way in and out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from oracles import make_model

from minivae import VAE, Architecture, Autoencoder, load_digits, objectives, smoothed_mean
from minivae.datasets import binarise
from minivae.distributions import Bernoulli, Gaussian
from minivae.layers import Constant, Dense
from minivae.models.networks import LOGVAR_LIMIT, PIXEL_LOGVAR_LIMIT

BOTH = pytest.mark.parametrize("kind", [VAE, Autoencoder])


# ---- architectures ----


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_features": 0}, "n_features of at least 1, got 0"),
        ({"latent": 0}, "latent of at least 1, got 0"),
        ({"hidden": (4, 0)}, r"hidden widths of at least 1, got \[4, 0\]"),
        ({"activation": "swish"}, "relu, tanh, sigmoid, softplus, gelu; got 'swish'"),
        ({"likelihood": "poisson"}, "bernoulli, continuous-bernoulli, gaussian; got 'poisson'"),
        ({"variance": "free"}, "shared, fixed, pixel; got 'free'"),
        ({"sigma": 0.0}, "sigma between 0 and inf, got 0.0"),
        ({"sigma": math.nan}, "sigma between 0 and inf, got nan"),
    ],
)
def test_a_wrong_architecture_is_refused_in_one_line(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        Architecture(**{"n_features": 3, **fields})
    assert "\n" not in str(error.value)


def test_an_architecture_is_a_value() -> None:
    assert Architecture(3, 2, [4, 5]) == Architecture(3, 2, (4, 5))
    assert hash(Architecture(3, 2, [4, 5])) == hash(Architecture(3, 2, (4, 5)))
    with pytest.raises(AttributeError):
        Architecture(3).latent = 5  # type: ignore[misc]


def test_the_decoder_has_the_widths_in_reverse() -> None:
    model = VAE(Architecture(7, 2, (5, 3)))
    shapes = {n: v.shape for n, v in model.parameters.views(model.parameters.theta).items()}
    assert [s for n, s in shapes.items() if n.endswith("W")] == [
        (7, 5),
        (5, 3),
        (3, 2),
        (3, 2),
        (2, 3),
        (3, 5),
        (5, 7),
    ]


@pytest.mark.parametrize("variance", ["shared", "fixed", "pixel"])
def test_a_gaussian_decoder_starts_at_its_sigma(variance: str) -> None:
    model = VAE(Architecture(4, 2, (), likelihood="gaussian", variance=variance, sigma=0.3))
    model.parameters.views(model.parameters.theta)["decoder.mu.W"][...] = 0.0
    p = model.decode(np.zeros((5, 2)))
    assert isinstance(p, Gaussian) and p.logvar.shape == (5, 4)
    assert np.allclose(np.exp(0.5 * p.logvar), 0.3, rtol=1e-6)


def test_only_a_shared_variance_learns() -> None:
    for variance, learns in (("shared", True), ("fixed", False)):
        model, x, eps = make_model(
            VAE, np.random.default_rng(0), likelihood="gaussian", variance=variance
        )
        objectives.elbo(model, x, eps)
        gradient = model.parameters.views(model.parameters.grad)["decoder.logvar.c"]
        assert bool(gradient.any()) is learns
        assert isinstance(model.decoder.heads["logvar"], Constant)


def test_no_input_drives_a_logvar_beyond_its_limit() -> None:
    model = VAE(Architecture(3, 2, (4,), likelihood="gaussian", variance="pixel"), dtype="float64")
    model.parameters.theta *= 1e3
    q = model.encode(np.full((1, 3), 1e3))
    p = model.decode(np.full((1, 2), 1e3))
    assert np.abs(q.logvar).max() <= LOGVAR_LIMIT and np.abs(p.logvar).max() <= PIXEL_LOGVAR_LIMIT
    assert np.abs(q.logvar).max() > 14 and np.isfinite(q.kl()).all()


def test_sigma_lies_in_the_documented_range() -> None:
    model = VAE(Architecture(3, 2, (4,)), dtype="float64")
    model.parameters.views(model.parameters.theta)["encoder.logvar.0.b"][...] = [-1e9, 1e9]
    sigma = np.exp(0.5 * model.encode(np.ones((1, 3))).logvar[0])
    assert sigma == pytest.approx([5.5e-4, 1.8e3], rel=0.01)


# ---- the start ----


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_weights_start_with_the_variance_of_he_inside_and_of_glorot_at_the_ends(kind: Any) -> None:
    model = kind(Architecture(200, 60, (300, 100)))
    for name, W in model.parameters.views(model.parameters.theta).items():
        if name.endswith("W"):
            n_in, n_out = W.shape
            fan = n_in if "trunk" in name else n_in + n_out
            # A variance of 6,000 numbers or more varies by at most 2 %.
            assert W.var() == pytest.approx(2.0 / fan, rel=0.1), name


def test_the_same_seed_gives_the_same_model() -> None:
    first, again, other = (VAE(Architecture(5), seed=s).parameters.theta for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_both_dtypes_start_at_the_same_theta() -> None:
    single, double = (VAE(Architecture(5), dtype=d).parameters for d in ("float32", "float64"))
    assert np.array_equal(single.theta, double.theta.astype("f"))


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="'float32' or 'float64', got 'float16'"):
        VAE(Architecture(5), dtype="float16")


def test_smoothed_mean_by_hand() -> None:
    x = np.array([[0, 1, 1], [0, 1, 0]], dtype="f")
    assert smoothed_mean(x).tolist() == [0.25, 0.75, 0.5]
    assert smoothed_mean(x).dtype == np.float64


@BOTH
def test_the_first_loss_is_the_entropy_of_independent_pixels(kind: Any) -> None:
    """Exactly, up to Laplace's two rows, with the output's weights at zero; nearly, as drawn."""
    x = binarise(load_digits().train.x, "new", np.random.default_rng(0)).astype(np.float64)
    start, mean = smoothed_mean(x), x.mean(axis=0)
    cross_entropy = -(mean * np.log(start) + (1 - mean) * np.log(1 - start)).sum()
    entropy = -(start * np.log(start) + (1 - start) * np.log(1 - start)).sum()
    assert abs(cross_entropy - entropy) < 0.005 * entropy
    model = kind(Architecture(64, 2, (100,)), start, dtype="float64")

    def loss() -> float:
        result = model.objective(x, np.random.default_rng(0), gradient=False)
        return float(-result.reconstruction.mean())

    assert cross_entropy < loss() < 1.25 * cross_entropy  # what random weights cost at most
    model.parameters.views(model.parameters.theta)["decoder.logits.W"][...] = 0.0
    assert math.isclose(loss(), cross_entropy, rel_tol=1e-12)
    assert np.allclose(model.sample(3, np.random.default_rng(0)), start, rtol=1e-12)


@BOTH
def test_a_gaussian_decoder_starts_at_the_mean_image(kind: Any) -> None:
    mean = np.array([0.2, -1.0, 3.0])
    model = kind(Architecture(3, 2, (4,), likelihood="gaussian"), mean, dtype="float64")
    model.parameters.views(model.parameters.theta)["decoder.mu.W"][...] = 0.0
    assert np.allclose(model.decode(np.ones((1, 2))).mean, mean, rtol=1e-14)


# ---- in and out ----


@BOTH
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_shapes_and_dtypes_of_everything_public(kind: Any, likelihood: str) -> None:
    model = kind(Architecture(6, 3, (5,), likelihood=likelihood))
    x = np.random.default_rng(0).random((4, 6))  # float64: the model takes it in its own dtype
    assert model.means(x).shape == (4, 3)
    assert model.reconstruct(x).shape == (4, 6)
    assert model.sample(7, np.random.default_rng(0)).shape == (7, 6)
    assert isinstance(model.decode(np.zeros((2, 3))), model.likelihood)
    for a in (model.means(x), model.reconstruct(x), model.sample(2, np.random.default_rng(0))):
        assert a.dtype == np.float32
    if likelihood != "gaussian":
        assert ((model.reconstruct(x) >= 0) & (model.reconstruct(x) <= 1)).all()


def test_means_are_the_means_of_q() -> None:
    model, x, _ = make_model(VAE, np.random.default_rng(0))
    assert np.array_equal(model.means(x), model.encode(x).mu)
    assert np.array_equal(model.reconstruct(x), model.decode(model.means(x)).mean)


def test_samples_are_decoded_standard_normals() -> None:
    model, _, _ = make_model(VAE, np.random.default_rng(0))
    z = np.random.default_rng(3).standard_normal((5, 2))
    assert np.array_equal(model.sample(5, np.random.default_rng(3)), model.decode(z).mean)
    pixels = model.decode(z).sample(np.random.default_rng(4).random((5, 4)))
    assert set(np.unique(pixels)) <= {0.0, 1.0}


def test_an_array_of_the_right_kind_is_not_copied() -> None:
    model = VAE(Architecture(3), dtype="float64")
    x = np.ones((2, 3))
    assert model.array(x) is x and VAE(Architecture(3)).array(x).dtype == np.float32


def test_an_array_comes_with_its_rows_one_after_another() -> None:
    model = VAE(Architecture(4, 2, (3,)))
    chosen = np.eye(6, dtype=np.float32)[:, np.array([True, True, True, True, False, False])]
    assert not chosen.flags.c_contiguous, "what NumPy makes of a mask of columns"
    assert model.array(chosen).flags.c_contiguous
    assert np.array_equal(model.array(chosen), chosen)


def test_the_objective_draws_its_noise_from_the_generator_it_is_given() -> None:
    model, x, _ = make_model(VAE, np.random.default_rng(0))
    eps = np.random.default_rng(5).standard_normal((2, 3, 2))
    got = model.objective(x, np.random.default_rng(5), gradient=False, samples=2, kl_weight=0.3)
    want = objectives.elbo(model, x, eps, kl_weight=0.3, gradient=False)
    assert np.array_equal(got.elbo, want.elbo) and got.loss == want.loss


def test_the_autoencoders_objective_needs_no_randomness() -> None:
    model, x, _ = make_model(Autoencoder, np.random.default_rng(0))
    assert model.objective(x, None).loss == objectives.reconstruction(model, x).loss


def test_networks_know_nothing_of_probability() -> None:
    model = VAE(Architecture(3))
    assert model.likelihood is Bernoulli and isinstance(model.encoder.heads["mu"], Dense)
