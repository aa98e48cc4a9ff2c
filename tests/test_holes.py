"""Holes: the two-sample test, mixtures by EM, the aggregated posterior, and what lies between."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, Architecture, Autoencoder, plots, runs, walks
from minivae.arrays import generator
from minivae.cli import _common, _examples, main
from minivae.datasets import Dataset, Split
from minivae.evaluation import (
    AggregatedPosterior,
    Mixture,
    cross,
    disjoint_pairs,
    draw_codes,
    energy_test,
    fit_mixture,
    judge_priors,
)
from minivae.evaluation.mixtures import FLOOR, _objective
from minivae.walks import Codes


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- the energy test ----


def energy_by_loops(x: Any, y: Any) -> tuple[float, float]:
    across = np.mean([math.dist(a, b) for a in x for b in y])
    within = [np.mean([math.dist(a, b) for a, b in combinations(s, 2)]) for s in (x, y)]
    return 2 * across - sum(within), 2 * across


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9), st.integers(1, 3))
def test_the_energy_is_the_mean_over_pairs(seed: int, n: int, m: int, K: int) -> None:
    r = rng(seed)
    x, y = r.normal(size=(n, K)), r.normal(0.5, 2.0, (m, K))
    energy, scale = energy_by_loops(x, y)
    found = energy_test(x, y, r, 1)
    assert found.energy.mean == pytest.approx(energy, abs=1e-6)
    assert found.coefficient.mean == pytest.approx(energy / scale, abs=1e-6)
    turned = energy_test(1e3 * y + 7, 1e3 * x + 7, r, 1)
    assert turned.coefficient.mean == pytest.approx(found.coefficient.mean, abs=1e-6)


def test_the_energy_of_two_gaussians_is_the_closed_form_and_its_error_the_spread() -> None:
    """E|N(d, 2)| is the mean of a folded normal: 2 s phi(d/s) + d (2 Phi(d/s) - 1), s^2 = 2."""
    unit, s, d = NormalDist(), math.sqrt(2), 1.2

    def folded(mean: float) -> float:
        return 2 * s * unit.pdf(mean / s) + mean * (2 * unit.cdf(mean / s) - 1)

    want = 2 * folded(d) - 2 * folded(0.0)
    found = [
        energy_test(rng(i).normal(size=(60, 1)), rng(500 + i).normal(d, 1, (90, 1)), rng(), 1)
        for i in range(150)
    ]
    for pick, truth in (("energy", want), ("coefficient", want / (2 * folded(d)))):
        values = np.array([getattr(f, pick).mean for f in found])
        errors = np.array([getattr(f, pick).standard_error for f in found])
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(150)
        assert 0.85 < math.sqrt((errors**2).mean()) / values.std(ddof=1) < 1.18


def test_p_values_are_uniform_under_the_null() -> None:
    """Every rank k / (P + 1) equally often, by chi-squared, for unequal sizes and any shape."""
    P, times = 9, 600
    counts = np.zeros(P + 1)
    for i in range(times):
        r = rng(i)
        z = r.standard_exponential((17, 2)) ** 2
        p = energy_test(z[:7], z[7:], r, P).p_value
        counts[round(p * (P + 1)) - 1] += 1
        assert 1 <= p * (P + 1) <= P + 1 + 1e-9
    chi2 = ((counts - times / (P + 1)) ** 2 / (times / (P + 1))).sum()
    assert chi2 < 27.9  # 9 degrees of freedom, one in a thousand
    assert chi2 > 2.0  # and not too even either


def test_the_p_value_counts_all_ways_to_deal_the_names() -> None:
    x, y = np.array([[0.0], [1.0], [1.5]]), np.array([[2.5], [1.2], [4.0]])
    z = np.concatenate([x, y])
    energies = []
    for chosen in combinations(range(6), 3):
        rest = [i for i in range(6) if i not in chosen]
        energies.append(energy_by_loops(z[list(chosen)], z[rest])[0])
    exact = np.mean([e >= energies[0] - 1e-9 for e in energies])
    found = energy_test(x, y, rng(), 20_000)
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))
    assert found.permutations == 20_000
    assert energy_test(x, x + 0.0, rng(), 99).p_value > 0.5


def test_the_test_sees_a_difference_of_any_kind() -> None:
    r = rng(3)
    x, other = r.normal(size=(2, 300, 1))
    bumps = r.choice([-1.0, 1.0], (300, 1))  # of the same mean and variance
    for y in (other + 0.8, 2 * other, bumps):
        found = energy_test(x, y, r, 199)
        assert found.p_value == 1 / 200
        assert found.energy.mean > 3 * found.energy.standard_error


def test_the_energy_test_refuses_what_it_cannot_compare() -> None:
    z = rng().normal(size=(4, 2))
    for x, y in ((z, z[:1]), (z[:1], z), (z, z[:, :1]), (z[:, 0], z[:, 0])):
        with pytest.raises(ValueError, match="two samples"):
            energy_test(x, y, rng())
    with pytest.raises(ValueError, match="all the same"):
        energy_test(np.ones((3, 2)), np.ones((4, 2)), rng())
    with pytest.raises(ValueError, match="one permutation"):
        energy_test(z, z + 1, rng(), 0)


# ---- mixtures ----


def some_mixture(r: np.random.Generator, C: int = 3, K: int = 2) -> Mixture:
    A = r.normal(size=(C, K, K))
    weights = r.uniform(0.5, 2.0, C)
    covariances = A @ A.transpose(0, 2, 1) + 0.2 * np.eye(K)
    return Mixture(weights / weights.sum(), 2 * r.normal(size=(C, K)), covariances)


def test_the_density_is_the_textbooks_and_the_posterior_bayes() -> None:
    r = rng(1)
    p = some_mixture(r)
    z = r.normal(size=(20, 2))
    terms = np.empty((20, 3))
    for n, row in enumerate(z):
        for c in range(3):
            d, S = row - p.means[c], p.covariances[c]
            square = float(d @ np.linalg.inv(S) @ d)
            density = math.exp(-square / 2) / (2 * math.pi * math.sqrt(np.linalg.det(S)))
            terms[n, c] = p.weights[c] * density
    assert np.allclose(p.log_prob(z), np.log(terms.sum(axis=1)), rtol=1e-12)
    want = terms / terms.sum(axis=1, keepdims=True)
    assert np.allclose(p.responsibilities(z), want, rtol=1e-10)
    assert np.isfinite(p.log_prob(1e4 * z)).all()


def test_the_density_integrates_to_one_and_so_does_its_marginal() -> None:
    p = some_mixture(rng(2))
    line = np.linspace(-15, 15, 301)
    plane = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(p.log_prob(plane)).reshape(301, 301)
    assert abs(density.sum() * 0.01 - 1) < 1e-6
    assert np.allclose(density.sum(axis=0) * 0.1, np.exp(p.marginal((1,)).log_prob(line[:, None])),
                       atol=1e-7)  # fmt: skip
    assert np.array_equal(p.marginal((1, 0)).covariances[:, 0, 0], p.covariances[:, 1, 1])


def test_samples_have_the_moments_of_the_mixture() -> None:
    p = some_mixture(rng(3))
    z = p.sample(100_000, rng(4))
    mean = p.weights @ p.means
    d = p.means - mean
    covariance = np.tensordot(p.weights, p.covariances + d[:, :, None] * d[:, None, :], 1)
    assert np.allclose(z.mean(axis=0), mean, atol=0.05)
    assert np.allclose(np.cov(z.T), covariance, atol=0.03 * np.abs(covariance).max())
    share = p.responsibilities(z).mean(axis=0)
    assert np.allclose(share, p.weights, atol=0.01)


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 3), st.integers(6, 60))
def test_the_bound_never_falls(seed: int, C: int, K: int, N: int) -> None:
    r = rng(seed)
    z = some_mixture(r, 3, K).sample(N, r)
    z[: N // 3] = z[0]  # many equal codes: where an unregularised likelihood is unbounded
    fit = fit_mixture(z, C, r, steps=30, tolerance=0.0)
    steps = np.diff(fit.objective)
    assert (steps >= -1e-9 * (1 + np.abs(fit.objective[1:]))).all()
    assert fit.likelihood == pytest.approx(fit.mixture.log_prob(z).mean(), abs=1e-9)
    assert fit.mixture.weights.sum() == pytest.approx(1.0)


def test_where_em_ends_nothing_nearby_is_better() -> None:
    r = rng(5)
    z = some_mixture(r).sample(80, r)
    p = fit_mixture(z, 3, r, steps=1000, tolerance=1e-11).mixture
    floor = FLOOR * float(z.var(axis=0).mean())

    def value(q: Mixture) -> float:
        return _objective(q, q._log_joint(z), z, floor)

    best = value(p)
    for _ in range(25):
        size = 10.0 ** r.uniform(-3, -1)
        A = size * r.normal(size=(3, 2, 2))
        w = p.weights * np.exp(size * r.normal(size=3))
        turn = np.eye(2) + A
        for q in (
            Mixture(w / w.sum(), p.means, p.covariances),
            Mixture(p.weights, p.means + size * r.normal(size=(3, 2)), p.covariances),
            Mixture(p.weights, p.means, turn @ p.covariances @ turn.transpose(0, 2, 1)),
        ):
            assert value(q) < best + 1e-7


def test_one_component_is_the_gaussian_of_the_codes() -> None:
    z = rng(6).normal(size=(4000, 3)) @ np.array([[2, 0, 0], [1, 1, 0], [0, 0.5, 0.3]]) + 4
    fit = fit_mixture(z, 1, rng())
    assert np.allclose(fit.mixture.means[0], z.mean(axis=0), rtol=1e-9)
    assert np.allclose(fit.mixture.covariances[0], np.cov(z.T, bias=True), atol=2e-3)
    assert fit.mixture.weights.tolist() == [1.0]


def test_em_finds_the_mixture_that_made_the_codes_as_scikit_learn_does() -> None:
    mixture = pytest.importorskip("sklearn.mixture", reason="no scikit-learn")
    truth = Mixture(
        np.array([0.2, 0.3, 0.5]), np.array([[0, 0], [5, 0], [0, 6]], float),
        np.array([np.eye(2), [[1, 0.8], [0.8, 1]], 0.3 * np.eye(2)]),
    )  # fmt: skip
    z = truth.sample(1500, rng(7))
    fit = fit_mixture(z, 3, rng())
    order = np.argsort(fit.mixture.weights)
    assert np.allclose(fit.mixture.weights[order], truth.weights, atol=0.03)
    assert np.allclose(fit.mixture.means[order], truth.means, atol=0.25)
    assert np.allclose(fit.mixture.covariances[order], truth.covariances, atol=0.2)
    other = mixture.GaussianMixture(3, tol=1e-7, max_iter=300, random_state=0).fit(z).score(z)
    assert other - 2e-3 < fit.likelihood <= other + 1e-6


def test_mixtures_that_make_no_sense_are_refused() -> None:
    one, eye = np.ones(1), np.eye(2)[None]
    for w, m, S, message in (
        (np.ones(2), np.zeros((2, 2)), np.repeat(eye, 2, 0), "sum to one"),
        (np.array([2.0, -1.0]), np.zeros((2, 2)), np.repeat(eye, 2, 0), "sum to one"),
        (one, np.zeros((1, 3)), eye, "expected weights"),
        (one, np.zeros((1, 2)), -eye, "positive definite"),
    ):
        with pytest.raises(ValueError, match=message):
            Mixture(w, m, S)
    z = rng().normal(size=(5, 2))
    for bad, C, message in (
        (z, 0, "1 to N"), (z, 6, "1 to N"), (z[0], 1, "1 to N"), (z * math.nan, 1, "finite"),
        (np.ones((5, 2)), 2, "all the same"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            fit_mixture(bad, C, rng())


# ---- the aggregated posterior ----


def some_codes(r: np.random.Generator, N: int = 30, K: int = 2) -> Codes:
    return Codes(r.normal(size=(N, K)), r.normal(-1.5, 0.5, (N, K)))


def test_the_aggregated_posterior_is_the_mean_of_all_posteriors() -> None:
    codes = some_codes(rng(8))
    z = rng(9).normal(size=(7, 2))
    for latents in ((0, 1), (1,)):
        want = []
        for row in z:
            terms = [
                math.prod(
                    NormalDist(codes.mu[n, k], math.exp(codes.logvar[n, k] / 2)).pdf(row[k])
                    for k in latents
                )
                for n in range(30)
            ]
            want.append(math.log(sum(terms) / 30))
        q = AggregatedPosterior(codes, latents)
        assert np.allclose(q.log_prob(z[:, latents]), want, rtol=1e-10)
    assert np.allclose(
        AggregatedPosterior(codes).log_prob(z), AggregatedPosterior(codes, (0, 1)).log_prob(z)
    )
    assert np.isfinite(q.log_prob(np.array([[1e5]]))).all()


def test_the_aggregated_posterior_is_computed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    q, z = AggregatedPosterior(some_codes(rng(8))), rng(9).normal(size=(7, 2))
    want = q.log_prob(z)
    monkeypatch.setattr("minivae.evaluation.holes.PAIRS", 70)
    assert np.array_equal(q.log_prob(z), want)


def test_draws_have_the_moments_of_the_aggregated_posterior() -> None:
    codes = some_codes(rng(10), 20_000)
    variance = codes.mu.var(axis=0) + np.exp(codes.logvar).mean(axis=0)
    q = AggregatedPosterior(codes)
    for z in (draw_codes(codes, rng(1)), q.sample(20_000, rng(2))):
        assert np.allclose(z.mean(axis=0), codes.mu.mean(axis=0), atol=0.04)
        assert np.allclose(z.var(axis=0), variance, rtol=0.04)
    each = draw_codes(codes, rng(1)) - codes.mu
    assert np.allclose((each**2 / np.exp(codes.logvar)).mean(axis=0), 1.0, atol=0.04)


def test_the_code_of_an_autoencoder_is_its_own_draw_and_has_no_density() -> None:
    codes = Codes(rng().normal(size=(5, 2)).astype("float32"), None)
    assert np.array_equal(draw_codes(codes, rng()), codes.mu)
    with pytest.raises(ValueError, match="points"):
        AggregatedPosterior(codes)


# ---- priors ----


def test_the_gain_of_a_fitted_gaussian_is_the_divergence_in_closed_form() -> None:
    r = rng(11)
    train, test = (Codes(1 + 2 * r.normal(size=(4000, 1)), None) for _ in range(2))
    standard, fitted, mixture = judge_priors(train, test, r, 3, permutations=49, limit=150)
    # KL( N(1, 4) || N(0, 1) ) = (4 + 1 - 1 - log 4) / 2
    want = (4 - math.log(4)) / 2
    assert abs(fitted.gain.mean - want) < 4 * fitted.gain.standard_error
    assert fitted.log_prob.mean == pytest.approx(-0.5 * math.log(8 * math.pi * math.e), abs=0.05)
    assert standard.gain == type(standard.gain)(0.0, 0.0)
    both = standard.log_prob.mean + fitted.gain.mean
    assert both == pytest.approx(fitted.log_prob.mean, abs=1e-9)
    assert abs(mixture.gain.mean - want) < 0.15
    assert standard.test.p_value == 0.02 and standard.test.coefficient.mean > 0.05
    assert min(fitted.test.p_value, mixture.test.p_value) > 0.02
    assert [p.name for p in (standard, fitted, mixture)] == [
        "N(0, I)", "N(mean, cov)", "mixture of 3",
    ]  # fmt: skip


def test_the_priors_are_fitted_to_training_codes_and_judged_on_test_codes() -> None:
    r = rng(15)
    train, test = Codes(r.normal(5, 1, (300, 2)), None), Codes(r.normal(0, 1, (200, 2)), None)
    standard, gaussian, mixture = judge_priors(train, test, r, 2, permutations=19)
    assert isinstance(gaussian.density, Mixture) and isinstance(mixture.density, Mixture)
    assert np.allclose(gaussian.density.means[0], train.mu.mean(axis=0), atol=0.01)
    assert (mixture.density.means > 3).all()
    assert gaussian.gain.mean < -10 and gaussian.test.p_value == mixture.test.p_value == 0.05
    assert standard.log_prob.mean == pytest.approx(-math.log(2 * math.pi) - 1, abs=0.25)


def test_a_mixture_sees_two_bumps_that_a_gaussian_does_not() -> None:
    r = rng(12)
    signs = r.choice([-3.0, 3.0], (1200, 1))
    z = np.hstack([signs, 0 * signs]) + 0.4 * r.normal(size=(1200, 2))
    train, test = Codes(z[:800], None), Codes(z[800:], None)
    _, gaussian, mixture = judge_priors(train, test, r, 2, permutations=99, limit=200)
    assert gaussian.test.p_value == 0.01 and mixture.test.p_value > 0.01
    assert mixture.gain.mean > gaussian.gain.mean + 0.5


# ---- lines ----


def test_a_gaussian_has_no_holes_and_two_bumps_have_one() -> None:
    r = rng(13)
    one = some_mixture(r, 1)
    a, b = one.sample(40, r), one.sample(40, r)
    assert cross(one.log_prob, a, b).depth.mean == 0.0
    two = Mixture(np.array([0.5, 0.5]), np.array([[-3.0, 0], [3, 0]]), np.stack([np.eye(2)] * 2))
    start, end = np.array([[-3.0, 0.0]]), np.array([[3.0, 0.0]])
    found = cross(two.log_prob, start, end, 3)
    # At the ends log 1/2 N(0) (1 + e^-18), in the middle log N(3): the fall is 9/2 - log 2 + ...
    assert found.depth.mean == pytest.approx(4.5 - math.log(2) + math.log1p(math.exp(-18)))
    assert found.log.shape == (1, 3) and found.times.tolist() == [0, 0.5, 1]
    assert cross(two.log_prob, start, start).depth.mean == 0.0
    many = cross(two.log_prob, np.repeat(start, 2, 0), np.array([[3.0, 0.0], [-3.0, 1.0]]), 3)
    assert many.depth.mean == pytest.approx(found.depth.mean / 2)
    assert many.depth.standard_error == pytest.approx(found.depth.mean / 2)


def test_the_depth_is_counted_from_the_lower_end() -> None:
    for values, want in (([0.0, -2.0, -1.0], 1.0), ([-3.0, -2.0, 0.0], 0.0)):
        found = cross(lambda z, v=values: np.array(v), np.zeros((1, 1)), np.ones((1, 1)), 3)
        assert found.depth.mean == want


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 20))
def test_pairs_share_no_code(seed: int, n: int, limit: int) -> None:
    a, b = disjoint_pairs(n, limit, rng(seed))
    assert len(a) == len(b) == min(limit, n // 2)
    together = np.concatenate([a, b])
    assert len(set(together.tolist())) == len(together) and set(together) <= set(range(n))


def test_lines_that_make_no_sense_are_refused() -> None:
    z = np.zeros((2, 2))
    for a, b, steps in ((z, z[:1], 5), (z[0], z[0], 5), (z[:0], z[:0], 5), (z, z, 2)):
        with pytest.raises(ValueError, match="pairs of codes"):
            cross(lambda z: z[:, 0], a, b, steps)
    for n, limit in ((1, 3), (4, 0)):
        with pytest.raises(ValueError, match="at least 2 codes"):
            disjoint_pairs(n, limit, rng())


# ---- picture and command ----


def test_the_picture_shows_the_density_the_lines_and_the_samples() -> None:
    r = rng(14)
    p = some_mixture(r)
    z = p.sample(60, r)
    crossing = cross(p.log_prob, z[:30], z[30:])
    images = {"a": r.random((12, 16)), "b": r.random((12, 16))}
    figure = plots.holes(p.log_prob, z, crossing, images, (4, 4), ["u", "v"])
    plane, lines, *rest = figure.axes
    shown = plane.images[0]
    left, right, low, high = shown.get_extent()
    log = np.asarray(shown.get_array())
    corner = p.log_prob(np.array([[right, low], [left, high]]))
    peak = p.log_prob(p.means).max()
    for value, want in zip((log[0, -1], log[-1, 0]), corner, strict=True):
        assert value == pytest.approx(max(want - peak, -7), abs=0.1)
    assert (plane.get_xlabel(), plane.get_ylabel()) == ("u", "v")
    assert np.allclose(np.stack(plane.lines[0].get_data(), axis=1), z)
    radii = [np.hypot(*circle.get_data())[0] for circle in plane.lines[1:3]]
    assert radii == pytest.approx([math.sqrt(2 * math.log(2)), math.sqrt(2 * math.log(20))])
    median = next(line for line in lines.lines if line.get_label() == "median").get_ydata()
    below = crossing.log - np.minimum(crossing.log[:, 0], crossing.log[:, -1])[:, None]
    assert np.allclose(median, np.median(below, axis=0))
    assert f"{crossing.depth.mean:.2f}" in lines.get_title()
    titles = [axes.get_title() for axes in rest if axes.get_title()]
    assert titles == ["means of p(x|z), z from a", "means of p(x|z), z from b"]
    alone = plots.holes(p.log_prob, z, crossing)
    assert len(alone.axes) == 3


DIGITS = {"name": "digits", "validation": 250, "binarisation": "new"}


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []
    monkeypatch.setattr(_common, "write_picture", lambda path, figure: seen.append((path, figure)))
    return seen


def made(kind: Any, K: int = 3) -> Any:
    model = kind(Architecture(64, K, (16,)), seed=1)
    Path("run/pictures").mkdir(parents=True)
    name = "ae" if kind is Autoencoder else "vae"
    runs.save(Path("run"), model, {"model": name, "data": DIGITS})
    return model


@pytest.mark.parametrize(("kind", "K"), [(VAE, 3), (Autoencoder, 3), (VAE, 1), (Autoencoder, 1)])
def test_the_command_prints_what_the_functions_say(
    kind: Any, K: int, figures: list, capsys: Any
) -> None:
    model = made(kind, K)
    arguments = ["--components", "4", "--permutations", "19", "--examples", "200", "--seed", "5"]
    assert main(["holes", "run", *arguments]) == 0
    out = capsys.readouterr().out
    data = runs.load_data({"data": DIGITS})
    x, _ = _examples.training_examples(data, {"data": DIGITS}, 200)
    train, test = walks.codes(model, x), walks.codes(model, data.test.x)
    r = generator("cpu", 5, 0, _examples.HOLES)
    priors = judge_priors(train, test, r, 4, 19)
    for prior in priors:
        (line,) = [row for row in out.splitlines() if row.startswith(f"  {prior.name} ")]
        c = prior.test.coefficient
        for cell in (prior.log_prob, prior.gain, f"{c.mean:.4f} +- {c.standard_error:.4f}"):
            assert str(cell) in line
        assert line.endswith(f"{prior.test.p_value:.4f}")
    a, b = disjoint_pairs(250, 100, r)
    mu = test.mu.astype("float64")
    density = priors[-1].density.log_prob
    lines = cross(density, mu[a], mu[b])
    flat = " ".join(out.split())
    assert f"in the mixture of 4 {lines.depth} nats" in flat
    if kind is VAE:
        lines = cross(AggregatedPosterior(train).log_prob, mu[a], mu[b])
        assert f"in the sum of q(z|x) {lines.depth} nats" in flat
    assert ("gain: of the ELBO" in out) == (kind is VAE) and ("sum of q" in out) == (kind is VAE)
    path, figure = figures[0]
    assert path == Path("run/pictures/holes.png")
    assert f"{lines.depth.mean:.2f}" in figure.axes[1].get_title()


def test_a_table_has_no_samples_to_show(
    figures: list, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(VAE)
    split = Split(rng().random((40, 64), dtype="float32"), np.zeros(40, "int64"))
    rows = Dataset("rows", (1, 64), split, split, split, "")
    monkeypatch.setattr(_common, "load_data", lambda model, config, run: rows)
    assert main(["holes", "run", "--permutations", "9"]) == 0
    out = capsys.readouterr().out
    assert "image" not in out and "test examples" in out and len(figures[0][1].axes) == 3


@pytest.mark.parametrize(
    ("option", "value"),
    [("--components", "0"), ("--components", "2000"), ("--permutations", "0"),
     ("--examples", "1"), ("--seed", "-1")],
)  # fmt: skip
def test_a_slip_is_one_line(option: str, value: str, figures: list, capsys: Any) -> None:
    made(VAE)
    assert main(["holes", "run", option, value]) == 2
    error = capsys.readouterr().err
    assert option in error and error.count("\n") == 1 and not figures
