"""The estimator: scikit-learn's own checks, and that its numbers are those of minivae."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import math
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minivae as mv
from minivae.arrays import generator
from minivae.datasets import binarise
from minivae.estimator import VAEEstimator
from minivae.estimator.parameters import start_sigma
from minivae.estimator.randomness import (
    IMPORTANCE,
    PIXELS,
    OwnNoise,
    black_and_white,
    hold_out,
    own_generators,
    seed_of,
)
from minivae.evaluation import likelihood
from minivae.evaluation.likelihood import ROWS
from minivae.training import train

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib  # noqa: E402
from scipy import sparse, stats  # noqa: E402
from scipy.special import logsumexp  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, StandardScaler  # noqa: E402
from sklearn.utils import estimator_checks, get_tags  # noqa: E402

Rng = np.random.Generator


def rng(seed: int = 0) -> Rng:
    return np.random.default_rng(seed)


def quick(**changes: Any) -> VAEEstimator:
    """An estimator that fits in a moment."""
    return VAEEstimator(**{"hidden": (4,), "epochs": 2, "random_state": 0, **changes})


def real(n: int = 30, d: int = 3, seed: int = 0) -> np.ndarray:
    return rng(seed).normal(size=(n, d))


def grey(n: int = 30, d: int = 3, seed: int = 0) -> np.ndarray:
    return rng(seed).random((n, d))


# ---- scikit-learn's checks ----

MORE = (
    "check_dataframe_column_names_consistency",
    "check_estimators_partial_fit_n_features",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
)
"""Checks that scikit-learn runs on its own transformers, and not on those of others."""

WITHOUT_NAMES = (
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
)
"""Checks that fit with names of columns and go on without, which is warned of."""


def checks(estimator: VAEEstimator, more: tuple[str, ...] = MORE) -> list[Any]:
    """The checks that scikit-learn finds for an estimator, and more."""
    with warnings.catch_warnings():  # not a BaseEstimator: this is what the checks are run for
        warnings.filterwarnings("ignore", message=".*does not inherit from")
        found = [check for _, check in estimator_checks.estimator_checks_generator(estimator)]
    assert len(found) > 40
    for name in more:
        if hasattr(estimator_checks, name):  # not every version has every one
            found.append(functools.partial(getattr(estimator_checks, name), "VAEEstimator"))
    return found


def name_of(check: Any) -> str:
    while isinstance(check, functools.partial):
        check = check.func
    return str(inspect.unwrap(check).__name__)


@pytest.mark.parametrize("check", checks(VAEEstimator()), ids=name_of)
def test_scikit_learns_own_check(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them hold: there is no table of exceptions."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # without it one of the checks does not run
    estimator = VAEEstimator(epochs=3)  # as scikit-learn shortens its own
    with warnings.catch_warnings():
        if name_of(check) in WITHOUT_NAMES:
            warnings.filterwarnings("ignore", message="X .* feature names, but VAEEstimator was")
        check(estimator)


BEYOND_ONE = (
    "check_array_api_input",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_readonly_memmap_input",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformer_preserve_dtypes",
)
"""With a likelihood on [0, 1] these checks cannot hold, all for one reason: their data go beyond 1.
The tags of scikit-learn can say "not below 0", which the checks respect, but not "not above 1"."""


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_the_checks_that_fail_with_a_likelihood_on_the_unit_interval(
    likelihood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are listed and no others, each with the message that names the reason."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    estimator, failed, passed = VAEEstimator(epochs=1, likelihood=likelihood), set(), set()
    for check in checks(estimator, more=()):
        try:
            check(estimator)
        except (AssertionError, ValueError) as error:
            assert "needs values in [0, 1]" in str(error), name_of(check)
            failed.add(name_of(check))
        else:
            passed.add(name_of(check))
    known = failed | passed  # not every version has every check
    assert failed == set(BEYOND_ONE) & known and not failed & passed
    assert {"check_fit_non_negative", "check_estimators_nan_inf", "check_set_params"} <= passed


@pytest.mark.parametrize(
    ("changes", "positive", "dtypes"),
    [
        ({}, False, ["float64", "float32"]),
        ({"dtype": "float32"}, False, ["float32"]),
        ({"likelihood": "bernoulli"}, True, ["float64", "float32"]),
        ({"likelihood": "bernoulli", "binarisation": "none"}, True, ["float64", "float32"]),
        ({"likelihood": "continuous-bernoulli"}, True, ["float64", "float32"]),
        ({"binarisation": "threshold"}, True, ["float64", "float32"]),
    ],
)
def test_the_tags(changes: dict[str, Any], positive: bool, dtypes: list[str]) -> None:
    tags = get_tags(VAEEstimator(**changes))
    assert tags.estimator_type == "transformer"
    assert tags.input_tags.positive_only is positive
    assert tags.transformer_tags.preserves_dtype == dtypes
    assert not tags.target_tags.required and not tags.input_tags.sparse


# ---- its numbers are those of minivae ----


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit_is_train_to_the_bit(dtype: str) -> None:
    x = real(40, 4).astype(dtype)
    est = VAEEstimator(
        3, hidden=(5, 4), activation="tanh", variance="pixel", sigma=0.7, kl_weight=0.5,
        free_bits=0.1, samples=2, epochs=3, batch_size=16, learning_rate=3e-3, random_state=11,
    ).fit(x)  # fmt: skip
    model = mv.VAE(
        mv.Architecture(4, 3, (5, 4), "tanh", "gaussian", "pixel", 0.7),
        x.mean(axis=0, dtype=np.float64), 11, dtype,
    )  # fmt: skip
    history = train(
        model, x, epochs=3, batch_size=16, optimizer=mv.Adam(3e-3), seed=11, progress=False,
        kl_weight=0.5, free_bits=0.1, samples=2,
    )  # fmt: skip
    assert np.array_equal(est.model_.parameters.theta, model.parameters.theta)
    assert est.model_.parameters.theta.dtype == dtype
    assert est.history_["train_elbo"] == history["train_elbo"]
    assert est.n_iter_ == 3 and est.n_features_in_ == 4 and est.seed_ == 11
    assert np.array_equal(est.transform(x), model.means(x))
    assert est.transform(x).dtype == dtype and est.inverse_transform(real(2)).dtype == dtype
    assert np.array_equal(est.inverse_transform(real(5)), model.decode(real(5)).mean)


def test_a_bernoulli_is_train_with_pixels_drawn_anew() -> None:
    x = grey(40, 4)
    est = quick(likelihood="bernoulli").fit(x)
    model = mv.VAE(mv.Architecture(4, 2, (4,)), mv.smoothed_mean(x), 0, "float64")
    train(model, x, epochs=2, batch_size=64, binarisation="new", progress=False)
    assert np.array_equal(est.model_.parameters.theta, model.parameters.theta)
    assert np.array_equal(est.transform(x), model.means(x))  # grey values, as they are


def test_codes_in_several_batches_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = real(23)
    est = quick().fit(x)
    whole = est.transform(x)
    monkeypatch.setattr("minivae.estimator.vae.ROWS", 5)
    assert np.allclose(est.transform(x), whole, rtol=1e-13)
    assert est.inverse_transform(whole).shape == (23, 3)


@given(
    n=st.integers(1, 9), d=st.integers(1, 5), k=st.integers(1, 4), seed=st.integers(0, 2**40),
    dtype=st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "float16"]),
)  # fmt: skip
@settings(max_examples=25)
def test_shapes_and_dtypes_of_everything(n: int, d: int, k: int, seed: int, dtype: str) -> None:
    x = (3 * rng(seed).random((n, d))).astype(dtype)
    est = quick(latent=k, random_state=seed, epochs=1, n_importance=2).fit(x)
    want = dtype if dtype in ("float32", "float64") else "float64"
    z = est.transform(x)
    assert z.shape == (n, k) and z.dtype == want
    assert est.inverse_transform(z).shape == (n, d)
    assert est.score_samples(x).shape == (n,) and np.isfinite(est.score_samples(x)).all()
    assert est.sample(n + 1).shape == (n + 1, d) and est.sample().dtype == want
    assert list(est.get_feature_names_out()) == [f"vaeestimator{i}" for i in range(k)]


# ---- densities ----


def test_scores_are_the_importance_weighted_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against densities of SciPy, at the very draws that the method used."""
    x = real(7)
    est = quick(n_importance=20, epochs=20).fit(real(50, 3, 1))
    noise: list[np.ndarray] = []
    right = likelihood.log_weights

    def spy(model: Any, x: Any, q: Any, eps: Any) -> Any:
        noise.append(eps)
        return right(model, x, q, eps)

    monkeypatch.setattr(likelihood, "log_weights", spy)
    got = est.score_samples(x)
    (eps,) = noise
    assert eps.shape == (20, 7, 2)
    q = est.model_.encode(x)
    sigma = np.exp(0.5 * q.logvar)
    z = q.mu + sigma * eps
    log_w = stats.norm.logpdf(z).sum(-1) - stats.norm.logpdf(z, q.mu, sigma).sum(-1)
    for s in range(20):
        p = est.model_.decode(z[s])
        log_w[s] += stats.norm.logpdf(x, p.mu, np.exp(0.5 * p.logvar)).sum(-1)
    assert np.allclose(got, logsumexp(log_w, axis=0) - math.log(20), rtol=1e-12)
    assert est.score(x) == got.mean() and isinstance(est.score(x), float)


def test_scores_are_those_of_estimate_likelihood_with_the_same_noise() -> None:
    """Example by example, for many samples and few, in chunks that split either."""
    x = real(2 * 40 + 5)
    est = quick(random_state=8).fit(x)
    for S in (1, 100, 2 * ROWS // 3):
        some = x[:3] if S > 100 else x
        got = est.set_params(n_importance=S).score_samples(some)
        for row, own, value in zip(some, own_generators(some, 8, IMPORTANCE), got, strict=True):
            want = mv.estimate_likelihood(est.model_, row[None], own, S)
            assert np.allclose(value, -want.nll, rtol=1e-12)
            if S == 1:
                assert np.isfinite(want.elbo).all()


def test_with_one_sample_the_mean_over_seeds_is_the_elbo() -> None:
    """And with more the bound is tighter: ELBO < IWAE_10."""
    x = real(1000, 2)
    est = VAEEstimator(hidden=(8,), epochs=1, random_state=3, n_importance=1).fit(x)
    elbo = mv.estimate_likelihood(est.model_, x, rng(), 40).elbo.mean()
    one, ten = est.score(x), est.set_params(n_importance=10).score(x)
    error = est.set_params(n_importance=1).score_samples(x).std() / math.sqrt(1000)
    assert abs(one - elbo) < 4 * error
    assert ten > elbo + 0.01


def linear_density(est: VAEEstimator, x: np.ndarray) -> np.ndarray:
    """log p(x) of a linear VAE, x = z W + b + noise, by SciPy."""
    views = est.model_.parameters.views(est.model_.parameters.theta)
    W, b = views["decoder.mu.W"].astype(float), views["decoder.mu.b"].astype(float)
    noise = math.exp(float(views["decoder.logvar.c"][0])) * np.eye(len(b))
    return stats.multivariate_normal(b, W.T @ W + noise).logpdf(x)


def factor_data(n: int, seed: int) -> np.ndarray:
    """Two factors in six numbers, far from the origin."""
    W = rng(9).normal(size=(2, 6)) * np.array([[1.5], [1.0]])
    draw = rng(seed)
    return draw.normal(size=(n, 2)) @ W + 0.5 * draw.normal(size=(n, 6)) + np.arange(6.0)


def test_the_linear_vae_is_probabilistic_pca() -> None:
    """Trained by noisy bounds, scored by importance sampling; against eigenvalues and SciPy.

    On data that it has not seen it comes within 0.02 nats of scikit-learn's PCA, whose score is the
    likelihood of probabilistic PCA; one component less costs 2 nats.  On the training data PCA has
    the maximum likelihood, and no linear VAE can have more.
    """
    x, test = factor_data(1000, 0), factor_data(500, 1)
    est = VAEEstimator(
        2, hidden=(), epochs=80, batch_size=100, learning_rate=2e-2, random_state=0
    ).fit(x)
    est.set_params(learning_rate=2e-3)
    for _ in range(20):
        est.partial_fit(x)
    pca = PCA(2).fit(x)
    assert abs(est.score(test) - pca.score(test)) < 0.02
    assert PCA(1).fit(x).score(test) < pca.score(test) - 2.0
    # The estimate itself, against the exact density of the same weights.
    exact = linear_density(est, test)
    assert np.median(np.abs(est.score_samples(test) - exact)) < 0.03
    assert abs(est.score(test) - exact.mean()) < 0.005
    # The maximum over all linear decoders (Tipping and Bishop 1999), with the covariance over N.
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    rest = values[2:].mean()
    logdet = np.log(values[:2]).sum() + 4 * math.log(rest)
    best = -0.5 * (6 * math.log(2 * math.pi) + logdet + 6)
    assert best - 0.02 < linear_density(est, x).mean() <= best


def test_an_examples_score_does_not_depend_on_its_company() -> None:
    x = real(15)
    est = quick(n_importance=5).fit(x)
    scores = est.score_samples(x)
    order = rng(1).permutation(15)
    assert np.allclose(est.score_samples(x[order]), scores[order], rtol=1e-12)
    assert np.allclose(est.score_samples(x[3:4]), scores[3], rtol=1e-12)
    twice = est.score_samples(np.concatenate([x, x]))
    assert np.allclose(twice[15:], scores, rtol=1e-12)
    assert np.array_equal(scores, est.score_samples(x.copy()))
    assert np.allclose(est.score_samples(np.array([[0.0, 1.0, -0.0]])),
                       est.score_samples(np.array([[-0.0, 1.0, 0.0]])), rtol=0)  # fmt: skip


def test_kl_weight_and_free_bits_do_not_leak_into_a_score() -> None:
    x = real()
    est = quick().fit(x)
    plain = est.score(x)
    assert est.set_params(kl_weight=50.0, free_bits=3.0, samples=4).score(x) == plain


def test_samples_have_the_moments_of_the_model() -> None:
    """The noise of p(x|z) included: without it the covariance would lack sigma^2."""
    est = VAEEstimator(2, hidden=(), epochs=3, random_state=0, sigma=0.8).fit(factor_data(300, 0))
    views = est.model_.parameters.views(est.model_.parameters.theta)
    W, b = views["decoder.mu.W"], views["decoder.mu.b"]
    draws = est.sample(40_000)
    cov = W.T @ W + math.exp(float(views["decoder.logvar.c"][0])) * np.eye(6)
    error = np.sqrt(np.diag(cov) / 40_000)
    assert (np.abs(draws.mean(axis=0) - b) < 5 * error).all()
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)) + cov**2) / 200
    assert (np.abs(np.cov(draws.T) - cov) < 5 * scale).all()


def test_samples_of_pixels_are_black_and_white() -> None:
    est = quick(likelihood="bernoulli").fit(grey())
    draws = est.sample(2000)
    assert set(np.unique(draws)) == {0.0, 1.0}
    means = est.inverse_transform(rng(5).normal(size=(2000, 2))).mean(axis=0)
    assert np.abs(draws.mean(axis=0) - means).max() < 0.06  # 5 standard errors of a coin


def test_samples_depend_on_the_seed_and_on_random_state() -> None:
    est = quick().fit(real())
    assert np.array_equal(est.sample(5), est.sample(5))
    assert not np.array_equal(est.sample(5), est.sample(5, random_state=1))
    assert np.array_equal(est.sample(5, random_state=1), est.sample(5, random_state=1))
    assert not np.array_equal(est.sample(5), quick(random_state=1).fit(real()).sample(5))
    assert len(np.unique(est.sample(50), axis=0)) == 50
    with pytest.raises(ValueError, match="n_samples of at least 1, got 0"):
        est.sample(0)


# ---- grey values ----


@pytest.mark.parametrize("how", ["fixed", "new"])
def test_a_draw_of_pixels_belongs_to_its_example(how: str) -> None:
    x = np.repeat(grey(1, 4000), 3, axis=0)
    x[1] = x[1][::-1]
    drawn = black_and_white(x, how, 7)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn, black_and_white(x[::-1], how, 7)[::-1])
    assert not np.array_equal(drawn, black_and_white(x, how, 8))
    # The second row is the first from behind, drawn independently: E[x] = p, so about half of the
    # pixels with p in the middle differ.
    assert np.abs(drawn[:2].mean(axis=1) - 0.5).max() < 0.05
    assert 0.2 < np.abs(drawn[0] - drawn[1][::-1]).mean() < 0.5
    (own,) = own_generators(x[:1], 7, PIXELS)
    assert np.array_equal(drawn[0], binarise(x[0], "new", own))


def test_the_ways_of_binarisation() -> None:
    x = grey(40, 4)
    scores, codes = {}, {}
    for how in ("threshold", "fixed", "new"):
        est = quick(likelihood="bernoulli", binarisation=how).fit(x)
        black_white = black_and_white(x, how, est.seed_)
        scores[how] = est.score_samples(x)
        assert np.array_equal(est.score_samples(black_white), scores[how]), how
        codes[how] = est.transform(x)
        seen = black_white if how == "threshold" else x
        assert np.array_equal(codes[how], est.model_.means(seen)), how
    assert not np.array_equal(scores["fixed"], scores["new"])


def test_fixed_pixels_are_drawn_once_for_all_epochs() -> None:
    x = grey(40, 4)
    fixed = quick(likelihood="bernoulli", binarisation="fixed").fit(x)
    drawn = black_and_white(x, "fixed", 0)
    shape = mv.Architecture(4, 2, (4,))
    model = mv.VAE(shape, mv.smoothed_mean(x), 0, "float64")
    train(model, drawn, epochs=2, batch_size=64, progress=False)
    assert np.array_equal(fixed.model_.parameters.theta, model.parameters.theta)


def test_grey_under_a_bernoulli_without_binarisation_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="no likelihood"):
        quick(likelihood="bernoulli", binarisation="none").fit(grey())


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_values_outside_the_unit_interval_are_refused(likelihood: str) -> None:
    est = quick(likelihood=likelihood)
    with pytest.raises(ValueError, match=r"Negative values in data passed to VAEEstimator: like.*"):
        est.fit(grey() - 0.5)
    with pytest.raises(ValueError, match=rf"likelihood='{likelihood}' needs values in \[0, 1\]"):
        est.fit(2 * grey())
    est.fit(grey())
    for method in (est.transform, est.score_samples, est.partial_fit):
        with pytest.raises(ValueError, match=r"needs values in \[0, 1\], got"):
            method(grey() + 0.5)
    with pytest.raises(ValueError, match=r"binarisation='fixed' needs values in \[0, 1\]"):
        quick(binarisation="fixed").fit(2 * grey())


# ---- where the decoder begins ----


def test_the_first_bound_is_that_of_a_gaussian_around_the_mean() -> None:
    """The start of sigma and of the bias: the best of all decoders that do not use z.

    Its likelihood is that of independent numbers with their own means and one variance, which is
    known in closed form; random output weights cost something, and zero weights would cost nothing.
    """
    x = rng().normal(size=(500, 4)) * np.array([5.0, 4.0, 3.0, 4.0]) + 100.0
    est = VAEEstimator(hidden=(), random_state=0, epochs=1, learning_rate=1e-9).fit(x)
    view = est.model_.parameters.views(est.model_.parameters.theta)
    assert np.allclose(view["decoder.mu.b"], x.mean(axis=0))
    variance = ((x - x.mean(axis=0)) ** 2).mean()
    assert np.isclose(math.exp(view["decoder.logvar.c"][0]), variance)
    view["decoder.mu.W"][...] = 0.0
    best = -2.0 * (math.log(2 * math.pi * variance) + 1.0)
    assert math.isclose(linear_density(est, x).mean(), best, rel_tol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e4])
def test_data_that_never_vary_begin_with_sigma_one(constant: float) -> None:
    assert start_sigma(np.full((7, 3), constant), "shared") == 1.0
    assert np.isfinite(quick().fit(np.full((7, 3), constant)).score(np.full((2, 3), constant)))


@pytest.mark.parametrize("scale", [1e-3, 1e-1, 1.0, 1e3])
def test_a_variance_of_every_pixel_begins_inside_its_limits(scale: float) -> None:
    sigma = start_sigma(scale * real(), "pixel")
    assert math.exp(-2.9) < sigma < math.exp(2.9)
    assert np.isclose(sigma, np.clip(scale * real().std(axis=0), 0.058, 17.3).mean(), rtol=0.2)
    quick(variance="pixel").fit(scale * real())


# ---- randomness ----


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    x = real()
    first, again, other = (quick(random_state=s).fit(x) for s in (5, 5, 6))
    assert np.array_equal(first.transform(x), again.transform(x))
    assert first.score(x) == again.score(x)
    assert not np.array_equal(first.transform(x), other.transform(x))
    assert np.array_equal(first.transform(x), first.fit(x).transform(x))
    assert np.array_equal(first.fit_transform(x), again.transform(x))


def test_random_state_as_scikit_learn_has_it() -> None:
    assert seed_of(12) == 12 and seed_of(np.int64(12)) == 12 and seed_of(0) == 0
    assert len({seed_of(None) for _ in range(5)}) == 5
    for make in (np.random.RandomState, np.random.default_rng):
        state = make(4)
        seeds = [seed_of(state) for _ in range(3)]
        assert len(set(seeds)) == 3  # the next fit differs ...
        assert [seed_of(s) for s in [make(4)]] == seeds[:1]  # ... and all of it can be repeated
    for bad in (-1, "0", 1.5, object()):
        with pytest.raises(ValueError, match="expected random_state None, an integer"):
            seed_of(bad)
    x = real()
    shared = np.random.RandomState(1)
    a, b = (quick(random_state=shared).fit(x).transform(x) for _ in range(2))
    assert not np.array_equal(a, b)
    c, d = (quick(random_state=None).fit(x) for _ in range(2))
    assert c.seed_ != d.seed_ and not np.array_equal(c.transform(x), d.transform(x))


def test_a_fit_leaves_numpys_global_generator_alone() -> None:
    before = repr(np.random.get_state(legacy=False))
    quick(random_state=None, validation_fraction=0.5).fit(real()).score(real())
    assert repr(np.random.get_state(legacy=False)) == before


def test_noise_of_an_example_is_standard_normal_and_its_own() -> None:
    x = real(500)
    noise = OwnNoise(own_generators(x, 3, IMPORTANCE), 40)
    parts = [noise.standard_normal((s, b, 2), "float64") for b in (200, 300) for s in (30, 10)]
    eps = np.concatenate([np.concatenate(parts[:2]), np.concatenate(parts[2:])], axis=1)
    assert eps.shape == (40, 500, 2)
    assert abs(eps.mean()) < 0.02 and abs(eps.std() - 1.0) < 0.02
    assert np.abs(np.corrcoef(eps[:, :60, 0].T) - np.eye(60)).max() < 0.75  # 40 pairs: 4.7 sigma
    assert len(np.unique(eps)) == eps.size
    assert np.array_equal(eps[:, 7], own_generators(x[7:8], 3, IMPORTANCE)[0].normal(size=(40, 2)))
    other = OwnNoise(own_generators(x, 4, IMPORTANCE), 40).standard_normal((40, 500, 2), "float64")
    assert len(np.intersect1d(other, eps)) == 0


# ---- more epochs ----


def test_partial_fit_is_one_epoch_and_keeps_the_moments() -> None:
    x = real(40)
    est = quick(batch_size=10)
    assert est.partial_fit(x) is est
    once = quick(batch_size=10, epochs=1).fit(x)
    assert np.array_equal(est.model_.parameters.theta, once.model_.parameters.theta)
    model, optimizer = est.model_, est.optimizer_
    for epoch in (2, 3):
        est.partial_fit(x)
        assert est.model_ is model and est.optimizer_ is optimizer
        assert est.n_iter_ == epoch and optimizer.t == 4 * epoch
        assert est.history_["epoch"] == list(range(1, epoch + 1))
    assert est.fit(x).n_iter_ == 2 and est.optimizer_.t == 8  # fit begins anew


def test_partial_fit_repeats_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray] = []
    right = mv.VAE.objective

    def spy(self: Any, x: Any, rng: Any, **options: Any) -> Any:
        drawn.append(copy.deepcopy(rng).standard_normal(8))
        return right(self, x, rng, **options)

    monkeypatch.setattr(mv.VAE, "objective", spy)
    est = quick(epochs=2, batch_size=8)
    est.fit(real(16))
    for _ in range(3):
        est.partial_fit(real(16))
    assert len(drawn) == 10
    assert len(np.unique(np.concatenate(drawn))) == 80


def test_partial_fit_goes_on_with_the_parameters_of_now() -> None:
    est = quick().fit(real())
    before = est.model_.parameters.theta.copy()
    est.set_params(learning_rate=1e-9).partial_fit(real())
    assert np.abs(est.model_.parameters.theta - before).max() < 1e-8
    with pytest.raises(ValueError, match="'kl_weight' parameter"):
        est.set_params(kl_weight=-1.0).partial_fit(real())


def test_some_examples_are_held_out() -> None:
    x = real(40)
    est = quick(validation_fraction=0.3, epochs=3).fit(x)
    rest, held_out = hold_out(x, 0.3, est.seed_)
    assert held_out is not None and len(held_out) == 12 and len(rest) == 28
    together = np.concatenate([rest, held_out])
    assert np.array_equal(np.sort(together, axis=0), np.sort(x, axis=0))
    assert {tuple(row) for row in rest}.isdisjoint({tuple(row) for row in held_out})
    model = mv.VAE(
        mv.Architecture(3, 2, (4,), likelihood="gaussian", sigma=start_sigma(rest, "shared")),
        rest.mean(axis=0), 0, "float64",
    )  # fmt: skip
    want = train(model, rest, held_out, epochs=3, batch_size=64, progress=False)
    assert est.history_["valid_elbo"] == want["valid_elbo"]
    x = grey(40)
    est = quick(likelihood="bernoulli", validation_fraction=0.3).fit(x)
    rest, held_out = hold_out(x, 0.3, 0)
    assert held_out is not None
    model = mv.VAE(mv.Architecture(3, 2, (4,)), mv.smoothed_mean(rest), 0, "float64")
    drawn = black_and_white(held_out, "new", 0)  # once and for all, while rest is drawn anew
    want = train(model, rest, drawn, epochs=2, batch_size=64, binarisation="new", progress=False)
    assert est.history_["valid_elbo"] == want["valid_elbo"]


def test_what_is_held_out_depends_on_the_seed() -> None:
    x = real(40)
    _, held_out = hold_out(x, 0.3, 0)
    other = hold_out(x, 0.3, 1)[1]
    assert other is not None and held_out is not None and not np.array_equal(other, held_out)
    assert "valid_elbo" not in quick().fit(x).history_.rows[0]
    assert len(hold_out(x, 0.001, 0)[1]) == 1  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_samples=1 leaves nothing to train on"):
        quick(validation_fraction=0.5).fit(x[:1])


def test_patience_takes_the_best_epoch() -> None:
    """Forty numbers and a large step: what is learnt by heart soon costs the held-out bound."""
    x = real(40)
    long = quick(hidden=(30,), validation_fraction=0.3, epochs=60, learning_rate=3e-2)
    best = int(np.argmax(long.fit(x).history_["valid_elbo"])) + 1
    assert 1 < best < 50
    est = clone(long).set_params(patience=5).fit(x)
    assert est.n_iter_ < 60 and len(est.history_.rows) == est.n_iter_
    shown = est.history_["valid_elbo"]
    assert shown == long.history_["valid_elbo"][: est.n_iter_]
    assert max(shown[:-5]) >= max(shown[-5:])
    again = clone(long).set_params(epochs=int(np.argmax(shown)) + 1).fit(x)
    assert np.array_equal(est.transform(x), again.transform(x))
    assert est.partial_fit(x).n_iter_ == len(shown) + 1  # which nothing holds out of


# ---- the habits ----


def test_parameters_are_those_of_the_constructor() -> None:
    names = list(inspect.signature(VAEEstimator).parameters)
    est = VAEEstimator(5, hidden=[3, 4], sigma=0.1)
    assert sorted(names) == list(est.get_params()) == list(est.get_params(deep=False))
    assert est.get_params()["hidden"] is est.hidden and est.latent == 5
    assert repr(est) == "VAEEstimator(latent=5, hidden=[3, 4], sigma=0.1)"
    assert repr(VAEEstimator()) == "VAEEstimator()"
    assert est.set_params(latent=2, epochs=7) is est and (est.latent, est.epochs) == (2, 7)
    with pytest.raises(ValueError, match=r"Invalid parameter 'a__b' for estimator VAEEstimator\("):
        est.set_params(epochs=9, a__b=1)
    assert est.epochs == 7  # nothing was changed
    copied = clone(est.fit(real()))
    assert copied.get_params() == est.get_params() and not hasattr(copied, "model_")


def test_every_parameter_is_documented() -> None:
    text = inspect.getdoc(VAEEstimator) or ""
    for name in inspect.signature(VAEEstimator).parameters:
        assert f"\n{name}  " in text or f"\n{name}, " in text or f", {name} " in text, name
    fitted = [name for name in vars(quick().fit(real())) if name.endswith("_")]
    assert len(fitted) >= 6
    for name in [*fitted, "feature_names_in_"]:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent": 0}, "The 'latent' parameter of VAEEstimator must be an integer of at least 1"),
        ({"epochs": 2.0}, "'epochs' parameter .* Got 2.0 instead"),
        ({"batch_size": "8"}, "'batch_size' parameter .* Got '8' instead"),
        ({"samples": 0}, "'samples' parameter"),
        ({"n_importance": 0}, "'n_importance' parameter"),
        ({"kl_weight": -1}, "'kl_weight' parameter .* finite number of at least 0"),
        ({"kl_weight": math.inf}, "'kl_weight' parameter"),
        ({"free_bits": math.nan}, "'free_bits' parameter"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter .* finite positive"),
        ({"learning_rate": None}, "'learning_rate' parameter"),
        ({"validation_fraction": 1.0}, r"'validation_fraction' parameter .* in \[0, 1\)"),
        ({"validation_fraction": -0.1}, "'validation_fraction' parameter"),
        ({"patience": 3}, "'patience' parameter .* None if validation_fraction=0. Got 3 instead"),
        ({"patience": 0, "validation_fraction": 0.5}, "None or an integer of at least 1. Got 0"),
        ({"binarisation": "always"}, "None or one of none, threshold, fixed, new"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"sigma": "wide"}, "'sigma' parameter"),
        ({"sigma": -1.0}, "sigma"),
        ({"variance": "fixed"}, "a number if variance='fixed'"),
        ({"variance": "none"}, "expected variance one of"),
        ({"hidden": (3, 2.5)}, r"expected hidden a sequence of integers, got \(3, 2.5\)"),
        ({"hidden": 3}, "expected hidden a sequence of integers, got 3"),
        ({"likelihood": "poisson"}, "expected likelihood one of"),
        ({"activation": "step"}, "expected activation one of"),
        ({"random_state": "now"}, "expected random_state"),
        ({"device": "tpu"}, "expected the device 'cpu' or 'cuda'"),
    ],
)
def test_bad_parameters_are_refused_in_fit_not_before(
    changes: dict[str, Any], message: str
) -> None:
    est = quick().set_params(**changes)
    for method in (est.fit, est.partial_fit, est.fit_transform):
        with pytest.raises(ValueError, match=message) as caught:
            method(real())
        assert "\n" not in str(caught.value)
    assert not hasattr(est, "model_") and not hasattr(est, "n_features_in_")


def test_numpy_numbers_are_good_parameters() -> None:
    changes = {"latent": np.int64(3), "hidden": np.array([4, 3]), "epochs": np.int32(1),
               "kl_weight": np.float32(0.5), "sigma": np.float64(1.0)}  # fmt: skip
    est = quick(**changes).fit(real())
    assert type(est.model_.architecture.latent) is int
    assert [type(n) for n in est.model_.architecture.hidden] == [int, int]
    assert type(est.model_.architecture.sigma) is float


BAD_DATA: list[tuple[Any, type[Exception], str]] = [
    ([1.0, 2.0], ValueError, "Expected 2D array, got 1D array instead.*Reshape your data"),
    (3.0, ValueError, "Expected 2D array, got scalar array instead"),
    (np.ones((2, 3, 1)), ValueError, "Found array with dim 3, while dim <= 2 is required by VAEEs"),
    (np.ones((0, 3)), ValueError, r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a"),
    (np.ones((4, 0)), ValueError, r"0 feature\(s\) \(shape=\(4, 0\)\) while a minimum of 1 is req"),
    ([[1.0, math.nan, 2.0]], ValueError, "Input X contains NaN"),
    ([[1.0, None, 2.0]], ValueError, "Input X contains NaN"),
    ([[1.0, -math.inf, 2.0]], ValueError, "Input X contains infinity or a value too large for dty"),
    (np.ones((2, 3)) * 1j, ValueError, "Complex data not supported"),
    ([["a", "b", "c"]], ValueError, "Expected numbers in X, got an array of <U1"),
    (np.array([["a", 1, 2]], dtype=object), ValueError, "could not convert string to float: 'a'"),
    (np.array([[{}, 1, 2]], dtype=object), TypeError, "argument must be a string or a real number"),
    (sparse.eye(3).tocsr(), TypeError, "Sparse data was passed for X, but dense data is required"),
    (np.zeros((2, 3), "M8[s]"), ValueError, "Expected numbers in X, got an array of datetime64"),
]


@pytest.mark.parametrize(("data", "kind", "message"), BAD_DATA)
def test_bad_data_is_refused_everywhere(data: Any, kind: type[Exception], message: str) -> None:
    est = quick().fit(real())
    theta = est.model_.parameters.theta.copy()
    for method in (est.transform, est.score_samples, est.score, est.partial_fit, est.fit,
                   est.inverse_transform, quick().fit, quick().partial_fit):  # fmt: skip
        with pytest.raises(kind, match=message):
            method(data)
    assert np.array_equal(est.model_.parameters.theta, theta)  # nothing was learnt from it


def test_data_of_another_width_is_refused() -> None:
    est = quick().fit(real())
    message = "X has 4 features, but VAEEstimator is expecting 3 features as input"
    for method in (est.transform, est.score_samples, est.score, est.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(real(5, 4))
    with pytest.raises(ValueError, match="X has 3 features, but VAEEstimator is expecting 2 feat"):
        est.inverse_transform(real())
    assert est.fit(real(5, 4)).n_features_in_ == 4


def test_a_number_too_large_for_float32_is_infinity_there() -> None:
    x = real()
    x[0, 0] = 1e39
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\)"):
        quick(dtype="float32").fit(x)


UNFITTED = ["transform", "inverse_transform", "score", "score_samples", "sample"]


@pytest.mark.parametrize("method", [*UNFITTED, "get_feature_names_out"])
def test_before_fit_there_is_scikit_learns_error(method: str) -> None:
    argument = {"sample": [3], "get_feature_names_out": []}.get(method, [real()])
    with pytest.raises(NotFittedError, match="This VAEEstimator instance is not fitted yet"):
        getattr(quick(), method)(*argument)


def test_without_scikit_learn_everything_but_its_tags_works() -> None:
    code = """
import sys
sys.modules["sklearn"] = None  # an import of it raises ImportError
import numpy as np
import minivae
assert "minivae.estimator" not in sys.modules
est = minivae.VAEEstimator(hidden=(3,), epochs=1, random_state=0)
for method in (est.transform, est.score):
    try:
        method(np.ones((2, 2)))
    except ValueError as error:
        assert isinstance(error, AttributeError) and "is not fitted yet" in str(error)
    else:
        raise AssertionError
x = np.arange(10.0).reshape(5, 2) / 10
est.partial_fit(x).inverse_transform(est.transform(x))
est.set_params(n_importance=3).score(x), est.sample(2), repr(est), est.get_feature_names_out()
for name in ("sklearn", "scipy", "pandas", "polars"):
    assert sys.modules.get(name) is None, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_name_in_the_package_is_the_class() -> None:
    assert mv.VAEEstimator is VAEEstimator and "VAEEstimator" in mv.__all__
    with pytest.raises(AttributeError, match="module 'minivae' has no attribute 'VAETransformer'"):
        _ = mv.VAETransformer  # type: ignore[attr-defined]


# ---- copies ----


def through_joblib(est: VAEEstimator, tmp: Any) -> VAEEstimator:
    joblib.dump(est, tmp / "est.joblib")
    return joblib.load(tmp / "est.joblib", mmap_mode="r")


@pytest.mark.parametrize("how", ["pickle", "deepcopy", "joblib"])
def test_a_copy_is_alive_and_independent(how: str, tmp_path: Any) -> None:
    x = real()
    est = quick(epochs=3).fit(x)
    copied: VAEEstimator = {
        "pickle": lambda: pickle.loads(pickle.dumps(est)),
        "deepcopy": lambda: copy.deepcopy(est),
        "joblib": lambda: through_joblib(est, tmp_path),
    }[how]()
    assert np.array_equal(copied.transform(x), est.transform(x))
    assert copied.score(x) == est.score(x) and np.array_equal(copied.sample(4), est.sample(4))
    assert copied.history_.rows == est.history_.rows and set(vars(copied)) == set(vars(est))
    assert copied.get_params() == est.get_params()
    # Its layers are views of its own theta, and its Adam has its own moments: it trains on.
    before = est.transform(x)
    copied.partial_fit(x)
    assert np.array_equal(est.transform(x), before)
    assert np.array_equal(copied.transform(x), est.partial_fit(x).transform(x))
    assert not np.array_equal(est.transform(x), before)


def test_an_unfitted_estimator_is_copied_too() -> None:
    assert vars(pickle.loads(pickle.dumps(quick()))) == vars(quick())


def test_a_pickle_holds_the_parameters_once() -> None:
    est = VAEEstimator(hidden=(200,), epochs=1, dtype="float32").fit(real(10, 50))
    numbers = 3 * len(est.model_.parameters)  # theta and the two moments of Adam
    assert len(pickle.dumps(est)) < 4 * numbers + 5_000


# ---- names of columns ----


class Frame:
    """What a data frame needs to have here: columns, and a way to become an array."""

    def __init__(self, values: np.ndarray, columns: list[Any]) -> None:
        self.values, self.columns = values, columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.values, dtype=dtype)


def test_names_of_columns_without_pandas() -> None:
    x = real()
    est = quick().fit(Frame(x, ["a", "b", "c"]))
    assert list(est.feature_names_in_) == ["a", "b", "c"] and est.feature_names_in_.dtype == object
    assert np.array_equal(est.transform(Frame(x, ["a", "b", "c"])), quick().fit_transform(x))
    with pytest.raises(ValueError, match="same order as they were in fit"):
        est.score(Frame(x, ["a", "c", "b"]))
    with pytest.raises(ValueError, match="unseen at fit time:\n- d\n.*now missing:\n- b\n"):
        est.partial_fit(Frame(x, ["a", "d", "c"]))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but VAEEst"):
        est.transform(x)
    assert not hasattr(est.fit(x), "feature_names_in_")
    with pytest.warns(
        UserWarning, match="X has feature names, but VAEEstimator was fitted without"
    ):
        est.transform(Frame(x, ["a", "b", "c"]))
    assert not hasattr(quick().fit(Frame(x, [0, 1, 2])), "feature_names_in_")
    with pytest.raises(
        TypeError, match=r"only supported if all .*\['int', 'str'\] as feature name"
    ):
        quick().fit(Frame(x, ["a", 1, 2]))


def test_the_warning_about_names_points_at_the_caller() -> None:
    est = quick().fit(Frame(real(), ["a", "b", "c"]))
    for method in (est.transform, est.score_samples):
        with pytest.warns(UserWarning) as caught:
            method(real())
        assert caught[0].filename == __file__


def test_many_wrong_names_are_cut_short() -> None:
    names = [f"n{i}" for i in range(8)]
    est = quick().fit(Frame(real(9, 8), names))
    with pytest.raises(ValueError, match="- x0\n- x1\n- x2\n- x3\n- x4\n- ...\nFeature names seen"):
        est.transform(Frame(real(9, 8), [n.replace("n", "x") for n in names]))


def test_names_that_are_given_must_be_those_of_fit() -> None:
    est = quick().fit(Frame(real(), ["a", "b", "c"]))
    assert len(est.get_feature_names_out(["a", "b", "c"])) == 2
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        est.get_feature_names_out(["a", "c", "b"])
    with pytest.raises(ValueError, match=r"number of features \(3\), got 2"):
        quick().fit(real()).get_feature_names_out(["a", "b"])


def test_codes_in_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(real(5), columns=list("abc"), index=[7, 5, 3, 1, 2])
    est = quick().set_output(transform="pandas")
    codes = est.fit_transform(frame)
    assert list(codes.columns) == ["vaeestimator0", "vaeestimator1"]
    assert list(codes.index) == [7, 5, 3, 1, 2]
    assert np.array_equal(codes, quick().fit_transform(frame))
    assert list(est.fit(real()).transform(real()).index) == list(range(30))
    assert est.inverse_transform(codes).shape == (5, 3)
    assert clone(est).fit_transform(frame).equals(codes)
    assert isinstance(est.set_output(transform=None).fit_transform(frame), pandas.DataFrame)
    assert isinstance(est.set_output(transform="default").fit_transform(frame), np.ndarray)
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(quick().fit_transform(frame), pandas.DataFrame)
        assert isinstance(est.fit_transform(frame), np.ndarray)  # its own choice goes first
    with pytest.raises(ValueError, match="one of default, pandas, polars, got 'numpy'"):
        est.set_output(transform="numpy")


# ---- among other estimators ----


def two_classes(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) % 2
    return rng().normal(size=(n, 4)) + 4.0 * y[:, None] * np.array([1.0, -1.0, 1.0, 1.0]), y


def test_in_a_pipeline() -> None:
    x, y = two_classes()
    vae = VAEEstimator(hidden=(8,), epochs=50, batch_size=10, learning_rate=1e-2, random_state=0)
    pipe = make_pipeline(MinMaxScaler(), vae, LogisticRegression())
    assert pipe.fit(x, y).score(x, y) > 0.95
    assert list(pipe[:-1].get_feature_names_out()) == ["vaeestimator0", "vaeestimator1"]
    assert "VAEEstimator" in pipe._repr_html_() and "VAEEstimator" in repr(pipe)
    pipe.set_params(vaeestimator__epochs=1)
    assert pipe[1].epochs == 1
    alone = make_pipeline(StandardScaler(), quick()).fit(x)
    scaled = StandardScaler().fit_transform(x)
    assert alone.score(x) == quick().fit(scaled).score(scaled)
    means = quick().fit(scaled).inverse_transform(real(5, 2))
    back = StandardScaler().fit(x).inverse_transform(means)
    assert np.array_equal(alone.inverse_transform(real(5, 2)), back)


def test_in_a_grid_search() -> None:
    """The weight of the KL and the latents, chosen by the likelihood of what was held out."""
    x = factor_data(200, 0)
    vae = VAEEstimator(
        hidden=(), epochs=25, batch_size=20, learning_rate=3e-2, n_importance=10, random_state=0
    )
    pipe = Pipeline([("scale", StandardScaler()), ("vae", vae)])
    grid = {"vae__latent": [1, 2], "vae__kl_weight": [1.0, 8.0]}
    search = GridSearchCV(pipe, grid, cv=2).fit(x)
    assert search.best_params_ == {"vae__latent": 2, "vae__kl_weight": 1.0}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.transform(x).shape == (200, 2)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


# ---- another device ----


def test_on_the_strict_device_the_numbers_are_the_same() -> None:
    strict = pytest.importorskip("array_api_strict")
    device1 = strict.Device("device1")

    def device(a: np.ndarray) -> Any:
        return strict.asarray(a, device=device1)

    for name in ("gaussian", "bernoulli"):
        x = grey(9)
        here, there = (
            quick(likelihood=name, n_importance=3, device=d).fit(x) for d in ("cpu", device)
        )
        assert there.model_.parameters.theta.device == device1
        for method in ("transform", "score_samples", "inverse_transform"):
            argument = real(9, 2) if method == "inverse_transform" else x
            got, want = getattr(there, method)(argument), getattr(here, method)(argument)
            assert type(got) is np.ndarray and np.allclose(got, want, rtol=1e-10), method
        assert np.allclose(there.sample(5), here.sample(5), rtol=1e-10)
        assert np.allclose(there.partial_fit(x).transform(x), here.partial_fit(x).transform(x))


@pytest.mark.gpu
def test_on_a_gpu_arrays_come_and_go_as_numpys() -> None:
    x = real(100).astype("float32")
    est = quick(device="cuda").fit(x)
    assert type(est.transform(x)) is np.ndarray and type(est.sample(3)) is np.ndarray
    assert np.isfinite(est.score(x))
    copied = pickle.loads(pickle.dumps(est))
    assert np.allclose(copied.transform(x), est.transform(x), rtol=1e-4)
    assert np.isfinite(copied.partial_fit(x).score(x))


def test_verbose_shows_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    quick(verbose=True).fit(real())
    assert "epoch 2/2" in capsys.readouterr().err
    quick().fit(real())
    assert capsys.readouterr().err == ""


def test_the_keys_of_the_noise_are_those_that_are_promised() -> None:
    """(seed, digest of the row, purpose), so a fitted model scores the same tomorrow."""
    (own,) = own_generators(np.zeros((1, 1)), 5, 99)
    digest = int.from_bytes(hashlib.blake2b(bytes(8), digest_size=8).digest(), "little")
    assert own.random() == generator("cpu", 5, digest, 99).random()
