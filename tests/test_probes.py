"""Probes, neighbours, clusters and compression: plain loops, scikit-learn where it is, and laws."""

from __future__ import annotations

import math
import zlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, Architecture, Autoencoder, plots, runs, walks
from minivae.arrays import generator
from minivae.cli import _common, main
from minivae.datasets import Dataset, Split, binarise
from minivae.evaluation import (
    PCA,
    Accuracy,
    adjusted_rand,
    compression_curve,
    k_means,
    linear_probe,
    nearest_neighbours,
    purity,
)
from minivae.evaluation.clustering import seeds
from minivae.evaluation.compression import entropy_code, pack, quantise, spread, unpack
from minivae.evaluation.probes import minimise, squared_distances

Rng = np.random.Generator


def rng(seed: int = 0) -> Rng:
    return np.random.default_rng(seed)


def blobs(r: Rng, N: int = 120, K: int = 3, C: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Codes around C centres, and their classes."""
    y = r.permutation(np.arange(N) % C)
    return 2.0 * r.normal(size=(C, K))[y] + r.normal(size=(N, K)), y


def test_accuracy_has_the_error_of_a_binomial_share() -> None:
    a = Accuracy(30, 40)
    assert a.mean == 0.75 and a.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 40))
    assert str(a) == "75.0 +- 6.8 %"
    shares = rng().binomial(40, 0.75, 4000) / 40
    assert abs(shares.std() / a.standard_error - 1) < 0.05


def test_one_example_has_no_error() -> None:
    assert str(Accuracy(1, 1)) == "100.0 %" and str(Accuracy(1, 2)) == "50.0 +- 35.4 %"


# ---- the linear probe ----


def loss_by_loops(
    z: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray, decay: float
) -> float:
    total = 0.0
    for row, label in zip(z, y, strict=True):
        logits = [float(row @ W[:, c]) + b[c] for c in range(len(b))]
        total += math.log(sum(math.exp(a) for a in logits)) - logits[label]
    return total / len(y) + decay / 2 * float((W**2).sum())


@pytest.mark.parametrize("decay", [1e-3, 0.3])
def test_the_probe_is_scikit_learns_logistic_regression(decay: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
    z, y = blobs(rng(1), 400)
    train, test = slice(250), slice(250, None)
    found = linear_probe(5 * z[train] + 7, y[train], 5 * z[test] + 7, y[test], decay)
    mean, sd = z[train].mean(axis=0), z[train].std(axis=0)
    other = linear_model.LogisticRegression(C=1 / (250 * decay), tol=1e-10, max_iter=5000)
    other.fit((z[train] - mean) / sd, y[train])
    log_p = other.predict_log_proba((z[test] - mean) / sd)
    assert found.accuracy.correct == (log_p.argmax(axis=1) == y[test]).sum()
    nll = -log_p[np.arange(150), y[test]]
    assert found.cross_entropy.mean == pytest.approx(nll.mean(), abs=1e-5)
    error = nll.std(ddof=1) / math.sqrt(150)
    assert found.cross_entropy.standard_error == pytest.approx(error, abs=1e-5)


def test_the_probe_stands_where_its_loss_is_flat() -> None:
    """One latent, two classes: the optimum by bisection of the loss's slope, from plain loops."""
    r = rng(2)
    y = np.arange(30) % 2
    z = (y + r.normal(size=30))[:, None]
    unit = (z - z.mean()) / z.std()
    # By symmetry W = (-w, w) and b = (-c, c): minimise over w and c by a fine search.
    best = min(
        (loss_by_loops(unit, y, np.array([[-w, w]]), np.array([-c, c]), 0.1), w, c)
        for w in np.linspace(0, 2, 41)
        for c in np.linspace(-0.3, 0.3, 13)
    )
    _, w, c = best
    nll = [
        math.log(1 + math.exp(2 * (w * u + c) * (1 - 2 * label)))
        for u, label in zip(unit[:, 0], y, strict=True)
    ]
    found = linear_probe(z, y, z, y, decay=0.1)
    assert found.cross_entropy.mean == pytest.approx(sum(nll) / 30, abs=0.004)


def test_the_probe_does_not_depend_on_units_nor_on_latents_without_variance() -> None:
    z, y = blobs(rng(3))
    a = linear_probe(z, y, z, y)
    scaled = np.hstack([z * [1e-3, 7.0, 1e4] + [5.0, 0.0, -3e4], np.full((len(z), 1), 2.0)])
    b = linear_probe(scaled, y, scaled, y)
    assert a.accuracy == b.accuracy
    assert a.cross_entropy.mean == pytest.approx(b.cross_entropy.mean, abs=1e-6)


def test_a_class_that_training_has_not_seen_is_wrong() -> None:
    z, y = blobs(rng(4), C=2)
    found = linear_probe(z, y, z, np.where(np.arange(120) < 30, 5, y))
    assert found.accuracy.n == 120 and found.accuracy.correct <= 90
    assert math.isnan(found.cross_entropy.mean)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_minimise_finds_the_minimum_of_a_quadratic(seed: int, P: int) -> None:
    r = rng(seed)
    A = r.normal(size=(P, P))
    A = A @ A.T + 0.1 * np.eye(P)
    want = r.normal(size=P)
    theta, steps = minimise(
        lambda t: (float((t - want) @ A @ (t - want)) / 2, A @ (t - want)), np.zeros(P), 2000
    )
    assert np.abs(A @ (theta - want)).max() <= 1e-6 and steps < 60 + 20 * P


def test_minimise_stops_after_its_steps_and_at_the_start_if_that_is_flat() -> None:
    def bowl(t: np.ndarray) -> tuple[float, np.ndarray]:
        return float((t**4).sum()), 4 * t**3

    start = np.array([3.0, -2.0])
    theta, steps = minimise(bowl, start, 4)
    assert steps == 4 and 0 < (theta**4).sum() < (start**4).sum()
    same, none = minimise(bowl, np.zeros(2))
    assert none == 0 and np.array_equal(same, np.zeros(2))


# ---- nearest neighbours ----


def neighbours_by_loops(z: Any, y: Any, test_z: Any, test_y: Any, k: int) -> int:
    right = 0
    for row, label in zip(test_z, test_y, strict=True):
        order = sorted(range(len(z)), key=lambda n: math.dist(z[n], row))[:k]
        votes = [int(y[n]) for n in order]
        most = max(votes.count(c) for c in votes)
        right += next(c for c in votes if votes.count(c) == most) == label
    return right


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4), st.integers(2, 5))
def test_neighbours_vote_as_in_plain_loops(seed: int, k: int, K: int, C: int) -> None:
    r = rng(seed)
    z, y = r.normal(size=(30, K)) + 100, r.integers(C, size=30)
    test_z, test_y = r.normal(size=(9, K)) + 100, r.integers(C, size=9)
    want = neighbours_by_loops(z, y, test_z, test_y, k)
    assert nearest_neighbours(z, y, test_z, test_y, k) == Accuracy(want, 9)


def test_many_neighbours_are_looked_for_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = blobs(rng(5))
    want = nearest_neighbours(z, y, z + 0.1, y, 3)
    monkeypatch.setattr("minivae.evaluation.probes.BLOCK", 50)
    assert nearest_neighbours(z, y, z + 0.1, y, 3) == want
    assert nearest_neighbours(z, y, z, y, 1).mean == 1.0


def test_distances_far_from_the_origin_do_not_cancel() -> None:
    r = rng(6)
    a, b = r.normal(size=(5, 3)), r.normal(size=(7, 3))
    want = ((a[:, None] - b) ** 2).sum(axis=2)
    assert np.allclose(squared_distances(a, b), want, rtol=1e-12)
    assert np.allclose(squared_distances(a + 1e6, b + 1e6), want, rtol=1e-6)
    assert (squared_distances(a, a) >= 0).all()


@pytest.mark.parametrize("function", [linear_probe, nearest_neighbours])
def test_codes_and_labels_that_do_not_fit_are_refused(function: Any) -> None:
    z, y = blobs(rng(7))
    for bad in [
        (z, y[:-1], z, y), (z[:, 0], y, z, y), (z, y, z[:, :2], y), (z[:0], y[:0], z, y),
        (z, y - 1, z, y), (z, y.astype(float), z, y),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            function(*bad)
    for k in (0, 121):
        with pytest.raises(ValueError, match="1 to 120 neighbours"):
            nearest_neighbours(z, y, z, y, k)
    for decay in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="positive decay"):
            linear_probe(z, y, z, y, decay)


# ---- clusters ----


def test_k_means_is_at_a_place_where_neither_step_helps() -> None:
    z, _ = blobs(rng(8), 200)
    found = k_means(z, 6, rng())
    d = ((z[:, None] - found.centres) ** 2).sum(axis=2)
    assert np.array_equal(found.labels, d.argmin(axis=1))
    for c in range(6):
        assert np.allclose(found.centres[c], z[found.labels == c].mean(axis=0))
    assert found.inertia == pytest.approx(d.min(axis=1).sum())
    assert np.array_equal(found.nearest(z), found.labels)
    assert found.inertia <= min(k_means(z, 6, rng(s), starts=1).inertia for s in range(3)) + 1e-9


def test_k_means_is_as_good_as_scikit_learns() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="no scikit-learn")
    z, _ = blobs(rng(9), 200, C=7)
    other = cluster.KMeans(7, n_init=10, random_state=0, tol=0).fit(z).inertia_
    assert k_means(z, 7, rng()).inertia == pytest.approx(other, rel=0.01)


@pytest.mark.parametrize(("N", "C"), [(1, 1), (5, 5), (5, 1), (6, 4)])
def test_k_means_of_few_or_equal_codes(N: int, C: int) -> None:
    z = rng().normal(size=(N, 2))
    found = k_means(z, C, rng())
    if N == C:
        assert found.inertia < 1e-20 and len(set(found.labels)) == N
    if C == 1:
        assert found.inertia == pytest.approx(N * z.var(axis=0).sum())
    same = k_means(np.repeat(z[:1], N, axis=0), C, rng())
    assert same.inertia < 1e-20 and np.allclose(same.centres, z[0])


def test_a_cluster_without_codes_is_given_the_farthest(monkeypatch: pytest.MonkeyPatch) -> None:
    z = np.array([[0.0], [0.1], [0.2], [9.0], [9.1], [30.0]])
    far = np.array([[0.1], [100.0], [200.0]])
    monkeypatch.setattr("minivae.evaluation.clustering.seeds", lambda *args: far)
    found = k_means(z, 3, rng(), starts=1)
    assert sorted(found.centres[:, 0]) == pytest.approx([0.1, 9.05, 30.0])


def test_seeds_are_drawn_by_the_squared_distance() -> None:
    z, r = np.array([[0.0], [1.0], [3.0]]), rng()
    pairs = np.array([seeds(z, 2, r)[:, 0] for _ in range(3000)])
    for first, want in ((0.0, [0, 0.1, 0.9]), (1.0, [0.2, 0, 0.8]), (3.0, [9 / 13, 4 / 13, 0])):
        mine = pairs[pairs[:, 0] == first, 1]
        assert abs(len(mine) / 3000 - 1 / 3) < 0.04
        for value, p in zip(z[:, 0], want, strict=True):
            assert abs((mine == value).mean() - p) <= 4 * math.sqrt(p * (1 - p) / len(mine))


def test_purity_names_clusters_on_training_and_counts_on_test() -> None:
    train_clusters, train_y = np.array([0, 0, 0, 1, 1, 0]), np.array([2, 2, 1, 0, 0, 2])
    clusters, y = np.array([0, 0, 1, 1, 3]), np.array([2, 1, 0, 2, 2])
    # 0 is called 2, 1 is called 0; 3 was not seen: the commonest label of all, 2
    assert purity(train_clusters, train_y, clusters, y) == Accuracy(3, 5)
    assert purity(train_clusters, train_y, np.arange(5) * 0 + 7, y) == Accuracy(3, 5)


def rand_by_pairs(a: Any, b: Any) -> float:
    pairs = list(combinations(range(len(a)), 2))
    both = sum(a[i] == a[j] and b[i] == b[j] for i, j in pairs)
    P, Q = sum(a[i] == a[j] for i, j in pairs), sum(b[i] == b[j] for i, j in pairs)
    expected = P * Q / len(pairs)
    return (both - expected) / ((P + Q) / 2 - expected)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(5, 14), st.integers(2, 4), st.integers(2, 4))
def test_the_adjusted_rand_index_counts_pairs(seed: int, N: int, A: int, B: int) -> None:
    r = rng(seed)
    a, b = r.integers(A, size=N), r.integers(B, size=N)
    a[:4], b[:4] = [0, 0, 1, 1], [0, 0, 1, 1]
    found = adjusted_rand(a, b)
    assert found.mean == pytest.approx(rand_by_pairs(a, b), abs=1e-12)
    without = np.array([rand_by_pairs(np.delete(a, n), np.delete(b, n)) for n in range(N)])
    error = math.sqrt((N - 1) / N * ((without - without.mean()) ** 2).sum())
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    assert adjusted_rand(b, 10 - a).mean == pytest.approx(found.mean, abs=1e-12)
    assert adjusted_rand(a, a).mean == 1.0


def test_the_error_of_the_rand_index_is_the_spread_over_samples() -> None:
    found = []
    for seed in range(150):
        r = rng(seed)
        y = r.integers(4, size=200)
        found.append(adjusted_rand(np.where(r.random(200) < 0.7, y, r.integers(4, size=200)), y))
    spread_ = np.std([f.mean for f in found], ddof=1)
    assert 0.8 < np.mean([f.standard_error for f in found]) / spread_ < 1.25


def test_partitions_of_one_cluster_are_equal_and_what_does_not_fit_is_refused() -> None:
    assert adjusted_rand(np.zeros(5, int), np.ones(5, int)).mean == 1.0
    assert abs(adjusted_rand(np.zeros(6, int), np.arange(6) % 2).mean) < 1e-12
    for a, b in ((np.zeros(2, int),) * 2, (np.zeros(4, int), np.zeros(5, int))):
        with pytest.raises(ValueError, match="two partitions"):
            adjusted_rand(a, b)
    for z, C, starts in ((np.zeros((3, 1)), 4, 1), (np.zeros(3), 1, 1), (np.zeros((3, 1)), 1, 0)):
        with pytest.raises(ValueError, match="1 to N clusters"):
            k_means(z, C, rng(), starts)


# ---- principal components and compression ----


def test_pca_is_the_best_linear_code() -> None:
    r = rng(10)
    x = r.normal(size=(50, 6)) @ r.normal(size=(6, 6)) + 3
    pca = PCA.fit(x, 2)
    z = pca.encode(x)
    assert np.allclose(z.mean(axis=0), 0, atol=1e-12)
    left = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[:4].sum()
    assert ((x - pca.decode(z)) ** 2).sum(axis=1).mean() == pytest.approx(left)
    assert np.allclose(PCA.fit(x, 6).decode(PCA.fit(x, 6).encode(x)), x)
    for latent in (0, 7):
        with pytest.raises(ValueError, match="1 to 6 components"):
            PCA.fit(x, latent)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 5), st.integers(0, 9))
def test_what_is_packed_comes_back(seed: int, N: int, K: int, digits: int) -> None:
    r = rng(seed)
    index = r.integers(-(10**digits), 10**digits + 1, size=(N, K))
    index += r.integers(-(10**9), 10**9, size=K)
    back = unpack(pack(index))
    assert back.dtype == np.int64 and np.array_equal(back, index)


@pytest.mark.parametrize("width", [2**8, 2**16, 2**32])
def test_the_widths_end_where_they_should(width: int) -> None:
    index = np.array([[0], [width - 1]]) - 5
    assert np.array_equal(unpack(pack(index)), index)
    if width < 2**32:
        assert np.array_equal(unpack(pack(index + [[0], [1]])), index + [[0], [1]])
    else:
        with pytest.raises(ValueError, match=r"2\^32 values"):
            pack(index + [[0], [1]])


def test_the_packed_size_is_near_the_entropy_and_never_far_below() -> None:
    r = rng(11)
    index = np.rint(r.normal(size=(20_000, 3)) * [0.3, 2.0, 8.0]).astype(np.int64)
    ideal, size = entropy_code(index), len(pack(index)) / 20_000
    assert 0.99 * ideal.mean < size < 1.15 * ideal.mean
    p = [np.unique(c, return_counts=True)[1] / 20_000 for c in index.T]
    want = sum(-(q * np.log2(q)).sum() for q in p) / 8
    assert ideal.mean == pytest.approx(want, rel=1e-12)
    assert len(pack(index)) < len(zlib.compress(index.astype("<i8").tobytes()))
    again = [entropy_code(index[n::50]).mean for n in range(50)]
    error = entropy_code(index[::50]).standard_error
    assert 0.6 < error / np.std(again, ddof=1) < 1.5
    assert len(pack(np.zeros((20_000, 3), int))) < 100
    assert entropy_code(np.zeros((5, 3), int)).mean == 0.0
    same = np.repeat(index[:, 2:], 3, axis=1)  # what latents share costs once
    assert len(pack(same)) < 0.6 * 20_000 * entropy_code(same).mean


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_the_quantiser_is_at_most_half_a_step_away(seed: int, step: float) -> None:
    z = 10 * rng(seed).normal(size=(20, 3))
    index = quantise(z, step)
    assert np.abs(step * index - z).max() <= 0.5 * step * (1 + 1e-9)


def test_the_curve_runs_from_nothing_to_all_that_the_code_can() -> None:
    r = rng(12)
    x = r.normal(size=(400, 8)) * np.array([4, 3, 1, 1, 0.5, 0.5, 0.5, 0.5]) + 2
    pca = PCA.fit(x, 2)
    z = pca.encode(x)
    steps = [1e4, 4.0, 1.0, 0.1, 1e-4]
    curve = compression_curve(z, x, pca.decode, steps)
    assert [p.step for p in curve] == steps
    errors, sizes = [p.error.mean for p in curve], [p.bytes for p in curve]
    assert (np.diff(errors) < 0).all() and (np.diff(sizes) > 0).all()
    assert errors[0] == pytest.approx(x.var(axis=0).mean())
    assert errors[-1] == pytest.approx(((x - pca.decode(z)) ** 2).mean(), rel=1e-6)
    # A fine uniform quantiser adds step^2 / 12 in every one of K orthonormal directions of D.
    assert errors[2] - errors[-1] == pytest.approx(1 / 12 * 2 / 8, rel=0.1)
    index = quantise(z, 1.0)
    assert sizes[2] == len(pack(index)) / 400 and curve[2].entropy == entropy_code(index)
    per_image = ((pca.decode(1.0 * index) - x) ** 2).mean(axis=1)
    assert curve[2].error.standard_error == pytest.approx(per_image.std(ddof=1) / 20)


def test_the_unit_of_steps_is_the_spread_of_the_codes() -> None:
    z = rng(13).normal(size=(50, 3)) * [1.0, 2.0, 5.0] + 9
    assert spread(z) == pytest.approx(math.sqrt(z.var(axis=0).mean()))
    assert spread(np.ones((4, 2))) == 1.0


def test_compression_refuses_what_makes_no_sense() -> None:
    z, x = np.zeros((3, 2)), np.zeros((3, 4))
    for step in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive step"):
            compression_curve(z, x, lambda z: x, [step])
    for bad in (z + 1e10, z * math.nan):
        with pytest.raises(ValueError, match="within"):
            quantise(bad, 1.0)
    for a, b in ((z[:2], x), (z[0], x), (z[:0], x[:0])):
        with pytest.raises(ValueError, match="expected codes"):
            compression_curve(a, b, lambda z: x, [1.0])
    for index in (np.zeros((0, 2), int), np.zeros((2, 0), int), np.zeros(3, int)):
        with pytest.raises(ValueError, match="whole numbers"):
            pack(index)


def test_the_picture_of_the_curve_shows_its_points() -> None:
    r = rng(14)
    z, x = r.normal(size=(30, 2)), r.normal(size=(30, 4))
    curve = compression_curve(z, x, lambda z: np.repeat(z, 2, axis=1), [2.0, 0.5])
    plane = plots.compression({"codes": curve}, 4).axes[0]
    assert np.allclose(plane.lines[0].get_xdata(), [p.bytes for p in curve])
    assert np.allclose(plane.lines[0].get_ydata(), [p.error.mean for p in curve])
    assert np.allclose(plane.lines[1].get_xdata(), [p.entropy.mean for p in curve])
    forward, back = plane.child_axes[0]._functions
    assert forward(3.0) == 6.0 and back(6.0) == 3.0  # 3 bytes are 24 bits of 4 numbers


# ---- the command ----

DIGITS = {"name": "digits", "validation": 250, "binarisation": "new"}


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []
    monkeypatch.setattr(_common, "write_picture", lambda path, figure: seen.append((path, figure)))
    return seen


def made(kind: Any) -> Any:
    model = kind(Architecture(64, 3, (16,)), seed=1)
    Path("run/pictures").mkdir(parents=True)
    name = "ae" if kind is Autoencoder else "vae"
    runs.save(Path("run"), model, {"model": name, "data": DIGITS})
    return model


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_the_command_prints_what_the_functions_say(kind: Any, figures: list, capsys: Any) -> None:
    model = made(kind)
    assert main(["probe", "run", "--examples", "300", "--neighbours", "3", "--seed", "2"]) == 0
    out = capsys.readouterr().out
    data = runs.load_data({"data": DIGITS})
    from minivae.datasets.base import spread_rows

    rows = spread_rows(len(data.train), 300)
    x = binarise(data.train.x[rows], "fixed", np.random.default_rng(776))
    y, test = data.train.y[rows], data.test
    pca = PCA.fit(x, 3)
    views = [
        (model.means(x), model.means(test.x)),
        (pca.encode(x), pca.encode(test.x)),
        (x, test.x),
    ]
    want: dict[str, list[str]] = {"linear probe": [], "3 nearest": [], "k-means": []}
    for z, held in views:
        want["linear probe"].append(str(linear_probe(z, y, held, test.y).accuracy))
        want["3 nearest"].append(str(nearest_neighbours(z, y, held, test.y, 3)))
        clusters = k_means(z, 10, generator("cpu", 2, 0, 51))
        found = purity(clusters.labels, y, clusters.nearest(held), test.y)
        want["k-means"].append(str(found))
    for name, cells in want.items():
        (line,) = [row for row in out.splitlines() if row.startswith(f"  {name} ")]
        assert line.split(maxsplit=len(name.split()))[-1].split("  ")[0] == cells[0]
        for cell in cells:
            assert cell in line
    path, figure = figures[0]
    assert path == Path("run/pictures/probe.png")
    z = model.means(test.x)
    curve = compression_curve(
        z, test.x, lambda z: walks.decoded(model, z), [2.0**-j * spread(z) for j in range(-2, 6)]
    )
    assert np.allclose(figure.axes[0].lines[0].get_xdata(), [p.bytes for p in curve])
    for p in curve:
        assert f"{p.error.mean:.5g} +- {p.error.standard_error:.5g}" in out
    assert "300 training images, judged on 250 test images" in out


def test_rows_without_labels_are_compressed_only(
    figures: list, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(VAE)
    split = Split(rng().random((40, 64), dtype="float32"), np.zeros(40, "int64"))
    rows = Dataset("rows", (1, 64), split, split, split, "")
    monkeypatch.setattr(_common, "load_data", lambda model, config, run: rows)
    assert main(["probe", "run"]) == 0
    out = capsys.readouterr().out
    assert "no labels" in out and "linear" not in out and "image" not in out
    assert "bytes per example" in out and len(figures) == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--examples", "1", "--examples of at least 2"),
        ("--neighbours", "0", "neighbours"),
        ("--decay", "0", "positive decay"),
        ("--seed", "-1", "--seed of at least 0"),
        ("--examples", "2", "--neighbours from 1 to 2"),
    ],
)
def test_a_slip_is_one_line(
    option: str, value: str, message: str, figures: list, capsys: Any
) -> None:
    made(VAE)
    assert main(["probe", "run", option, value]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not figures
