"""The codebook: the nearest entry, its ties, k-means, moving averages, and what counts as used."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import codebook
from minivae.codebook import Averages, Codebook, hidden_rate, k_means, moved, nearest, perplexity
from minivae.parameters import Parameters

SEEDS = st.integers(0, 2**32 - 1)


def by_hand(z: np.ndarray, E: np.ndarray) -> list[int]:
    """The nearest entry by loops over Python floats, the first of equals."""
    numbers = []
    for row in z.tolist():
        squares = [math.fsum((a - b) ** 2 for a, b in zip(row, e, strict=True)) for e in E.tolist()]
        numbers.append(squares.index(min(squares)))
    return numbers


@settings(max_examples=100)
@given(
    N=st.integers(1, 20), n=st.integers(1, 9), C=st.integers(1, 4), seed=SEEDS,
    chunk=st.sampled_from([1, 7, 30, 2**22]),
)  # fmt: skip
def test_the_nearest_entry_whatever_the_chunks(
    N: int, n: int, C: int, seed: int, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    z, E = rng.normal(size=(N, C)), rng.normal(size=(n, C))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebook, "CHUNK", chunk)
        index = nearest(z, E)
        count, total = codebook.sums(index, z, n)
    assert index.dtype == np.int64 and index.tolist() == by_hand(z, E)
    for k in range(n):
        assert count[k] == (index == k).sum()
        assert total[k] == pytest.approx(z[index == k].sum(axis=0), abs=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 7, 33, 100])
def test_of_entries_as_near_the_first_is_taken(n: int, dtype: Any) -> None:
    rng = np.random.default_rng(n)
    E = np.repeat(rng.normal(size=(1, 5)), n, axis=0).astype(dtype)
    assert nearest(rng.normal(size=(50, 5)).astype(dtype), E).tolist() == [0] * 50
    E[: n // 2] += 100.0
    assert nearest(rng.normal(size=(50, 5)).astype(dtype), E).tolist() == [n // 2] * 50
    line = np.array([[1.0], [-1.0], [1.0], [3.0]], dtype)
    assert nearest(np.array([[0.0], [2.0], [-5.0]], dtype), line).tolist() == [0, 0, 1]


def test_chunks_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No array of distances is larger than a chunk: seen by the products that are made."""
    monkeypatch.setattr(codebook, "CHUNK", 64)
    rows: list[int] = []

    class Watched(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            rows.append(self.shape[0])
            return np.asarray(self) @ np.asarray(other)

    z = np.random.default_rng(0).normal(size=(50, 3)).view(Watched)
    nearest(z, np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]])
    assert rows == [8] * 6 + [2]


def test_the_straight_through_backward_and_the_gradient_of_the_entries() -> None:
    rng, layer = np.random.default_rng(1), Codebook(4, 3)
    parameters = Parameters({"codebook": layer}, rng, "float64")
    z, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    e, index = layer.forward(z)
    assert np.array_equal(e, layer.E[index])
    assert layer.backward(dy, index) is dy
    assert layer.backward(dy, index, need_dx=False) is None
    assert not parameters.grad.any()
    layer.learn(dy, index)
    layer.learn(dy, index)  # gradients add up
    want = np.zeros((4, 3))
    for k, row in zip(index, dy, strict=True):
        want[k] += 2.0 * row
    assert layer.dE == pytest.approx(want, abs=1e-12)
    assert not layer.dshare.any() and not layer.dtotal.any()  # type: ignore[attr-defined]
    assert np.allclose(layer.total, layer.E * layer.share[:, None]) and layer.share.sum() == 1.0


@settings(max_examples=60)
@given(N=st.integers(1, 40), n=st.integers(1, 6), C=st.integers(1, 3), seed=SEEDS)
def test_one_step_without_decay_and_smoothing_is_a_step_of_lloyd(
    N: int, n: int, C: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    z, E = rng.normal(size=(N, C)), rng.normal(size=(n, C))
    share = rng.random(n)
    before = Averages(E, share, E * share[:, None])
    index = nearest(z, E)
    after = moved(before, index, z, decay=0.0, smoothing=0.0)
    for k in range(n):
        mine = z[index == k]
        assert after.E[k] == pytest.approx(mine.mean(axis=0) if len(mine) else E[k], abs=1e-12)
    assert after.share.sum() == pytest.approx(1.0)


@settings(max_examples=60)
@given(seed=SEEDS, decay=st.floats(0.0, 1.0), smoothing=st.sampled_from([0.0, 1e-5, 0.1]))
def test_the_moving_averages_by_hand(seed: int, decay: float, smoothing: float) -> None:
    rng = np.random.default_rng(seed)
    z, E, share = rng.normal(size=(7, 2)), rng.normal(size=(3, 2)), rng.random(3) + 0.1
    share /= share.sum()
    index = nearest(z, E)
    after = moved(Averages(E, share, E * share[:, None]), index, z, decay, smoothing)
    for k in range(3):
        mine = z[index == k]
        n = decay * share[k] + (1 - decay) * len(mine) / 7
        total = decay * share[k] * E[k] + (1 - decay) * mine.sum(axis=0) / 7
        assert after.share[k] == pytest.approx(n, abs=1e-12)
        assert after.total[k] == pytest.approx(total, abs=1e-12)
        if n > 0.0:
            want = total * (1 + smoothing) / (n + smoothing / 3)
            assert after.E[k] == pytest.approx(want, abs=1e-9)


def test_no_entry_is_thrown_away_by_the_first_step() -> None:
    """Entries stay among the data, also those that nobody chose, from the first step on."""
    rng = np.random.default_rng(0)
    layer = Codebook(50, 4)
    Parameters({"codebook": layer}, rng, "float32")
    state = Averages(layer.E, layer.share, layer.total)
    z = rng.normal(size=(20, 4)).astype(np.float32)
    for _ in range(3):
        state = moved(state, nearest(z, state.E), z)
        assert state.E.dtype == np.float32
        size = np.linalg.norm(state.E, axis=1).max()
        assert size <= max(np.linalg.norm(layer.E, axis=1).max(), np.linalg.norm(z, axis=1).max())


def test_the_step_does_not_depend_on_how_often_the_batch_is_repeated() -> None:
    rng = np.random.default_rng(5)
    z, E = rng.normal(size=(9, 2)), rng.normal(size=(4, 2))
    start = Averages(E, np.full(4, 0.25), E / 4)
    once = moved(start, nearest(z, E), z)
    many = np.repeat(z, 7, axis=0)
    again = moved(start, nearest(many, E), many)
    assert pytest.approx(once.E, abs=1e-12) == again.E


def test_k_means_finds_clusters_that_are_there() -> None:
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    rng = np.random.default_rng(2)
    z = np.repeat(centres, 25, axis=0) + 0.1 * rng.normal(size=(100, 2))
    for seed in range(5):
        found = k_means(z, 4, np.random.default_rng(seed))
        order = nearest(centres, found.E)
        assert sorted(order.tolist()) == [0, 1, 2, 3]
        want = [z[25 * k : 25 * k + 25].mean(axis=0) for k in range(4)]
        assert found.E[order] == pytest.approx(np.array(want), abs=1e-12)
        assert found.share == pytest.approx(0.25)
        assert found.total == pytest.approx(found.E / 4)


def test_k_means_starts_from_the_data_spread_by_squared_distance() -> None:
    z = np.array([[0.0], [0.0], [0.0], [1.0], [3.0]])
    seconds = []
    for seed in range(4000):
        E = k_means(z, 2, np.random.default_rng(seed), steps=0).E
        assert {float(v) for v in E[:, 0]} <= {0.0, 1.0, 3.0}
        if E[0] == 0.0:
            seconds.append(float(E[1, 0]))
    share = np.mean(np.array(seconds) == 3.0)  # 9 against 1
    assert 0.0 not in seconds and abs(share - 0.9) < 4 * math.sqrt(0.09 / len(seconds))


def test_k_means_takes_every_vector_once_if_there_are_no_more() -> None:
    z = np.array([[0.0], [1.0], [10.0], [11.0], [50.0], [51.0]])
    for seed in range(10):  # a vector that was taken has no distance left from those taken
        start = k_means(z, 6, np.random.default_rng(seed), steps=0)
        assert sorted(start.E[:, 0].tolist()) == z[:, 0].tolist()
        assert start.share == pytest.approx(1 / 6) and start.total == pytest.approx(start.E / 6)


def test_k_means_takes_ten_steps_of_lloyd() -> None:
    z = np.random.default_rng(8).normal(size=(200, 2))
    E = [k_means(z, 7, np.random.default_rng(0), **more).E for more in ({}, {"steps": 10})]
    assert np.array_equal(*E)
    cost = []
    for steps in (0, 1, 10):
        found = k_means(z, 7, np.random.default_rng(0), steps).E
        cost.append(float(((z - found[nearest(z, found)]) ** 2).sum()))
    assert cost[0] > cost[1] > cost[2]


def test_fresh_entries_have_the_length_one_in_the_mean() -> None:
    E = Codebook(2000, 9).initial(np.random.default_rng(0))["E"]
    assert (E**2).sum(axis=1).mean() == pytest.approx(1.0, abs=0.05)


def test_k_means_with_fewer_different_vectors_than_entries() -> None:
    z = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    found = k_means(z, 5, np.random.default_rng(0))
    assert found.E.dtype == np.float32 and np.isfinite(found.E).all()
    assert {tuple(row) for row in found.E.tolist()} == {(1.0, 0.0), (0.0, 1.0)}
    assert len(k_means(z, 6, np.random.default_rng(0)).E) == 6
    with pytest.raises(ValueError, match="n_codes of at most 6, the vectors there are; got 7"):
        k_means(z, 7, np.random.default_rng(0))


def test_perplexity_and_rate() -> None:
    assert perplexity(np.array([5.0, 5.0, 0.0, 5.0])) == pytest.approx(3.0)
    assert perplexity(np.array([7, 0])) == 1.0
    assert perplexity(np.array([3, 1])) == pytest.approx(4 / 27**0.25)
    assert hidden_rate(49, 512) == pytest.approx(49 * 9 * math.log(2))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 2)])
def test_bad_sizes(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="n_codes and code_size of at least 1"):
        Codebook(*sizes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_entries_that_differ_by_rounding_alone_are_as_near(dtype: Any) -> None:
    """z half way between two entries far from the origin, where |e|^2 - 2 z e cancels."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        z, d = (
            100.0 * rng.normal(size=5),
            (1e-3 if dtype == "float32" else 1e-8) * rng.normal(size=5),
        )
        pair = np.stack([z + d, z - d]).astype(dtype)
        assert nearest(z[None].astype(dtype), pair).tolist() == [0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_entry_far_away_does_not_blur_the_others(dtype: Any) -> None:
    """Its |e|^2 is rounded to more than the distance of the others, but it is not added to them."""
    rng = np.random.default_rng(4)
    z, E = rng.normal(size=(60, 3)).astype(dtype), rng.normal(size=(9, 3)).astype(dtype)
    far = np.full((1, 3), 1e4 if dtype == "float32" else 1e8, dtype)
    assert nearest(z, np.concatenate([far, E])).tolist() == [k + 1 for k in by_hand(z, E)]


def test_an_entry_that_nobody_chooses_stays_until_the_smoothing_draws_it_to_zero() -> None:
    state = Averages(np.array([[1.0], [3.0]]), np.full(2, 0.5), np.array([[0.5], [1.5]]))
    places = []
    for _ in range(2500):
        state = moved(state, np.zeros(4, np.int64), np.ones((4, 1)), 0.99, 1e-5)
        places.append(float(state.E[1, 0]))
    assert places[300] == pytest.approx(3.0, abs=1e-2)
    half = int(np.argmax(np.array(places) < 1.5))  # its share is then a / n_codes
    assert half == pytest.approx(math.log(1e-5) / math.log(0.99), abs=3.0)
    assert places[-1] < 1e-4 and state.E[0, 0] == pytest.approx(1.0, abs=1e-5)
    unused = Averages(state.E, np.array([1.0, 0.0]), np.array([[1.0], [0.0]]))
    again = moved(unused, np.zeros(4, np.int64), np.ones((4, 1)))
    assert np.array_equal(again.E[1], state.E[1])  # a share of exactly 0: where it was
