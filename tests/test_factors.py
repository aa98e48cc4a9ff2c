"""What latents say about known factors, against integrals of the standard library and by laws."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, Architecture, Autoencoder, plots, runs
from minivae.arrays import generator
from minivae.cli import _common, factors, main
from minivae.datasets import Dataset, Split, binarise, draw_sprites
from minivae.datasets.glyphs import LEVELS as GLYPHS
from minivae.datasets.sprites import LEVELS as SPRITES
from minivae.datasets.worlds import factor_table
from minivae.evaluation import FactorInformation, factor_information, rotation_curve
from minivae.evaluation.factors import NODES


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def standardised(v: np.ndarray) -> np.ndarray:
    return (v - v.mean(axis=0)) / v.std(axis=0)


def noisy(sigma: float, like: np.ndarray) -> np.ndarray:
    return np.full(like.shape, 2.0 * math.log(sigma))


def by_integral(mu: np.ndarray, sigma: np.ndarray, v: np.ndarray) -> float:
    """I(z; v) by plain sums over densities of the standard library, on other nodes."""
    dists = [NormalDist(m, s) for m, s in zip(mu.tolist(), sigma.tolist(), strict=True)]
    low, high = (mu - 9 * sigma).min(), (mu + 9 * sigma).max()
    step, total = (high - low) / 700, 0.0
    for g in range(701):
        p = np.array([d.pdf(low + g * step) for d in dists])
        for value in np.unique(v):
            inside = p[v == value].mean()
            if inside > 1e-290:
                total += step * (v == value).mean() * inside * math.log(inside / p.mean())
    return total


def test_information_is_that_of_an_independent_integral() -> None:
    for seed in range(2):
        r = rng(seed)
        mu, logvar = r.normal(size=(12, 2)), r.normal(-1.0, 0.4, (12, 2))
        v = np.stack([np.arange(12) % 3, r.permutation(12) // 6], axis=1).astype(float)
        found = factor_information(mu, v, r, logvar, groups=2)
        assert found.estimator == "mixture" and found.integration_error < 1e-4
        for k in range(2):
            for f in range(2):
                want = by_integral(mu[:, k], np.exp(logvar[:, k] / 2), v[:, f])
                assert abs(found.information[k, f] - want) < 1e-7
        assert np.allclose(found.entropy, [math.log(3), math.log(2)], rtol=1e-12)


def test_the_stated_integration_error_covers_the_error() -> None:
    r = rng(1)
    mu, v = r.normal(size=(30, 1)), (np.arange(30) % 2)[:, None].astype(float)
    found = factor_information(mu, v, r, noisy(0.4, mu), groups=2)
    want = by_integral(mu[:, 0], np.full(30, 0.4), v[:, 0])
    assert abs(found.information[0, 0] - want) <= found.integration_error + 1e-9


@pytest.mark.parametrize("estimator", ["mixture", "binned"])
@pytest.mark.parametrize("levels", [SPRITES, GLYPHS], ids=["sprites", "glyphs"])
def test_an_ideal_code_of_the_full_grid_has_a_gap_of_one(levels: dict, estimator: str) -> None:
    v = factor_table(levels)
    z = standardised(v)[:, ::-1] * np.linspace(-3.0, 2.0, v.shape[1])  # any order, sign and scale
    logvar = None
    if estimator == "mixture":
        steps = [np.diff(np.unique(column)).min() for column in z.T]
        logvar = np.tile(2 * np.log(0.05 * np.array(steps)), (len(z), 1))
    found = factor_information(z, v, rng(), logvar, groups=2)
    assert found.estimator == estimator
    assert found.gap.mean > 0.99 and (found.gaps > 0.99).all() and (found.gaps <= 1 + 1e-9).all()
    assert np.allclose(found.information[::-1].diagonal(), found.entropy, rtol=1e-6)
    sizes = [len(values) for values in levels.values()]
    assert np.allclose(found.entropy, np.log(sizes), rtol=1e-12)


@pytest.mark.parametrize("logvar", [None, 0.0, -9.0])
def test_a_constant_code_says_nothing(logvar: float | None) -> None:
    v = factor_table(SPRITES)
    z = np.full((len(v), 3), 0.7)
    found = factor_information(z, v, rng(), None if logvar is None else z * 0 + logvar, groups=2)
    assert np.abs(found.information).max() < 1e-9 and abs(found.gap.mean) < 0.05


@pytest.mark.parametrize("sigma", [0.02, 0.2, None])
def test_two_equal_factors_turned_by_45_degrees_have_no_gap(sigma: float | None) -> None:
    v = standardised(factor_table({"x": range(9), "y": range(9)}))
    s = math.sqrt(0.5)
    z = v @ np.array([[s, -s], [s, s]])
    found = factor_information(z, v, rng(), None if sigma is None else noisy(sigma, z), groups=2)
    assert abs(found.gap.mean) < 0.05
    assert (found.information > 0.3).all()  # nats: yet both are known


def test_the_curve_over_the_angle() -> None:
    angles = np.radians([0, 10, 30, 45, 60, 80, 90])
    curve = rotation_curve(angles, 0.1)
    assert np.allclose(curve, curve[::-1], atol=1e-9) and abs(curve[3]) < 1e-9
    assert (np.diff(curve[:4]) < 0).all()
    assert rotation_curve(angles[:1], 0.05)[0] > 0.99
    # Hardly any noise, and each latent alone tells both factors.
    assert rotation_curve(angles[2:3], 0.005)[0] < 0.01
    v = standardised(np.array([[a, b] for a in range(3) for b in range(3)], float))
    turn = np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    want = factor_information(v @ turn, v, rng(), noisy(0.2, v), groups=2).gap.mean
    assert rotation_curve(np.array([0.3]), 0.2, levels=3)[0] == pytest.approx(want, rel=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 4), st.booleans())
def test_information_lies_between_nothing_and_the_entropy(
    seed: int, K: int, values: int, points: bool
) -> None:
    r = rng(seed)
    N = int(r.integers(20, 60))
    mu, v = r.normal(size=(N, K)) * 10.0 ** r.integers(-3, 4), r.integers(values, size=(N, 2))
    v[:values] = np.arange(values)[:, None]
    logvar = None if points else 2 * np.log(np.abs(mu).max() * 10.0 ** r.uniform(-3, 1, (N, K)))
    found = factor_information(mu, v.astype(float), r, logvar, bins=8, groups=3)
    assert (found.information > -1e-9).all()
    assert (found.information < found.entropy + 1e-6).all()
    ranked = np.sort(found.information, axis=0)[::-1]
    second = ranked[1] if K > 1 else 0.0
    assert np.allclose(found.gaps, (ranked[0] - second) / found.entropy, atol=1e-12)
    assert found.gap.mean == pytest.approx(found.gaps.mean())


def test_noise_takes_information_away_and_none_of_it_back() -> None:
    r = rng(3)
    v = (np.arange(40) % 4)[:, None].astype(float)
    mu = v + 0.3 * r.normal(size=(40, 1))
    values = [
        factor_information(mu, v, r, noisy(s, mu), groups=2).information[0, 0]
        for s in (0.05, 0.2, 0.8, 3.0, 30.0)
    ]
    assert (np.diff(values) < 0).all() and values[-1] < 0.01


def test_a_posterior_too_narrow_for_the_nodes_gives_a_bound_and_no_nonsense() -> None:
    v = (np.arange(100) % 5)[:, None].astype(float)
    narrow = factor_information(v, v, rng(), noisy(1e-9, v), groups=2)
    assert narrow.information[0, 0] == pytest.approx(math.log(5), abs=1e-6)
    close = v * 2.0 / NODES  # values closer than the nodes, beside one that is far away
    close[0] = 1.0
    bound = factor_information(close, v, rng(), noisy(1e-9, v), groups=2)
    # Without noise it would be log 5; what is widened can be told apart only in part.
    assert 0.1 < bound.information[0, 0] < 1.55 and bound.integration_error < 0.01


def test_a_monotone_change_leaves_the_binned_information_alone() -> None:
    r = rng(4)
    z, v = r.normal(size=(300, 2)), r.integers(3, size=(300, 1)).astype(float)
    z[:, 0] += v[:, 0]
    a = factor_information(z, v, rng(1), bins=9)
    b = factor_information(np.exp(z), v, rng(1), bins=9)
    assert np.array_equal(a.information, b.information) and np.array_equal(a.error, b.error)


def test_the_binned_information_is_that_of_the_table() -> None:
    z = np.array([0, 0, 1, 1, 2, 2, 3, 3], float)[:, None]
    v = np.array([0, 0, 0, 1, 1, 1, 1, 1], float)[:, None]
    # 4 cells; p(v|cell) = (1, 1/2, 0, 0): I = H(3/8) - 1/4 log 2
    want = -(3 / 8 * math.log(3 / 8) + 5 / 8 * math.log(5 / 8)) - math.log(2) / 4
    found = factor_information(z, v, rng(), bins=50, groups=2)
    assert found.information[0, 0] == pytest.approx(want, rel=1e-12)
    # 2 cells of 4: p(v|cell) = (3/4, 0)
    two = factor_information(z, v, rng(), bins=2, groups=2).information[0, 0]
    spread = -(3 / 4 * math.log(3 / 4) + math.log(1 / 4) / 4) / 2
    assert two == pytest.approx(want + math.log(2) / 4 - spread, rel=1e-12)


def test_a_code_that_knows_nothing_has_the_bias_that_the_docstring_states() -> None:
    r, N, cells, values = rng(5), 2000, 10, 4
    v = (np.arange(N) % values)[:, None].astype(float)
    found = factor_information(r.normal(size=(N, 40)), v, r, bins=cells)
    # 2 N I is nearly chi-squared with (values - 1)(cells - 1) degrees of freedom.
    freedom = (values - 1) * (cells - 1)
    statistic = 2 * N * found.information[:, 0]
    assert abs(statistic.mean() - freedom) < 4 * math.sqrt(2 * freedom / 40)
    assert 0.5 < statistic.var() / (2 * freedom) < 2.0


@pytest.mark.parametrize("points", [False, True])
def test_the_standard_errors_are_the_spread_over_samples(points: bool) -> None:
    found: list[FactorInformation] = []
    for seed in range(60):
        r = rng(seed)
        v = r.integers(3, size=(300, 2)).astype(float)
        z = np.stack([v[:, 0], v[:, 0] + 2 * v[:, 1], v[:, 1]], axis=1)
        z += 0.4 * r.normal(size=z.shape)
        found.append(factor_information(z, v, r, None if points else noisy(0.5, z), bins=8))
    for pick in (
        lambda f: (f.information, f.error),
        lambda f: (f.gaps, f.gap_errors),
        lambda f: (np.array(f.gap.mean), np.array(f.gap.standard_error)),
    ):
        values, errors = (np.stack(part) for part in zip(*map(pick, found), strict=True))
        if values.ndim == 3:  # where there is no information, the errors are a little large
            known = values.mean(axis=0) > 0.1
            assert np.array_equal(known, [[True, False], [True, True], [False, True]])
            values, errors = values[:, known], errors[:, known]
        ratio = np.sqrt((errors**2).mean(axis=0)) / values.std(axis=0, ddof=1)
        assert (ratio > 0.7).all() and (ratio < 1.5).all(), ratio


def test_the_order_of_factors_and_of_latents_plays_no_part() -> None:
    r = rng(6)
    v = np.stack([np.arange(200) % 4, r.integers(2, size=200)], axis=1).astype(float)
    z = np.stack([v[:, 0], v[:, 0] + v[:, 1], v[:, 1]], axis=1) + r.normal(size=(200, 3))
    a = factor_information(z, v, rng(1), noisy(0.4, z))
    b = factor_information(z[:, ::-1], v[:, ::-1], rng(1), noisy(0.4, z))
    assert np.allclose(a.information, b.information[::-1, ::-1], rtol=1e-9)
    assert np.allclose(a.gap_errors, b.gap_errors[::-1], rtol=1e-6)
    assert a.gap.mean == pytest.approx(b.gap.mean, rel=1e-9)
    assert a.gap.standard_error == pytest.approx(b.gap.standard_error, rel=1e-6)


@pytest.mark.parametrize(
    ("mu", "v", "options", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 1)), {}, "factor 1 is 0 throughout"),
        (np.zeros((4, 2)), np.zeros((3, 1)), {}, "expected codes"),
        (np.zeros((0, 2)), np.zeros((0, 1)), {}, "expected codes"),
        (np.zeros((4, 2)), np.eye(4), {"logvar": np.zeros((4, 1))}, "logvar of the shape"),
        (np.full((4, 2), np.nan), np.eye(4), {}, "finite codes"),
        (np.zeros((4, 2)), np.eye(4), {"logvar": np.full((4, 2), np.inf)}, "finite codes"),
        (np.zeros((4, 2)), np.eye(4), {"groups": 5}, "2 to 4 groups"),
        (np.zeros((4, 2)), np.eye(4), {"bins": 1, "groups": 2}, "at least 2 bins"),
    ],
)
def test_what_makes_no_sense_is_refused(
    mu: np.ndarray, v: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        factor_information(mu, v, rng(), **{"groups": 2, **options})


# ---- pictures and the command ----


def test_the_pictures_show_the_numbers() -> None:
    information, entropy = np.array([[1.0, 0.2], [0.1, 0.4]]), np.array([2.0, 0.5])
    plane = plots.factor_shares(information, entropy, ["a", "b"], "title").axes[0]
    assert [text.get_text() for text in plane.texts] == ["0.50", "0.40", "0.05", "0.80"]
    assert np.allclose(plane.images[0].get_array(), information / entropy)
    angles = np.radians([0, 45, 90])
    curve = plots.rotation(angles, {0.1: np.array([1, 0, 1]), 0.3: np.zeros(3)}).axes[0]
    assert np.allclose(curve.lines[0].get_xdata(), [0, 45, 90])
    assert np.allclose(curve.lines[0].get_ydata(), [1, 0, 1])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Sprites with few factors, as grid and as data."""
    levels = {**SPRITES, "rotation": (0.0, 0.5), "x": (-4, 0, 4), "y": (-4, 4)}
    v = factor_table(levels)
    images = draw_sprites(v)
    x = images.reshape(len(v), -1).astype(np.float32) / 255
    split = Split(x, v[:, 0].astype("int64"), v)
    data = Dataset("sprites", (28, 28), split, split, split, "", tuple(SPRITES))
    monkeypatch.setattr(_common, "load_data", lambda model, config, run: data)
    monkeypatch.setitem(factors.GRIDS, "sprites", lambda: (images, v))
    return x, v


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_the_command_prints_the_information_of_the_grid(
    kind: Any, few: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run/pictures").mkdir(parents=True)
    model = kind(Architecture(784, 3, (8,)))
    data = {"name": "sprites", "validation": 1000, "binarisation": "new"}
    runs.save(Path("run"), model, {"model": "ae" if kind is Autoencoder else "vae", "data": data})
    seen: list[Any] = []
    monkeypatch.setattr(_common, "write_picture", lambda path, figure: seen.append((path, figure)))
    assert main(["factors", "run", "--seed", "4"]) == 0
    out = capsys.readouterr().out
    x = binarise(few[0], "fixed", np.random.default_rng(777))
    logvar = None
    if isinstance(model, VAE):
        logvar = model.encode(x).logvar
    want = factor_information(model.means(x), few[1], generator("cpu", 4, 0, 52), logvar)
    gap = f"mutual information gap {want.gap.mean:.3f} +- {want.gap.standard_error:.3f}"
    assert gap in out and ("quadrature" in out) == (kind is VAE)
    for f, name in enumerate(SPRITES):
        (line,) = [row for row in out.splitlines() if row.startswith(f"  {name} ")]
        order = np.argsort(-want.information[:, f])[:2]
        for k in order:
            assert f"latent {k + 1}: {want.information[k, f]:.3f}" in line
        assert line.endswith(f"{want.gaps[f]:.3f} +- {want.gap_errors[f]:.3f}")
        assert f"{want.entropy[f]:.3f}" in line
    path, figure = seen[0]
    assert path == Path("run/pictures/factors.png")
    shares = figure.axes[0].images[0].get_array()
    assert np.allclose(shares, want.information / want.entropy, atol=1e-6)


def test_the_command_refuses_a_world_without_factors(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "run"
    (folder / "pictures").mkdir(parents=True)
    data = {"name": "digits", "validation": 250, "binarisation": "new"}
    runs.save(folder, VAE(Architecture(64, 2, (4,))), {"model": "vae", "data": data})
    assert main(["factors", str(folder)]) == 2
    error = capsys.readouterr().err
    assert "only those of sprites and glyphs are" in error and error.count("\n") == 1
