"""Walks against rotations and complex numbers, norms against quadrature, codes against models."""

import cmath
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minivae import VAE, Architecture, Autoencoder, walks
from minivae.arrays import generator
from minivae.datasets import binarise
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian

WAYS = [walks.straight, walks.spherical]
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 40)


def two(seed: int, K: int, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((2, K)).astype(dtype))  # type: ignore[return-value]


# ---- lines and arcs ----


@given(seeds, st.floats(0.01, 3.1), st.floats(0, 1))
def test_an_arc_in_the_plane_is_a_product_of_complex_numbers(seed: int, w: float, t: float) -> None:
    start = cmath.rect(2.5, np.random.default_rng(seed).uniform(0, 7))
    end, there = start * cmath.rect(1, w), start * cmath.rect(1, t * w)
    z0, z1 = np.array([start.real, start.imag]), np.array([end.real, end.imag])
    z = walks.spherical(z0, z1, np.array([t]))
    assert np.allclose(z, [[there.real, there.imag]], rtol=0, atol=1e-13 / math.sin(w))


def exponential(A: np.ndarray) -> np.ndarray:
    """exp(A), by its series of A / 2^20 and twenty squarings."""
    small, power, total = A / 2.0**20, np.eye(len(A)), np.eye(len(A))
    for k in range(1, 8):
        power = power @ small / k
        total = total + power
    for _ in range(20):
        total = total @ total
    return total


@given(seeds, st.integers(2, 7))
def test_an_arc_is_the_rotation_that_a_matrix_exponential_makes(seed: int, K: int) -> None:
    z0, z1 = two(seed, K)
    z1 *= np.linalg.norm(z0) / np.linalg.norm(z1)
    cosine = z0 @ z1 / (z0 @ z0)
    assume(abs(cosine) < 0.99)
    w = math.acos(cosine)
    u = z0 / np.linalg.norm(z0)
    n = z1 - (z1 @ u) * u
    n /= np.linalg.norm(n)
    generator_of_rotations = np.outer(n, u) - np.outer(u, n)
    t = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    expected = [exponential(s * w * generator_of_rotations) @ z0 for s in t]
    assert np.allclose(walks.spherical(z0, z1, t), expected, rtol=0, atol=1e-7)


@given(seeds, sizes, st.floats(0.1, 10))
def test_an_arc_between_equal_norms_keeps_the_norm_and_walks_evenly(
    seed: int, K: int, norm: float
) -> None:
    z0, z1 = (z * norm / np.linalg.norm(z) for z in two(seed, K))
    assume(abs(z0 @ z1) < 0.99 * norm**2)
    z = walks.spherical(z0, z1, walks.times(11))
    assert np.allclose(np.linalg.norm(z, axis=1), norm, rtol=1e-12)
    steps = np.linalg.norm(np.diff(z, axis=0), axis=1)
    assert np.allclose(steps, steps[0], rtol=1e-9)


def test_the_line_between_right_angles_dips_to_the_root_of_one_half() -> None:
    z0, z1 = np.array([3.0, 0.0]), np.array([0.0, 3.0])
    middle = np.array([0.5])
    assert np.linalg.norm(walks.straight(z0, z1, middle)) == pytest.approx(3 / math.sqrt(2))
    assert np.linalg.norm(walks.spherical(z0, z1, middle)) == pytest.approx(3)


@given(seeds, sizes, st.sampled_from(["float32", "float64"]))
def test_a_line_is_the_point_that_divides_it(seed: int, K: int, dtype: str) -> None:
    z0, z1 = two(seed, K, dtype)
    z = walks.straight(z0, z1, np.array([0.25, 0.5]))
    exact = [[Fraction(float(a)) * (4 - k) / 4 + Fraction(float(b)) * k / 4
              for a, b in zip(z0, z1, strict=True)] for k in (1, 2)]  # fmt: skip
    assert np.allclose(z, np.array(exact, dtype=float), rtol=0, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("way", WAYS)
@given(seed=seeds, K=sizes, dtype=st.sampled_from(["float32", "float64"]), steps=st.integers(2, 9))
def test_ends_are_exact_the_way_back_is_the_same_and_the_dtype_stays(
    way: object, seed: int, K: int, dtype: str, steps: int
) -> None:
    z0, z1 = two(seed, K, dtype)
    t = walks.times(steps)
    z = way(z0, z1, t)  # type: ignore[operator]
    assert z.shape == (steps, K) and z.dtype == dtype
    assert np.array_equal(z[0], z0) and np.array_equal(z[-1], z1)
    back = way(z1, z0, t)  # type: ignore[operator]
    assert np.allclose(back[::-1], z, rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)


@given(seeds, sizes, st.floats(-12, -3), st.floats(0.5, 3))
def test_an_arc_of_a_small_angle_becomes_the_line(
    seed: int, K: int, exponent: float, longer: float
) -> None:
    z0, other = two(seed, K)
    z1 = longer * (z0 + 10**exponent * other)
    t = walks.times(7)
    difference = walks.spherical(z0, z1, t) - walks.straight(z0, z1, t)
    w = 10**exponent * np.linalg.norm(other) / np.linalg.norm(z0)  # at least the angle
    size = max(np.linalg.norm(z0), np.linalg.norm(z1))
    assert np.abs(difference).max() <= size * (w * w / 4 + 1e-14)


@pytest.mark.parametrize("K", [1, 2, 5])
def test_codes_of_one_direction_have_the_line_for_their_arc(K: int) -> None:
    z0, t = np.full(K, 0.7), walks.times(5)
    for z1 in (z0, 3.0 * z0, 1e-3 * z0):
        line = walks.straight(z0, z1, t)
        assert np.allclose(walks.spherical(z0, z1, t), line, rtol=1e-14)


@given(st.floats(1e-9, math.pi - 1e-9), st.floats(0.1, 10), st.floats(0, 7))
def test_angles_are_exact_where_a_cosine_cannot_tell_them(w: float, norm: float, a: float) -> None:
    z0 = np.array([math.cos(a), math.sin(a)])
    z1 = norm * np.array([math.cos(a + w), math.sin(a + w)])
    assert walks.angle(z0, z1) == pytest.approx(w, abs=1e-15 * 8 + 4e-16 * a)
    assert walks.angle(z0, z1) == walks.angle(z1, z0)


@pytest.mark.parametrize(
    ("z0", "z1", "message"),
    [
        ([1.0, 2.0], [-1.0, -2.0], "opposite codes"),
        ([1.0, 2.0], [-3.0, -6.0], "opposite codes"),
        ([0.5], [-2.0], "opposite codes"),
        ([1.0, 2.0], [-1.0, -2.0 - 1e-8], "opposite codes"),
        ([0.0, 0.0], [1.0, 0.0], "norm 0"),
        ([1.0, 0.0], [0.0, 0.0], "norm 0"),
        ([1.0, math.nan], [0.0, 1.0], "finite"),
        ([1.0, 0.0], [math.inf, 1.0], "finite"),
        ([1.0, 0.0], [1.0], "shape"),
        ([[1.0, 0.0]], [[0.0, 1.0]], "shape"),
    ],
    ids=str,
)
def test_an_arc_that_is_none_is_refused(z0: list, z1: list, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        walks.spherical(np.array(z0), np.array(z1), walks.times(3))
    assert "\n" not in str(caught.value)


def test_nearly_opposite_codes_still_have_an_arc() -> None:
    z0, z1 = np.array([1.0, 0.0]), np.array([-1.0, 1e-5])
    assert np.allclose(walks.spherical(z0, z1, np.array([0.5])), [[0, 1]], atol=1e-5)


def test_opposite_codes_still_have_a_line() -> None:
    z = walks.straight(np.array([1.0, 2.0]), np.array([-1.0, -2.0]), walks.times(3))
    assert np.array_equal(z, [[1, 2], [0, 0], [-1, -2]])


def test_whole_numbers_are_codes_too() -> None:
    z = walks.straight(np.array([0, 2]), np.array([1, 2]), walks.times(3))
    assert np.array_equal(z, [[0, 2], [0.5, 2], [1, 2]])


def test_times_are_even_with_both_ends_and_one_step_is_no_walk() -> None:
    assert walks.times(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert walks.times(2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        walks.times(1)


# ---- one latent alone ----


@given(seeds, st.integers(1, 9), st.integers(1, 5), st.data())
def test_a_traversal_changes_one_latent_and_nothing_else(
    seed: int, K: int, T: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    z, values = rng.standard_normal(K).astype("float32"), rng.standard_normal(T)
    latent, before = data.draw(st.integers(0, K - 1)), z.copy()
    walk = walks.traversal(z, latent, values)
    assert walk.shape == (T, K) and walk.dtype == np.float32
    assert np.array_equal(walk[:, latent], values.astype("float32"))
    others = [k for k in range(K) if k != latent]
    assert np.array_equal(walk[:, others], np.tile(z[others], (T, 1)))
    assert np.array_equal(z, before)


@pytest.mark.parametrize("latent", [-1, 3])
def test_a_latent_that_is_not_there_is_refused(latent: int) -> None:
    with pytest.raises(ValueError, match=f"from 0 to 2, got {latent}"):
        walks.traversal(np.zeros(3), latent, np.zeros(2))


@given(st.integers(2, 40), st.floats(0.1, 5))
def test_quantiles_share_the_prior_evenly_and_even_values_the_line(n: int, limit: float) -> None:
    at = walks.quantiles(n, limit)
    shares = np.diff([NormalDist().cdf(v) for v in at])
    whole = math.erf(limit / math.sqrt(2))
    assert np.allclose(shares, whole / (n - 1), rtol=1e-9)
    even = walks.even(n, limit)
    assert np.allclose(np.diff(even), 2 * limit / (n - 1))
    for values in (at, even):
        assert len(values) == n and values[0] == -limit and values[-1] == limit
        assert np.allclose(values, -values[::-1], rtol=1e-12, atol=1e-15)


def test_quantiles_reach_far_without_losing_their_ends() -> None:
    at = walks.quantiles(9, 8.0)
    assert at[0] == -8 and at[-1] == 8 and (np.diff(at) > 0).all()


@pytest.mark.parametrize("limit", [0.0, -1.0, 8.5, math.nan, math.inf])
@pytest.mark.parametrize("values", [walks.quantiles, walks.even])
def test_a_limit_must_lie_between_0_and_8(values: object, limit: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 8"):
        values(5, limit)  # type: ignore[operator]


# ---- norms ----


@pytest.mark.parametrize("K", [1, 2, 3, 8, 50])
def test_the_norm_of_a_draw_agrees_with_quadrature(K: int) -> None:
    r = np.linspace(0, math.sqrt(K) + 12, 200_001)[1:]
    log = (K - 1) * np.log(r) - r * r / 2
    density = np.exp(log - log.max())
    mean, second = (float((r**m * density).sum() / density.sum()) for m in (1, 2))
    got_mean, got_sd = walks.chi(K)
    assert got_mean == pytest.approx(mean, rel=1e-4 if K == 1 else 1e-8)
    assert got_sd == pytest.approx(math.sqrt(second - mean**2), rel=1e-3 if K == 1 else 1e-7)


def test_the_norm_of_a_draw_in_known_cases() -> None:
    assert walks.chi(1)[0] == pytest.approx(math.sqrt(2 / math.pi))
    assert walks.chi(2)[0] == pytest.approx(math.sqrt(math.pi / 2))
    assert walks.chi(3) == pytest.approx((math.sqrt(8 / math.pi), math.sqrt(3 - 8 / math.pi)))


@pytest.mark.parametrize("K", [20, 998, 1000, 1002, 1010, 4000])
def test_the_series_for_many_latents_meets_the_exact_ratio(K: int) -> None:
    """Gamma(n + 1/2) / Gamma(n) = n (2n)! sqrt(pi) / (4^n n!^2), here with whole numbers."""
    n = K // 2
    square = Fraction(n * math.comb(2 * n, n), 4**n) ** 2  # times 2 pi: the squared mean
    places = 10**60
    pi = Fraction(314159265358979323846264338327950288419716939937510582097494459, 10**62)
    mean_square = Fraction(math.floor(2 * square * pi * places), places)
    mean, sd = walks.chi(K)
    assert mean == pytest.approx(math.sqrt(mean_square), rel=1e-12)
    assert sd == pytest.approx(math.sqrt(K - mean_square), rel=1e-8)


def test_many_latents_are_near_the_root_of_K_and_of_one_half() -> None:
    mean, sd = walks.chi(10**12)
    assert mean == pytest.approx(10**6, rel=1e-12) and sd == pytest.approx(math.sqrt(0.5))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        walks.chi(0)


def test_draws_have_the_norms_that_the_formula_says() -> None:
    z = np.random.default_rng(0).standard_normal((20_000, 6))
    norms = np.linalg.norm(z, axis=1)
    mean, sd = walks.chi(6)
    assert abs(norms.mean() - mean) < 4 * sd / math.sqrt(len(z))
    assert norms.std() == pytest.approx(sd, rel=0.02)


# ---- images and codes ----


def data(n: int, D: int = 6) -> np.ndarray:
    return np.random.default_rng(1).random((n, D), dtype="float32")


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
@pytest.mark.parametrize("n", [1, 7, 12])
def test_codes_in_chunks_are_the_codes_of_the_model(
    kind: type, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks, "ROWS", 5)
    model, x = kind(Architecture(6, 3, (4,)), dtype="float64"), data(n).astype("float64")
    codes = walks.codes(model, x)
    assert np.allclose(codes.mu, model.means(x), rtol=1e-12) and codes.mu.shape == (n, 3)
    if kind is VAE:
        assert codes.logvar is not None
        assert np.allclose(codes.logvar, model.encode(x).logvar, rtol=1e-12)
    else:
        assert codes.logvar is None


def test_rows_are_prepared_chunk_by_chunk_as_if_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = VAE(Architecture(5, 3, (4,))), data(11, 5)
    monkeypatch.setattr(walks, "ROWS", 3)  # odd, so that chunks end in the middle of a word
    rng = np.random.default_rng(4)
    codes = walks.codes(model, x, lambda rows: binarise(rows, "new", rng))
    drawn = binarise(x, "new", np.random.default_rng(4))
    assert np.allclose(codes.mu, model.means(drawn), atol=1e-6)
    assert not np.allclose(codes.mu, model.means(x), atol=1e-3)


def test_codes_keep_float32_and_refuse_other_data() -> None:
    model = VAE(Architecture(6, 3, (4,)))
    codes = walks.codes(model, data(4))
    assert codes.mu.dtype == np.float32 and codes.logvar.dtype == np.float32  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"shape \(N, 6\)"):
        walks.codes(model, data(4, 5))


def test_the_kl_of_each_latent_against_quadrature_of_its_definition() -> None:
    mu, logvar = np.array([[0.3, -1.0], [0.0, 2.0]]), np.array([[-1.0, 0.4], [0.0, -2.0]])
    z = np.linspace(-14, 14, 4_001)
    expected = np.zeros(2)
    for m, v in zip(mu.ravel(), logvar.ravel(), strict=True):
        q, p = NormalDist(m, math.exp(v / 2)), NormalDist()
        density = np.array([q.pdf(a) for a in z])
        ratio = [math.log(q.pdf(a) / p.pdf(a)) if q.pdf(a) > 0 else 0.0 for a in z]
        k = list(mu.ravel()).index(m) % 2
        expected[k] += (density * ratio).sum() * (z[1] - z[0]) / 2
    codes = walks.Codes(mu, logvar)
    assert np.allclose(codes.kl(), expected, rtol=1e-6)
    assert codes.order().tolist() == np.argsort(-expected).tolist() == [1, 0]


def test_latents_are_sorted_by_kl_not_by_variance() -> None:
    rng = np.random.default_rng(0)
    mu, logvar = rng.standard_normal((50, 4)) * [0.1, 2.0, 1.0, 0.0], np.zeros((50, 4))
    logvar[:, 0] = -8.0  # a tiny mean, but a very sharp posterior: log sigma is what it pays for
    codes = walks.Codes(mu.astype("float32"), logvar.astype("float32"))
    assert codes.order().tolist() == [0, 1, 2, 3]
    points = walks.Codes(mu, None)
    assert points.order().tolist() == [1, 2, 0, 3]
    with pytest.raises(ValueError, match="no KL"):
        points.kl()


@given(st.lists(st.integers(1, 4), min_size=0, max_size=2), seeds)
def test_decoding_keeps_the_leading_axes(leading: list[int], seed: int) -> None:
    model = VAE(Architecture(6, 3, (4,)), dtype="float64")
    z = np.random.default_rng(seed).standard_normal((*leading, 3))
    images = walks.decoded(model, z)
    assert images.shape == (*leading, 6)
    one = model.decode(z.reshape(-1, 3)).mean.reshape(images.shape)
    assert np.allclose(images, one, rtol=1e-12)


def test_decoding_in_chunks_is_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = VAE(Architecture(6, 3, (4,)))
    z = np.random.default_rng(0).standard_normal((11, 3), dtype="float32")
    whole = walks.decoded(model, z)
    monkeypatch.setattr(walks, "ROWS", 4)
    parts = walks.decoded(model, z)
    assert np.allclose(parts, whole, rtol=1e-5) and parts.dtype == np.float32


@pytest.mark.parametrize(
    ("p", "variance"),
    [
        (Bernoulli(np.array([-1.0, 0.0, 2.0])), lambda m: m * (1 - m)),
        (Gaussian(np.array([-1.0, 0.0, 2.0]), np.array([0.6])), lambda m: math.exp(0.6) + 0 * m),
        (ContinuousBernoulli(np.array([-1.0, 0.0, 2.0])), None),
    ],
    ids=["bernoulli", "gaussian", "continuous"],
)
def test_drawn_pixels_have_the_moments_of_their_distribution(p: object, variance: object) -> None:
    rows = [np.tile(v, (40_000, 1)) for v in vars(p).values()]
    x = walks.pixels(type(p)(*rows), np.random.default_rng(5))
    mean = p.mean  # type: ignore[attr-defined]
    spread = x.std(axis=0)
    assert (np.abs(x.mean(axis=0) - mean) < 4.5 * spread / 200).all()
    expected = p.variance if variance is None else variance(mean)  # type: ignore
    assert np.allclose(spread**2, expected, rtol=0.04)
    if isinstance(p, Bernoulli):
        assert set(np.unique(x)) == {0.0, 1.0}


def test_drawn_pixels_are_of_the_models_distribution_and_of_the_seed() -> None:
    model = VAE(Architecture(6, 3, (4,)))
    z = np.zeros((4_000, 3), dtype="float32")
    draw, again, other = (walks.decoded(model, z, generator("cpu", s)) for s in (1, 1, 2))
    assert np.array_equal(draw, again) and not np.array_equal(draw, other)
    assert set(np.unique(draw)) == {0.0, 1.0}
    assert np.allclose(draw.mean(axis=0), walks.decoded(model, z[:1])[0], atol=0.04)


def test_draws_that_are_alike_have_the_mean_and_the_covariance() -> None:
    rng = np.random.default_rng(3)
    mix = np.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    z = (rng.standard_normal((500, 3)) @ mix.T + [1.0, -2.0, 3.0]).astype("float32")
    # noise whose own mean is 0 and whose own covariance is 1, so that no chance is left
    eps = rng.standard_normal((400, 3))
    eps -= eps.mean(axis=0)
    eps = eps @ np.linalg.inv(np.linalg.cholesky(eps.T @ eps / 400)).T
    draws = walks.alike(z, eps)
    assert np.allclose(draws.mean(axis=0), z.mean(axis=0), atol=1e-6)
    assert np.allclose(np.cov(draws.T, bias=True), np.cov(z.T, bias=True), atol=1e-5)
    assert np.allclose(draws[:, 2], 3.0)  # a latent that never changes, and a singular covariance
    assert walks.alike(z, eps.astype("float32")).dtype == np.float32
    assert walks.alike(z, np.zeros((1, 3)))[0] == pytest.approx(z.mean(axis=0))


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_a_model_on_another_device_gives_codes_and_images_on_the_host(likelihood: str) -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")

    def on_device1(a: np.ndarray) -> object:
        return strict.asarray(a, device=strict.Device("device1"))

    architecture = Architecture(6, 3, (4,), likelihood=likelihood)
    there, here = VAE(architecture, device=on_device1), VAE(architecture)
    codes, want = walks.codes(there, data(7)), walks.codes(here, data(7))
    for got, expected in ((codes.mu, want.mu), (codes.logvar, want.logvar)):
        assert isinstance(got, np.ndarray) and np.allclose(got, expected, atol=1e-5)
    for seeds_of_pixels in ((None, None), (generator("cpu", 1), generator("cpu", 1))):
        images, expected = (
            walks.decoded(model, codes.mu, rng)
            for model, rng in zip((there, here), seeds_of_pixels, strict=True)
        )
        assert isinstance(images, np.ndarray) and np.allclose(images, expected, atol=1e-4)
