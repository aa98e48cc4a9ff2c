"""MADE: it sums to one, keeps its order, has the right gradient, and is what it draws."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import record

from minivae import objectives, runs
from minivae.arrays import to_numpy
from minivae.cli import main
from minivae.datasets import binarise, binarise_splits, load_digits
from minivae.distributions import Bernoulli, Categorical
from minivae.lab.collapse import Setting, experiment
from minivae.lab.collapse_models import PixelByPixel, PixelByPixelVAE
from minivae.models import (
    MADE,
    IndependentPrior,
    MadeArchitecture,
    ordered,
    prior_over,
    smoothed_mean,
)
from minivae.models.masks import Autoregressive, MaskedDense, hidden_degrees, mask, positions
from minivae.models.one_hot import numbers, one_hot
from minivae.numerics import softmax
from minivae.optimizers import Adam
from minivae.parameters import Parameters
from minivae.training import train
from minivae.verify import central_difference, layer_errors, model_errors

SEEDS = st.integers(0, 2**32 - 1)


def everything(M: int, n_codes: int = 2) -> np.ndarray:
    """All x of M variables, (n_codes ** M, M)."""
    return np.array(list(itertools.product(range(n_codes), repeat=M)), np.float64)


def drawn(M: int, seed: int = 0, scale: float = 1.0, **architecture: Any) -> MADE:
    """A MADE with random weights, so large that no factor is near 1/2."""
    a = {"hidden": (7, 5), "degrees": "drawn", "activation": "tanh", "seed": seed}
    model = MADE(MadeArchitecture(M, **{**a, **architecture}), dtype="float64")
    theta = model.parameters.theta
    theta[...] = scale * np.random.default_rng(seed).normal(size=len(theta))
    return model


# ---- the truths: it sums to one, and keeps its order ----


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_it_sums_to_one_over_all_images_of_2x2_under_every_order(order: tuple[int, ...]) -> None:
    for direct in (False, True):
        model = drawn(4, sum(order), order=order, direct=direct)
        log_p = model.log_prob(everything(4))
        assert abs(np.exp(log_p).sum() - 1.0) <= 1e-12
        assert np.exp(log_p).max() > 0.12  # and is far from uniform


def test_it_sums_to_one_over_all_images_of_3x3_under_100_drawn_orders() -> None:
    x = everything(9)
    for seed in range(100):
        model = drawn(9, seed, order="random", hidden=[(11,), (6, 8), ()][seed % 3])
        assert abs(np.exp(model.log_prob(x)).sum() - 1.0) <= 1e-12


@settings(max_examples=60)
@given(
    M=st.integers(1, 4), n_codes=st.integers(2, 4), n_masks=st.integers(1, 3), direct=st.booleans(),
    hidden=st.lists(st.integers(1, 5), max_size=2), seed=SEEDS,
)  # fmt: skip
def test_codes_and_averaged_masks_sum_to_one(
    M: int, n_codes: int, n_masks: int, direct: bool, hidden: list[int], seed: int
) -> None:
    model = drawn(
        M, seed, n_codes=n_codes, n_masks=n_masks, direct=direct, hidden=hidden, order="random"
    )
    p = np.exp(model.log_prob(everything(M, n_codes)))
    assert p.sum() == pytest.approx(1.0, abs=1e-12)


@settings(max_examples=40)
@given(
    M=st.integers(1, 5), width=st.integers(1, 3), K=st.integers(0, 2), direct=st.booleans(),
    hidden=st.lists(st.integers(1, 6), max_size=2), seed=SEEDS,
)  # fmt: skip
def test_an_output_depends_on_the_inputs_before_it_and_on_no_others(
    M: int, width: int, K: int, direct: bool, hidden: list[int], seed: int
) -> None:
    """Every pair, by the complex step: the slope of what must not be seen is 0 and no rounding."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(M).tolist()
    degrees = [hidden_degrees(n, M, rng) for n in hidden]
    net = Autoregressive([positions(order)], [degrees], "tanh", width, K, direct)
    parameters = Parameters({"net": net}, rng, "float64")
    parameters.theta[...] = rng.normal(size=len(parameters))
    x = rng.normal(size=(1, M * width + K))
    slope = np.empty((M * width + K, M * width))
    for i in range(len(slope)):
        moved = x.astype(complex)
        moved[0, i] += 1e-30j
        slope[i] = net.forward(moved)[0].imag / 1e-30
    place = {d: i for i, d in enumerate(order)}
    for i, j in itertools.product(range(M * width), range(M * width)):
        if place[i // width] >= place[j // width]:
            assert slope[i, j] == 0.0, (i, j)
        elif direct or not hidden:
            assert slope[i, j] != 0.0, (i, j)
    if (direct or not hidden) and K:  # nothing hides the conditions, from the first one on
        assert (slope[M * width :] != 0.0).all()


def test_with_enough_units_everything_before_is_seen() -> None:
    for degrees in ("even", "drawn"):
        model = drawn(6, 3, hidden=(200, 200), degrees=degrees, order="random", scale=0.1)
        x = np.zeros((1, 6), complex)
        sees = np.zeros((6, 6), bool)
        for i in range(6):
            moved = x.copy()
            moved[0, i] += 1e-30j
            sees[i] = model.network.forward(moved)[0].imag != 0.0
        place = positions(model.architecture.orders()[0])
        assert np.array_equal(sees, place[:, None] < place)


# ---- gradients ----


@settings(max_examples=40)
@given(
    M=st.integers(1, 4), n_codes=st.integers(2, 3), n_masks=st.integers(1, 2), B=st.integers(1, 3),
    direct=st.booleans(), hidden=st.lists(st.integers(1, 4), max_size=2), seed=SEEDS,
)  # fmt: skip
def test_the_gradient_of_the_likelihood(
    M: int, n_codes: int, n_masks: int, B: int, direct: bool, hidden: list[int], seed: int
) -> None:
    model = drawn(
        M, seed, n_codes=n_codes, n_masks=n_masks, direct=direct, hidden=hidden, order="random"
    )
    x = np.random.default_rng(seed).integers(0, n_codes, size=(B, M)).astype(float)
    model.network.choose(n_masks - 1)
    errors = model_errors(model, lambda g: ordered.autoregressive(model, x, gradient=g))
    record("MADE", errors)


@settings(max_examples=30)
@given(
    M=st.integers(1, 4), width=st.integers(1, 3), K=st.integers(0, 3), B=st.integers(1, 3),
    direct=st.booleans(), hidden=st.lists(st.integers(1, 4), max_size=3), seed=SEEDS,
)  # fmt: skip
def test_backward_is_the_derivative_of_forward(
    M: int, width: int, K: int, B: int, direct: bool, hidden: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    degrees = [hidden_degrees(n, M, rng) for n in hidden]
    place = positions(rng.permutation(M).tolist())
    net = Autoregressive([place], [degrees], "tanh", width, K, direct)
    parameters = Parameters({"net": net}, rng, "float64")
    parameters.theta[...] = rng.normal(size=len(parameters))
    x, dy = rng.normal(size=(B, M * width + K)), rng.normal(size=(B, M * width))
    record("masked network", layer_errors(net, x, dy, parameters))
    record("masked network", layer_errors(net, x, dy, parameters, central_difference),
           "central differences", 1e-6)  # fmt: skip
    _, cache = net.forward(x)
    before = parameters.grad.copy()
    assert net.backward(dy, cache, need_dx=False) is None
    parameters.grad -= before  # backward adds
    once = parameters.grad.copy()
    parameters.zero_grad()
    net.backward(dy, cache)
    assert np.allclose(parameters.grad, once, atol=1e-12)


def test_a_masked_layer_is_a_dense_layer_with_holes() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((2, 4, 3)) < 0.5
    layer = MaskedDense(masks, "glorot", np.arange(3.0))
    parameters = Parameters({"layer": layer}, rng, "float64")
    assert (layer.W[~masks.any(axis=0)] == 0.0).all() and (layer.W[masks[0]] != 0.0).all()
    layer.W[...] = rng.normal(size=(4, 3))
    x, dy = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    for t in (1, 0, 1):
        layer.choose(t)
        y, cache = layer.forward(x)
        assert np.allclose(y, x @ np.where(masks[t], layer.W, 0.0) + np.arange(3.0), atol=1e-14)
        parameters.zero_grad()
        layer.choose(0)  # the cache remembers the mask of its forward
        dx = layer.backward(dy, cache)
        assert (layer.dW[~masks[t]] == 0.0).all()
        assert np.allclose(layer.dW, np.where(masks[t], x.T @ dy, 0.0), atol=1e-14)
        assert np.allclose(dx, dy @ np.where(masks[t], layer.W, 0.0).T, atol=1e-14)
        assert np.allclose(layer.db, dy.sum(axis=0))
    layer.choose(1)  # the mask of the last forward, in another dtype
    parameters.bind(parameters.theta.astype("float32"))
    assert layer.forward(x.astype("float32"))[0].dtype == np.float32
    with pytest.raises(ValueError, match="of 0 and 1, got float64"):
        MaskedDense(np.full((2, 2), 0.5))


# ---- orders and degrees ----


def test_positions_invert_the_order() -> None:
    order = [2, 0, 3, 1]
    assert [positions(order)[d] for d in order] == [1, 2, 3, 4]
    for wrong in ([0, 0, 1], [1, 2, 3]):
        with pytest.raises(ValueError, match="expected an order of 0 to 2, each once"):
            positions(wrong)


@given(n=st.integers(1, 30), M=st.integers(1, 12), seed=SEEDS)
def test_degrees_lie_where_they_can_be_used(n: int, M: int, seed: int) -> None:
    most = max(M - 1, 1)
    even = hidden_degrees(n, M)
    assert even.shape == (n,) and even[0] == 1 and (np.diff(even) >= 0).all()
    assert np.ptp(np.bincount(even, minlength=most + 1)[1:]) <= 1 and even.max() <= most
    least = min(3, most)
    some = hidden_degrees(n, M, np.random.default_rng(seed), least)
    assert some.min() >= least and some.max() <= most


def test_a_mask_never_falls_and_rises_at_the_end() -> None:
    a, b = np.array([0, 1, 2, 3]), np.array([1, 3])
    assert mask(a, b).T.tolist() == [[True, True, False, False], [True] * 4]
    assert mask(a, b, last=True).T.tolist() == [[True, False, False, False], [True] * 3 + [False]]


def test_what_is_drawn_depends_on_the_seed_alone_and_differs_between_masks() -> None:
    a = MadeArchitecture(30, (40,), order="random", degrees="drawn", n_masks=3, seed=5)
    assert a.orders() == a.orders() and len({tuple(o) for o in a.orders()}) == 3
    assert a.orders() != MadeArchitecture(30, order="random", n_masks=3, seed=6).orders()
    first, second = a.network().blocks[0].layers[0].masks[:2].sum(axis=1)  # type: ignore[attr-defined]
    assert not np.array_equal(np.sort(first), np.sort(second))
    # a second layer is not deeper than the first: each of its units sees something
    deep = MadeArchitecture(30, (2, 40), order="random", degrees="drawn", seed=1)
    assert deep.network().blocks[1].layers[0].masks[0].any(axis=0).all()  # type: ignore[attr-defined]


# ---- what it is: the mean over masks, its draws ----


def test_several_masks_are_a_mean_of_probabilities() -> None:
    model, x = drawn(4, 1, order="random", n_masks=3), everything(4)
    p = []
    for t in range(3):
        model.network.choose(t)
        p.append(np.exp(ordered.autoregressive(model, x, gradient=False).log_px))
    assert np.exp(model.log_prob(x)) == pytest.approx(np.mean(p, axis=0), abs=1e-13)
    assert np.exp(np.mean(np.log(p), axis=0)).sum() < 0.95  # and not of their logarithms
    result = model.objective(x, gradient=False)
    assert np.array_equal(result.log_px, model.log_prob(x))
    assert float(result.loss) == pytest.approx(-result.log_px.mean())
    assert result.terms() == {"log_px": result.log_px}
    seen = set()
    for seed in range(40):  # a step of training takes one of them
        log_px = model.objective(x, np.random.default_rng(seed)).log_px
        seen.add(next(t for t in range(3) if np.allclose(np.exp(log_px), p[t])))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("n_codes", [2, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_have_the_probabilities_that_it_says(n_codes: int, temperature: float) -> None:
    model, x, n = drawn(3, 4, order=(2, 0, 1), n_codes=n_codes), everything(3, n_codes), 40_000
    p = np.exp(model.log_prob(x))
    if temperature != 1.0:  # each factor sharpened by itself, in the order of the model
        p = sharpened(model, x, temperature)
    calls: list[int] = []
    got = model.sample(n, np.random.default_rng(1), temperature, calls.append)
    assert got.shape == (n, 3) and calls == [1, 1, 1]
    assert got.dtype == (np.float64 if n_codes == 2 else np.int64)
    index = (got @ n_codes ** np.arange(2, -1, -1)).astype(int)
    share = np.bincount(index, minlength=n_codes**3) / n
    assert (np.abs(share - p) <= 5.0 * np.sqrt(p * (1 - p) / n) + 1e-9).all()


def sharpened(model: MADE, x: np.ndarray, temperature: float) -> np.ndarray:
    """prod_i p(x_i | x before i)^(1/T) / normaliser, from the logits of every x."""
    C = model.architecture.n_codes
    logits, _ = model.network.forward(model.columns(x))
    if C == 2:
        on = 1.0 / (1.0 + np.exp(-logits / temperature))
        return np.where(x == 1.0, on, 1.0 - on).prod(axis=1)
    w = np.exp(logits.reshape(len(x), -1, C) / temperature)
    w /= w.sum(axis=2, keepdims=True)
    return np.take_along_axis(w, x.astype(int)[:, :, None], axis=2)[:, :, 0].prod(axis=1)


def test_draws_of_several_masks_are_draws_of_the_mean() -> None:
    model, x, n = drawn(3, 6, order="random", n_masks=2), everything(3), 40_000
    p = np.exp(model.log_prob(x))
    got = model.sample(n, np.random.default_rng(2))
    for half in (got[: n // 2], got[n // 2 :]):  # the masks are mixed, not one after the other
        share = np.bincount((half @ [4, 2, 1]).astype(int), minlength=8) / len(half)
        assert (np.abs(share - p) <= 5.0 * np.sqrt(p * (1 - p) / len(half))).all()
    assert np.array_equal(got, model.sample(n, np.random.default_rng(2)))
    rng = np.random.default_rng(2)  # each row from its own noise, by its own mask
    u, t_of_row = rng.random((n, 3)), (2 * rng.random(n)).astype(int)
    for row in range(20):
        model.network.choose(t_of_row[row])
        order = model.architecture.orders()[t_of_row[row]]
        assert np.array_equal(got[row], model.draw(order, u[row : row + 1])[0])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_is_positive_and_finite(temperature: float) -> None:
    with pytest.raises(ValueError, match="expected a temperature above 0 and finite"):
        drawn(3).sample(2, np.random.default_rng(0), temperature)


@pytest.mark.parametrize("n_codes", [2, 3])
def test_the_coldest_and_the_hottest_draws(n_codes: int) -> None:
    """The likeliest value after the likeliest; and every value alike.  Nothing overflows."""
    shares = {2: [0.6, 0.4], 3: [0.5, 0.3, 0.2]}[n_codes]
    codes = np.random.default_rng(0).choice(n_codes, (50, 4), p=shares)
    for prior in (prior_over(codes, n_codes, hidden=(5,)), IndependentPrior(codes, n_codes)):
        for temperature in (1e-300, 1e-42, 1e-6):
            drawn = prior.sample(50, np.random.default_rng(1), temperature)
            assert (drawn == drawn[0]).all()
        likeliest = prior.log_prob(everything(4, n_codes)).max()
        assert prior.log_prob(drawn[:1])[0] == pytest.approx(likeliest, abs=0.2)
        for temperature in (1e6, 1e42, 1e300):
            drawn = prior.sample(4000, np.random.default_rng(2), temperature).astype(int)
            share = np.bincount(drawn.ravel(), minlength=n_codes) / drawn.size
            assert share == pytest.approx(1.0 / n_codes, abs=0.02)


def test_the_last_code_is_drawn_where_rounding_leaves_a_gap() -> None:
    class Highest:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.full(shape, np.nextafter(1.0, 0.0))

    prior = IndependentPrior(np.zeros((0, 2), np.int64), 7)
    assert np.cumsum(softmax(prior.log_p[0]))[-1] < 1.0  # seven sevenths
    assert prior.sample(3, Highest()).tolist() == [[6, 6]] * 3


def test_a_mean_that_is_no_probability_is_refused() -> None:
    for mean in (np.array([0.0, 0.5]), np.array([0.5, 1.0])):
        with pytest.raises(ValueError, match=r"data_mean inside \(0, 1\).*smoothed_mean"):
            MADE(MadeArchitecture(2, (3,)), mean)
    same = np.full((9, 2), 2)  # a code that never changes has a probability below one
    prior = prior_over(same, 3, hidden=())
    prior.parameters.views(prior.parameters.theta)["network.0.W"][...] = 0.0
    assert prior.log_prob(same[:1])[0] == pytest.approx(2 * math.log(10 / 12), abs=1e-5)


def test_float32_stays_float32() -> None:
    x = everything(4).astype(np.float32)
    for options in ({}, {"n_codes": 3}, {"order": "random", "n_masks": 2, "direct": True}):
        model = MADE(MadeArchitecture(4, (5,), **options))  # type: ignore[arg-type]
        result = model.objective(x, np.random.default_rng(0))
        found = [*result, model.log_prob(x), model.parameters.grad, *model.network.forward(
            model.columns(x))[:1]]  # fmt: skip
        assert {a.dtype.name for a in found} == {"float32"}


def test_one_hot_and_back() -> None:
    codes = np.array([[2, 0], [1, 2]])
    columns = one_hot(codes, 3)
    assert columns.tolist() == [[0, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1]]
    assert np.array_equal(numbers(columns, 3), codes)


# ---- data, errors, training ----


def test_a_bernoulli_is_a_categorical_of_two() -> None:
    model = drawn(4, 2)
    assert isinstance(model.predict(np.zeros((2, 4))), Bernoulli)
    codes = drawn(4, 2, n_codes=3)
    assert isinstance(codes.predict(np.zeros((2, 12))), Categorical)
    logits, _ = model.network.forward(everything(4))
    factors = np.where(everything(4) == 1.0, logits, -logits)
    want = -np.log1p(np.exp(-factors)).sum(axis=1)
    assert model.log_prob(everything(4)) == pytest.approx(want, abs=1e-12)


def test_it_begins_at_the_frequencies_of_the_data() -> None:
    x = load_digits().train.x
    model = MADE(MadeArchitecture(64, (20,)), smoothed_mean(x))
    view = model.parameters.views(model.parameters.theta)
    view["network.1.W"][...] = 0.0
    p = 1.0 / (1.0 + np.exp(-model.network.forward(x[:3])[0]))
    assert p == pytest.approx(np.tile(smoothed_mean(x), (3, 1)), abs=1e-5)
    codes = np.array([[0, 2], [1, 2], [1, 2], [1, 0]])
    for n_codes in (3, 4):
        prior = prior_over(codes, n_codes, hidden=())
        prior.parameters.views(prior.parameters.theta)["network.0.W"][...] = 0.0
        first = (np.bincount(codes[:, 0], minlength=n_codes) + 1) / (4 + n_codes)
        second = (np.bincount(codes[:, 1], minlength=n_codes) + 1) / (4 + n_codes)
        want = [math.log(first[a] * second[b]) for a, b in codes]
        assert prior.log_prob(codes) == pytest.approx(want, abs=1e-5)
    binary = prior_over(codes // 2, 2, hidden=(4,))
    assert binary.likelihood is Bernoulli and binary.log_prob(codes // 2).shape == (4,)


def test_a_prior_learns_what_the_codes_have_in_common(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, size=(400, 5))
    codes[:, 3] = codes[:, 1]
    prior = prior_over(codes, 4, hidden=(32,))
    history = train(prior, codes, codes[:100], epochs=30, batch_size=50, progress=False,
                    optimizer=Adam(0.01))  # fmt: skip
    assert history.best["valid_log_px"] == max(history["valid_log_px"])  # type: ignore[index]
    bits = -prior.log_prob(codes).mean() / math.log(2.0)
    assert 7.5 < bits < 8.4  # four free codes of two bits
    drawn = prior.sample(300, rng)
    assert drawn.dtype == np.int64 and (drawn[:, 3] == drawn[:, 1]).mean() > 0.9
    assert prior.log_prob(np.repeat(codes, 3, axis=0)).shape == (1200,)  # more than a chunk
    runs.save(tmp_path, prior, {"model": "made"})
    again, _ = runs.load_run(tmp_path)
    assert np.array_equal(again.log_prob(codes), prior.log_prob(codes))
    for wrong, message in (
        (codes[:, :4], r"expected data of shape \(N, 5\)"),
        (codes + 1, "expected codes from 0 to 3, got 4 at row"),
        (codes - 1, "expected codes from 0 to 3, got -1 at row"),
        (codes - 0.5, "expected codes from 0 to 3, got"),
        (0.9 * codes, r"expected codes from 0 to 3, got [0-9.]+ at row"),
    ):
        with pytest.raises(ValueError, match=message):
            prior.check(wrong)
    with pytest.raises(ValueError, match="no latent codes"):
        prior.means(codes)
    with pytest.raises(ValueError, match="expected codes from 0 to 2, got 3"):
        prior_over(codes, 3)
    with pytest.raises(ValueError, match=r"expected codes of shape \(N, M\), got \(5,\)"):
        prior_over(codes[0], 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_features": 0}, "n_features of at least 1, got 0"),
        ({"n_codes": 1}, "n_codes of at least 2, got 1"),
        ({"n_masks": 0}, "n_masks of at least 1, got 0"),
        ({"hidden": (3, 0)}, r"hidden widths of at least 1, got \[3, 0\]"),
        ({"order": "spiral"}, "order one of raster, random; got 'spiral'"),
        ({"order": (0, 1, 1)}, r"an order of the variables 0 to 2, got \(0, 1, 1\)"),
        ({"degrees": "odd"}, "degrees one of even, drawn; got 'odd'"),
        ({"activation": "sine"}, "activation one of"),
        ({"likelihood": "gaussian"}, "likelihood one of bernoulli; got 'gaussian'"),
        ({"n_masks": 2}, "2 masks would be the same"),
    ],
)
def test_an_architecture_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MadeArchitecture(**{"n_features": 3, **wrong})


def test_fewest_weights_are_no_more_than_there_are() -> None:
    for a in (MadeArchitecture(5, (3, 4)), MadeArchitecture(5, (), n_codes=3)):
        assert a.fewest_weights() <= len(MADE(a).parameters)


# ---- the command line ----


def test_the_commands(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--model", "made", "--hidden", "12", "--order", "random", "--masks", "2",
             "--batch-size", "200"]  # fmt: skip
    assert main([*words, "--epochs", "3", "--out", "whole"]) == 0
    assert main([*words, "--epochs", "2", "--out", "parts"]) == 0
    assert main(["train", "--resume", "parts", "--epochs", "3"]) == 0
    whole, _ = runs.load_run("whole")
    parts, config = runs.load_run("parts")
    assert np.array_equal(whole.parameters.theta, parts.parameters.theta)
    assert {p.name for p in Path("whole/pictures").iterdir()} == {"curves.png", "samples.png"}
    capsys.readouterr()

    assert main(["evaluate", "whole"]) == 0
    x = runs.load_data(config).test.x
    assert isinstance(whole, MADE)
    out = capsys.readouterr().out
    assert f"{-whole.log_prob(x).mean():9.2f} +- " in out and "exact" in out and "2 masks" in out

    assert main(["sample", "whole", "--n", "7", "--temperature", "0.5", "--out", "s.npy"]) == 0
    images = np.load("s.npy")
    assert images.shape == (7, 64) and set(np.unique(images)) == {0.0, 1.0}
    assert main(["sample", "whole", "--n", "3"]) == 0
    assert "64 passes" in capsys.readouterr().out

    assert main(["export", "whole", "--out", "w.npz"]) == 2
    assert "2 masks share the weights" in capsys.readouterr().err
    for command in ("reconstruct", "interpolate", "traverse", "usage", "holes", "gap", "probe",
                    "diagnose", "report", "factors", "encode"):  # fmt: skip
        assert main([command, "whole", *(["--out", "c.npy"] * (command == "encode"))]) == 2, command
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("minivae: whole: a made has no latent codes: see "), command
    for wrong, message in (
        (["sample", "whole", "--temperature", "0"], "--temperature above 0"),
        (["sample", "whole", "--draw"], "pixels are always drawn"),
        (["prune", "whole"], "expected a VAE, got made"),
        (["train", "--model", "made", "--latent", "3"], "no latents"),
        (["train", "--model", "made", "--likelihood", "gaussian"], "black and white"),
        (["train", "--masks", "3"], "--masks belongs to --model made, got --model vae"),
        (["train", "--model", "made", "--masks", "2"], "would be the same"),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_an_exported_made_can_be_used_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    """The arrays alone, without any mask: what it forbids is zero."""
    monkeypatch.chdir(tmp_path)
    words = ["--order", "random", "--epochs", "2", "--hidden", "9", "--out", "run"]
    assert main(["train", "--model", "made", *words]) == 0
    assert main(["export", "run", "--out", "w.npz"]) == 0
    w, x = np.load("w.npz"), binarise(load_digits().test.x, "threshold")
    model, _ = runs.load_run("run")
    h = np.maximum(x @ w["network.0.0.W"] + w["network.0.0.b"], 0.0)
    logits = h @ w["network.1.W"] + w["network.1.b"]
    assert isinstance(model, MADE)
    assert np.allclose(model.network.forward(x)[0], logits, atol=1e-4)


# ---- other array libraries ----


def test_it_runs_on_a_device_that_refuses_numpy() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = lambda a: strict.asarray(a, device=strict.Device("device1"))  # noqa: E731
    for n_codes in (2, 3):
        a = MadeArchitecture(4, (5,), n_codes=n_codes, order="random", n_masks=2, direct=True)
        here, there = (MADE(a, dtype="float32", device=d) for d in ("cpu", device))
        x = everything(4, n_codes)
        got = to_numpy(there.log_prob(x))
        assert got.dtype == np.float32 and got == pytest.approx(here.log_prob(x), abs=1e-4)
        drawn = [to_numpy(m.sample(9, np.random.default_rng(1))) for m in (here, there)]
        assert np.array_equal(*drawn) and drawn[0].dtype == drawn[1].dtype
        rows = [
            train(m, x, x, epochs=2, batch_size=5, progress=False).rows[-1] for m in (here, there)
        ]
        assert rows[0]["valid_log_px"] == pytest.approx(rows[1]["valid_log_px"], abs=1e-3)


def test_a_masked_network_with_conditions_on_such_a_device() -> None:
    strict = pytest.importorskip("array_api_strict")
    rng, where = np.random.default_rng(7), strict.Device("device1")
    degrees = [hidden_degrees(5, 3, rng), hidden_degrees(4, 3, rng)]
    net = Autoregressive([positions([2, 0, 1])], [degrees], "tanh", 2, 2, direct=True)
    parameters = Parameters({"net": net}, rng, "float64")
    x, dy, found = rng.normal(size=(3, 8)), rng.normal(size=(3, 6)), []
    for move in (lambda a: a, lambda a: strict.asarray(a, device=where)):
        parameters.bind(move(to_numpy(parameters.theta)))
        y, cache = net.forward(move(x))
        found.append([to_numpy(a) for a in (y, net.backward(move(dy), cache), parameters.grad)])
    for here, there in zip(*found, strict=True):
        assert there == pytest.approx(here, abs=1e-12)


# ---- the over-strong decoder of the laboratory ----


def strong(rng: np.random.Generator, B: int = 3, S: int = 2) -> tuple[PixelByPixelVAE, Any, Any]:
    a = PixelByPixel(4, 2, (3,), "tanh", n_hidden=5)
    model = PixelByPixelVAE(a, rng.uniform(0.2, 0.8, 4), dtype="float64")
    model.parameters.theta[...] = rng.normal(size=len(model.parameters))
    return model, (rng.random((B, 4)) < 0.5).astype(float), rng.normal(size=(S, B, 2))


@settings(max_examples=25)
@given(seed=SEEDS, B=st.integers(1, 3), S=st.integers(1, 3))
def test_the_gradient_with_a_pixel_by_pixel_decoder(seed: int, B: int, S: int) -> None:
    model, x, eps = strong(np.random.default_rng(seed), B, S)
    errors = model_errors(model, lambda g: objectives.elbo(model.given(x), x, eps, gradient=g))
    record("pixel-by-pixel VAE", errors)


def test_a_pixel_by_pixel_decoder_is_a_distribution_for_every_code() -> None:
    model, _, _ = strong(np.random.default_rng(3))
    x = everything(4)
    totals = [np.exp(model.log_px(x, np.tile(z, (16, 1)))).sum() for z in np.eye(2) * 3.0]
    assert totals == pytest.approx([1.0, 1.0], abs=1e-12)
    apart = model.log_px(x, np.tile([3.0, 0.0], (16, 1))) - model.log_px(x, np.zeros((16, 2)))
    assert np.abs(apart).max() > 0.1  # and it hears the code


def test_a_decoder_that_needs_no_code_uses_little_of_it_and_has_the_better_bound() -> None:
    data, setting = binarise_splits(load_digits(), "new"), Setting(epochs=15, looks=1)
    weak = experiment("nothing", "none", data, setting)
    strong = experiment("made-decoder", "none", data, setting)
    assert strong.is_bound and strong.bound.mean > weak.bound.mean + 1.0
    assert strong.last.kl.sum() < 0.3 * weak.last.kl.sum()
