"""Baselines: mixtures of Bernoullis against enumeration, PCA in bits against its own tables."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.datasets import binarise, load_digits
from minivae.evaluation import (
    BernoulliMixture,
    compression_curve,
    fit_bernoulli_mixture,
    independent_pixels,
    pca_at_code_length,
)
from minivae.evaluation import baselines as rooms_own
from minivae.evaluation.probes import PCA
from minivae.exact import Spectrum, shannon_rate
from minivae.models import smoothed_mean

SEEDS = st.integers(0, 2**32 - 1)


def any_mixture(rng: np.random.Generator, C: int, D: int) -> BernoulliMixture:
    return BernoulliMixture(rng.dirichlet(np.ones(C)), rng.uniform(0.05, 0.95, (C, D)))


def images(D: int) -> np.ndarray:
    return np.array(list(itertools.product((0.0, 1.0), repeat=D)))


@settings(max_examples=25)
@given(C=st.integers(1, 5), D=st.integers(1, 7), seed=SEEDS)
def test_a_mixture_sums_to_one_and_is_what_it_says(C: int, D: int, seed: int) -> None:
    mixture = any_mixture(np.random.default_rng(seed), C, D)
    x = images(D)
    p = np.exp(mixture.log_prob(x))
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    direct = [
        sum(
            w * math.prod(m if on else 1.0 - m for m, on in zip(means, image, strict=True))
            for w, means in zip(mixture.weights, mixture.means, strict=True)
        )
        for image in x
    ]
    assert p == pytest.approx(np.array(direct), rel=1e-12)


def test_samples_have_the_frequencies_of_the_mixture() -> None:
    mixture = any_mixture(np.random.default_rng(1), 3, 4)
    drawn = mixture.sample(40_000, np.random.default_rng(2))
    assert drawn.dtype == np.float32 and drawn.shape == (40_000, 4)
    number = (drawn @ [8, 4, 2, 1]).astype(int)
    p = np.exp(mixture.log_prob(images(4)))
    expected = 40_000 * p
    chi_square = float(((np.bincount(number, minlength=16) - expected) ** 2 / expected).sum())
    assert chi_square < 37.7  # 15 degrees of freedom: one in a thousand is beyond


@settings(max_examples=25)
@given(N=st.integers(2, 40), D=st.integers(1, 6), C=st.integers(1, 5), seed=SEEDS)
def test_em_never_falls(N: int, D: int, C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.random((N, D)) < rng.random(D)).astype(np.float64)
    fit = fit_bernoulli_mixture(x, min(C, N), rng, steps=15, tolerance=-1.0)
    assert len(fit.objective) == 16
    assert (np.diff(fit.objective) >= -1e-9 * N * D).all()
    assert fit.likelihood == pytest.approx(float(fit.mixture.log_prob(x).mean()), abs=1e-10)


def test_an_m_step_is_the_maximum_of_what_it_claims() -> None:
    """The bound with r held, plus R: no small change of any weight or mean is better."""
    rng = np.random.default_rng(3)
    x = (rng.random((30, 4)) < 0.4).astype(np.float64)
    centre = smoothed_mean(x)
    r = rng.dirichlet(np.ones(3), 30)
    best = rooms_own._m_step(r.sum(axis=0), r.T @ x, centre)

    def value(mixture: BernoulliMixture) -> float:
        return float((r * mixture._log_joint(x)).sum()) + rooms_own._log_prior(mixture, centre)

    for c, d, h in itertools.product(range(3), range(4), (-1e-3, 1e-3)):
        means = best.means.copy()
        means[c, d] += h
        assert value(BernoulliMixture(best.weights, means)) < value(best)
    for c, other, h in itertools.product(range(3), range(3), (-1e-3, 1e-3)):
        weights = best.weights.copy()
        weights[c] += h
        weights[other] -= h
        if c != other:
            assert value(BernoulliMixture(weights, best.means)) < value(best)


def test_em_finds_a_planted_mixture() -> None:
    means = np.array([[0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.5], [0.1] * 3 + [0.9] * 4 + [0.5]])
    planted = BernoulliMixture(np.array([0.3, 0.7]), means)
    x = planted.sample(5_000, np.random.default_rng(4))
    fit = fit_bernoulli_mixture(x, 2, np.random.default_rng(5), tolerance=1e-6)
    order = np.argsort(fit.mixture.weights)
    assert fit.mixture.weights[order] == pytest.approx([0.3, 0.7], abs=0.03)
    assert fit.mixture.means[order] == pytest.approx(means, abs=0.04)
    assert fit.likelihood >= float(planted.log_prob(x).mean())


def test_one_component_is_independent_pixels() -> None:
    rng = np.random.default_rng(6)
    x = (rng.random((200, 5)) < [0.1, 0.3, 0.5, 0.7, 0.0]).astype(np.float32)
    plain, fitted = independent_pixels(x), fit_bernoulli_mixture(x, 1, rng).mixture
    assert plain.means[0] == pytest.approx(
        (x.sum(axis=0, dtype=np.float64) + 1.0) / 202.0, abs=1e-12
    )
    assert fitted.means == pytest.approx(plain.means, abs=0.005)
    assert fitted.weights == pytest.approx([1.0])


def test_grey_pixels_stand_for_all_that_can_be_drawn_from_them() -> None:
    grey = np.array([[0.25, 0.5], [0.75, 1.0]])
    assert independent_pixels(grey).means[0] == pytest.approx([2.0 / 4.0, 2.5 / 4.0])


def test_more_components_are_better_on_held_out_digits() -> None:
    digits, rng = load_digits(), np.random.default_rng(7)
    x, held_out = (binarise(part.x, "new", rng) for part in (digits.train, digits.test))
    nll = [
        -float(fit_bernoulli_mixture(x, C, rng).mixture.log_prob(held_out).mean()) for C in (1, 10)
    ]
    assert nll[0] == pytest.approx(-independent_pixels(x).log_prob(held_out).mean(), abs=0.05)
    assert nll[1] < nll[0] - 3.0


def test_the_blocks_are_only_there_to_save_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    x = (rng.random((50, 6)) < 0.5).astype(np.float64)
    whole = fit_bernoulli_mixture(x, 3, np.random.default_rng(0), steps=5)
    monkeypatch.setattr("minivae.datasets.values.BLOCK", 42)
    parts = fit_bernoulli_mixture(x, 3, np.random.default_rng(0), steps=5)
    assert parts.mixture.means == pytest.approx(whole.mixture.means, abs=1e-12)
    assert parts.mixture.log_prob(x) == pytest.approx(whole.mixture.log_prob(x), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_bernoulli_mixture(np.full((4, 2), 0.5), 1, None), "binary"),
        (lambda: fit_bernoulli_mixture(np.array([[0.0, math.nan]]), 1, None), "binary"),
        (lambda: fit_bernoulli_mixture(np.ones((4, 2)), 5, None), "1 to 4 components"),
        (lambda: fit_bernoulli_mixture(np.ones((4, 2)), 0, None), "1 to 4 components"),
        (lambda: fit_bernoulli_mixture(np.ones((4, 2)), 1, None, steps=0), "steps of at least 1"),
        (lambda: fit_bernoulli_mixture(np.ones((0, 2)), 1, None), "shape"),
        (lambda: independent_pixels(np.ones((4, 2))).log_prob(np.ones((4, 3))), r"\(N, 2\)"),
        (lambda: BernoulliMixture(np.array([0.5, 0.4]), np.full((2, 1), 0.5)), "sum to one"),
        (lambda: BernoulliMixture(np.array([1.5, -0.5]), np.full((2, 1), 0.5)), "positive"),
        (lambda: BernoulliMixture(np.array([math.nan]), np.full((1, 1), 0.5)), "positive"),
        (lambda: BernoulliMixture(np.ones(1), np.full((2, 1), 0.5)), r"weights \(C,\)"),
        (lambda: BernoulliMixture(np.ones(1), np.array([[1.0]])), "inside"),
        (lambda: pca_at_code_length(np.ones((4, 2)), 8.0), "differ"),
        (lambda: pca_at_code_length(np.ones((1, 2)), 8.0), "N at least 2"),
        (lambda: pca_at_code_length(np.eye(4), 0.0), "bits"),
        (lambda: pca_at_code_length(np.eye(4), math.inf), "bits"),
        (lambda: pca_at_code_length(np.array([[0.0], [math.nan]]), 8.0), "finite"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Correlated Gaussians: training and test data, (N, 6)."""
    rng = np.random.default_rng(9)
    mix = rng.normal(size=(6, 6)) * np.array([3.0, 2.0, 1.0, 0.5, 0.1, 0.0])[:, None]
    return rng.normal(size=(4_000, 6)) @ mix + 1.0, rng.normal(size=(2_000, 6)) @ mix + 1.0


@pytest.mark.parametrize("bits", [0.5, 3.0, 12.0, 30.0])
def test_pca_takes_the_bits_it_was_given(world: tuple[np.ndarray, np.ndarray], bits: float) -> None:
    x, held_out = world
    code = pca_at_code_length(x, bits)
    taken = float(code.code_length(code.encode(x)).mean())
    assert 0.98 * bits <= taken <= bits
    new = code.encode(held_out)
    assert np.isfinite(code.code_length(new)).all()
    assert float(code.code_length(new).mean()) == pytest.approx(bits, rel=0.1)


def test_the_code_length_is_the_entropy_of_the_tables(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    x, _ = world
    code = pca_at_code_length(x, 12.0)
    index = code.encode(x)
    want = 0.0
    for column in index.T:
        share = np.unique(column, return_counts=True)[1] / len(x)
        want -= float((share * np.log2(share)).sum())
    assert want <= 12.0 and want == pytest.approx(12.0, rel=0.01)  # unseen values cost a little
    assert (2.0**-code.bits).sum(axis=1) == pytest.approx(np.ones(index.shape[1]), abs=1e-12)


def test_what_is_read_is_near_and_better_than_the_middle_of_the_step(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    x, _ = world
    code = pca_at_code_length(x, 8.0)
    K = code.low.shape[0]
    index, z = code.encode(x), code.pca.encode(x)
    value = np.take_along_axis(code.values, index.T, axis=1).T
    assert (np.abs(value - z) <= code.step * (1.0 + 1e-9)).all()  # both within half a step
    seen = ((code.decode(index) - x) ** 2).mean()
    plain = compression_curve(z, x, code.pca.decode, [code.step])[0].error.mean
    assert seen < plain
    assert K < 6  # the direction without variance, and small ones, are not told


def test_more_bits_are_less_error_and_shannon_is_never_beaten(
    world: tuple[np.ndarray, np.ndarray],
) -> None:
    x, _ = world
    eigenvalues, errors = Spectrum.of(x).eigenvalues, []
    for bits in (2.0, 6.0, 12.0, 20.0):
        code = pca_at_code_length(x, bits)
        error = float(((code.decode(code.encode(x)) - x) ** 2).sum(axis=1).mean())
        rate = shannon_rate(eigenvalues, error) / math.log(2.0)  # of Gaussian data
        assert rate < bits < rate + 0.27 * 6  # a quantiser of one number wastes at most 0.25 bits
        errors.append(error)
    assert errors == sorted(errors, reverse=True)


def test_what_training_never_saw_is_told_as_the_nearest() -> None:
    x = np.array([[-1.0, 0.0], [0.0, 0.1], [1.0, -0.1], [0.5, 0.0], [-0.5, 0.0]])
    code = pca_at_code_length(x, 2.0)
    far = code.encode(np.array([[100.0, 0.0], [-100.0, 0.0]]))
    near = code.encode(x[[2, 0]])
    assert np.array_equal(far[:, 0], near[:, 0])
    assert np.isfinite(code.code_length(far)).all()


def test_the_components_are_those_of_pca(world: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = world
    code = pca_at_code_length(x, 12.0)
    assert np.abs(code.pca.axes) == pytest.approx(np.abs(PCA.fit(x, len(code.low)).axes), abs=1e-9)


def test_hardly_any_bits_is_the_mean() -> None:
    x = np.random.default_rng(10).normal(size=(100, 3))
    code = pca_at_code_length(x, 1e-3)
    index = code.encode(x)
    assert code.code_length(index).mean() <= 1e-3
    assert code.decode(index) == pytest.approx(np.tile(x.mean(axis=0), (100, 1)), abs=1e-9)
