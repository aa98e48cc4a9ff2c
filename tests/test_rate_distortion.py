"""Rate and distortion: against closed forms, enumeration and brute force over lines."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from exact_worlds import known_spectrum
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, Architecture, Autoencoder, exact, plots
from minivae.evaluation import (
    Estimate,
    RatePoint,
    exchange_rates,
    lower_hull,
    rate_distortion,
    regrets,
)

SMALL = st.integers(-6, 6)
POINTS = st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=12)
DRAWS = settings(max_examples=150)


def linear_model(D: int = 4, K: int = 2, sigma2: float = 0.3) -> tuple[VAE, np.ndarray]:
    s = known_spectrum([4.0, 2.0, 0.7, 0.1][:D])
    return exact.as_vae(exact.best_decoder(s, K, sigma2, 1.0)), s.stand_ins()


# ---- one point ----


def test_the_rate_is_exact_and_the_rest_is_where_the_closed_form_has_it() -> None:
    model, x = linear_model()
    want = exact.operating_point(model, x)
    bound = exact.expected_elbo(model, x, gradient=False)
    got = rate_distortion(model, x, np.random.default_rng(0), 4000)
    assert got.rate.mean == pytest.approx(want.rate, rel=1e-12)
    assert np.allclose(got.kl, want.rates, rtol=1e-12) and got.n_features == 4
    assert got.rate.standard_error < 1e-15  # the stand-ins' codes are equally far from 0
    # E_q |x - x_hat|^2 of 8 images, 4,000 codes each: its noise is that of chi squares
    v = 0.3 / np.array([4.0, 2.0])
    noise = np.sqrt(2 * np.sum((v * (np.array([4.0, 2.0]) - 0.3)) ** 2) + 4 * 0.3) / np.sqrt(32000)
    assert abs(got.squared_error.mean - want.distortion) < 5 * noise
    assert got.mean_squared_error == got.squared_error.mean / 4
    nats = (got.squared_error.mean / 0.3 + 4 * math.log(2 * math.pi * 0.3)) / 2
    assert got.distortion.mean == pytest.approx(nats, rel=1e-12)
    assert got.distortion.mean == pytest.approx(-bound.reconstruction.mean(), abs=5 * noise / 0.6)
    assert got.elbo.mean == pytest.approx(-got.rate.mean - got.distortion.mean, rel=1e-13)


def test_a_bernoullis_distortion_is_the_mean_over_all_its_codes() -> None:
    """With one latent the expectation is a Gauss-Hermite sum."""
    rng = np.random.default_rng(1)
    model = VAE(Architecture(3, 1, (5,), "tanh"), seed=1, dtype="float64")
    model.parameters.theta += 0.5 * rng.normal(size=len(model.parameters))
    x = (rng.random((6, 3)) < 0.5).astype(float)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    q = model.encode(x)
    log_p, error = np.zeros((60, 6)), np.zeros((60, 6))
    for i, node in enumerate(nodes):
        a = model.decoder.forward(q.mu + np.exp(q.logvar / 2) * node)[0][0]
        p = 1 / (1 + np.exp(-a))
        log_p[i] = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
        error[i] = ((x - p) ** 2).sum(axis=1)
    S = 5000
    got = rate_distortion(model, x, np.random.default_rng(2), S)
    for e, values, sign in ((got.distortion, log_p, -1), (got.squared_error, error, 1)):
        mean = weights @ values
        spread = math.sqrt(float((weights @ (values - mean) ** 2).sum())) / 6 / math.sqrt(S)
        assert abs(e.mean - sign * mean.mean()) < 4.5 * spread
        assert e.standard_error == pytest.approx(mean.std(ddof=1) / math.sqrt(6), rel=0.05)
    kl = (np.exp(q.logvar) + q.mu**2 - 1 - q.logvar).sum(axis=1) / 2
    assert got.rate.mean == pytest.approx(kl.mean(), rel=1e-12)
    assert got.rate.standard_error == pytest.approx(kl.std(ddof=1) / math.sqrt(6), rel=1e-12)


def test_the_elbos_error_knows_that_its_terms_go_together() -> None:
    model, x = linear_model()
    model.parameters.theta += 0.5  # an encoder that is wrong for some more than for others
    got = rate_distortion(model, x, np.random.default_rng(0), 500)
    apart = math.hypot(got.rate.standard_error, got.distortion.standard_error)
    assert got.elbo.standard_error != pytest.approx(apart, rel=0.01)
    each = exact.expected_elbo(model, x, gradient=False).elbo
    assert got.elbo.standard_error == pytest.approx(each.std(ddof=1) / math.sqrt(len(x)), rel=0.05)


@pytest.mark.parametrize("S", [1, 3, 5000])
def test_every_example_counts_once_and_every_sample(S: int) -> None:
    """Batches of different sizes, a last one that is smaller, and more samples than a chunk."""
    model, x = linear_model()
    x = np.repeat(x, 500, axis=0)[:2501] if S < 10 else x[:3]
    seen: list[int] = []
    got = rate_distortion(model, x, np.random.default_rng(0), S, seen.append)
    assert sum(seen) == len(x) and (S > 1 or len(seen) == 1) and (S != 3 or len(seen) == 2)
    want = exact.operating_point(model, x)
    assert got.rate.mean == pytest.approx(want.rate, rel=1e-12)
    assert got.squared_error.mean == pytest.approx(want.distortion, rel=0.05)


def test_bits_per_dimension() -> None:
    model, x = linear_model()
    got = rate_distortion(model, x, np.random.default_rng(0))
    assert got.bits_per_dimension(4 * math.log(2)) == pytest.approx(1.0)
    single = rate_distortion(model, x[:1], np.random.default_rng(0))
    assert math.isnan(single.rate.standard_error)


def test_float32_is_summed_in_float64() -> None:
    model, x = linear_model()
    small = model.twin("float32")
    got = rate_distortion(small, x, np.random.default_rng(0))
    assert got.kl.dtype == np.float64
    assert got.rate.mean == pytest.approx(exact.operating_point(model, x).rate, rel=1e-5)


def test_what_has_no_rate_is_refused() -> None:
    model, x = linear_model()
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        rate_distortion(Autoencoder(Architecture(4, 2)), x, np.random.default_rng(0))
    with pytest.raises(ValueError, match="n_samples of at least 1, got 0"):
        rate_distortion(model, x, np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match=r"shape \(N, 4\)"):
        rate_distortion(model, x[:, :3], np.random.default_rng(0))


def test_h_minus_d_is_below_the_information_and_that_below_the_rate() -> None:
    """H - D <= I <= R, all by enumeration, in worlds small enough to count."""
    for seed in range(40):
        rng = np.random.default_rng([8, seed])
        w = exact.DiscreteWorld.random(rng, 5, 3, scale=rng.uniform(0.0, 3.0))
        q, data = np.exp(w.log_q), np.exp(w.log_data)
        q_z = data @ q
        D = -(data @ (q * w.log_likelihood).sum(axis=1))
        R = data @ (q * (w.log_q - w.log_prior)).sum(axis=1)
        information = data @ (q * (w.log_q - np.log(q_z))).sum(axis=1)
        H = -(data * w.log_data).sum()
        assert information >= H - D - 1e-12 and information <= R + 1e-12
        assert information <= math.log(5)


# ---- many points ----


@given(POINTS)
@DRAWS
def test_the_hull_is_what_lines_from_below_touch(points: list[tuple[int, int]]) -> None:
    """Brute force: the least D + beta R is at a corner for each beta, and each corner has one."""
    R, D = (list(map(float, c)) for c in zip(*points, strict=True))
    corners = lower_hull(R, D)
    betas = [
        (D[i] - D[j]) / (R[j] - R[i]) for i in range(len(R)) for j in range(len(R)) if R[i] != R[j]
    ]
    betas = sorted({b for b in betas if b > 0}) or [1.0]
    between = [(a + b) / 2 for a, b in pairwise(betas)]
    best: set[tuple[float, float]] = set()
    for beta in [betas[0] / 2, *between, betas[-1] * 2]:  # no ties but of equal points
        values = [d + beta * r for r, d in zip(R, D, strict=True)]
        winners = {(R[i], D[i]) for i, v in enumerate(values) if v <= min(values) + 1e-9}
        assert len(winners) == 1
        best |= winners
    assert {(R[i], D[i]) for i in corners} == best
    assert len(corners) == len(best)  # of equal points one
    assert all(i == points.index(points[i]) for i in corners)  # the first
    assert all(R[a] < R[b] and D[a] > D[b] for a, b in pairwise(corners))


@given(POINTS)
@DRAWS
def test_the_slopes_of_the_hull_fall_and_are_where_its_corners_tie(points: list) -> None:
    R, D = (list(map(float, c)) for c in zip(*points, strict=True))
    corners, betas = lower_hull(R, D), exchange_rates(R, D)
    assert len(betas) == len(corners) - 1
    assert all(a > b for a, b in pairwise(betas)) and all(b > 0 for b in betas)
    for beta, (a, b) in zip(betas, pairwise(corners), strict=True):
        assert D[a] + beta * R[a] == pytest.approx(D[b] + beta * R[b])
        least = min(d + beta * r for r, d in zip(R, D, strict=True))
        assert D[a] + beta * R[a] == pytest.approx(least)


def test_the_hull_by_hand() -> None:
    R, D = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 9.0, 4.0, 3.0, 2.0, 1.8, 2.5]
    # 1 is above the edge from 0 to 2; 3 is on the edge from 2 to 4; 6 costs more and is worse
    assert lower_hull(R, D) == [0, 2, 4, 5]
    assert exchange_rates(R, D) == pytest.approx([3.0, 1.0, 0.2])
    assert lower_hull([1.0], [2.0]) == [0] and exchange_rates([1.0], [2.0]) == []
    assert lower_hull(R[::-1], D[::-1]) == [6, 4, 2, 1]


def test_shannons_curve_is_its_own_hull_and_its_slopes_are_the_betas() -> None:
    """In nats: D = error / (2 sigma^2); between two betas the exchange rate lies between them."""
    values, sigma2 = np.array([4.0, 2.0, 0.7, 0.1]), 0.5
    betas = np.geomspace(0.3, 7.5, 60)
    curve = [exact.reverse_water_filling(values, beta * sigma2) for beta in betas]
    R, D = [p.rate for p in curve], [p.distortion / (2 * sigma2) for p in curve]
    assert lower_hull(R, D) == list(range(60))[::-1]
    for rate, (high, low) in zip(exchange_rates(R, D), pairwise(betas[::-1]), strict=True):
        assert low < rate < high
    assert np.abs(regrets(betas, R, D)).max() == 0.0


def test_a_regret_is_what_another_point_does_better_at_ones_own_objective() -> None:
    R, D = [4.0, 2.0, 1.0], [1.0, 3.0, 9.0]
    # under 1: 5, 5, 10; under 2: 9, 7, 11; under 4: 17, 11, 13
    assert regrets([1.0, 2.0, 4.0], R, D).tolist() == [0.0, 0.0, 2.0]
    assert regrets([4.0, 1.0, 2.0], R, D).tolist() == [6.0, 0.0, 4.0]
    assert regrets([0.0, 0.0, 0.0], R, D).tolist() == [0.0, 2.0, 8.0]


@pytest.mark.parametrize(
    ("R", "D", "words"),
    [
        ([], [], "at least one"),
        ([1.0], [1.0, 2.0], "as many rates as distortions"),
        ([[1.0]], [[1.0]], "as many rates"),
        ([1.0, math.nan], [1.0, 2.0], "finite rates and distortions"),
        ([1.0, 2.0], [1.0, -math.inf], "finite rates and distortions"),
    ],
)
def test_wrong_points_are_refused(R: list, D: list, words: str) -> None:
    for call in (lower_hull, exchange_rates, lambda r, d: regrets([1.0] * len(r), r, d)):
        with pytest.raises(ValueError, match=words):
            call(R, D)
    with pytest.raises(ValueError, match="a KL weight for each of 2 points, got 1"):
        regrets([1.0], [1.0, 2.0], [2.0, 1.0])


# ---- the picture ----


def point(rate: float, distortion: float, error: float = 0.1) -> RatePoint:
    e = [Estimate(v, error) for v in (rate, distortion, -rate - distortion, 1.0)]
    return RatePoint(*e, np.array([rate]), 4)


def lines(plane: object) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in plane.lines}  # type: ignore[attr-defined]


def test_the_picture_has_the_points_the_hull_and_tangents_of_slope_minus_beta() -> None:
    points = [point(0.0, 10.0), point(1.0, 9.0), point(2.0, 4.0), point(4.0, 3.0, math.nan)]
    weights = [8.0, 3.0, 1.5, 0.1]
    figure = plots.rate_distortion(weights, points)
    (plane,) = figure.axes
    drawn = lines(plane)
    assert drawn["lower convex hull: all that a sweep can find"].tolist() == [
        [0, 10],
        [2, 4],
        [4, 3],
    ]
    assert drawn["above the hull: the best for no KL weight"].tolist() == [[1, 9]]
    tangents = [line.get_xydata() for line in plane.lines if line.get_linestyle() == "--"]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in tangents]
    assert slopes == pytest.approx([-w for w in weights])
    middles = np.array([(a + b) / 2 for a, b in tangents])
    assert np.allclose(middles, [[0, 10], [1, 9], [2, 4], [4, 3]])
    assert [text.get_text() for text in plane.texts] == ["8", "3", "1.5", "0.1"]
    assert "nats" in plane.get_xlabel() and "nats" in plane.get_ylabel()


def test_a_single_point_and_points_without_errors_can_be_drawn() -> None:
    figure = plots.rate_distortion([1.0], [point(0.0, 3.0, math.nan)])
    figure.canvas.draw()
    drawn = lines(figure.axes[0])
    assert not any("above" in label for label in drawn)


def test_linear_points_lie_on_the_curve_that_is_drawn() -> None:
    values = np.array([4.0, 2.0, 0.7, 0.1])
    best = [exact.reverse_water_filling(values, t) for t in (0.2, 1.0)]
    linear = [(p.rate, p.distortion) for p in best]
    figure = plots.rate_distortion([0.4, 2.0], [point(3, 1), point(1, 2)], values, linear)
    assert len(figure.axes) == 2
    drawn = lines(figure.axes[1])
    curve = drawn["Shannon: no code of a Gaussian source lies below"]
    assert np.allclose([exact.shannon_rate(values, e) for _, e in curve], curve[:, 0], atol=1e-9)
    assert curve[:, 0].min() == pytest.approx(0.0, abs=1e-12)
    assert curve[:, 0].max() >= linear[0][0]
    assert drawn["linear VAEs, trained"].tolist() == [list(p) for p in linear]
    assert [t.get_text() for t in figure.axes[1].texts] == ["0.4", "2"]
