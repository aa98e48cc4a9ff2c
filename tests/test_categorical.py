"""The categorical distribution, over all the values that it can take."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import check_derivative

from minivae.distributions import Bernoulli, Categorical
from minivae.numerics import softmax

DTYPES = ["float32", "float64"]
SIZES = st.integers(1, 4)
SEEDS = st.integers(0, 2**32 - 1)


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(-3, 3, shape)


def one_hot(rng: np.random.Generator, shape: tuple[int, ...], C: int) -> np.ndarray:
    return np.eye(C)[rng.integers(0, C, shape)]


def everything(D: int, C: int) -> np.ndarray:
    """All C^D values, (C^D, D, C)."""
    return np.array([np.eye(C)[list(c)] for c in itertools.product(range(C), repeat=D)])


# ---- checks ----


def check_by_enumeration(D: int = 3, C: int = 4, seed: int = 0) -> None:
    """Over all values: probabilities are products, sum to one; mean, E score, entropy."""
    logits = draw(np.random.default_rng(seed), D, C)
    p, x = Categorical(logits), everything(D, C)
    log_p = p.log_prob(x)
    probability = np.exp(log_p)
    rates = [[math.exp(l) / sum(map(math.exp, row)) for l in row] for row in logits.tolist()]
    want = [
        math.prod(rate[c.index(1.0)] for rate, c in zip(rates, value, strict=True))
        for value in x.tolist()
    ]
    assert np.allclose(probability, want, rtol=1e-13, atol=0)
    assert abs(probability.sum() - 1.0) < 1e-13
    assert np.allclose(np.tensordot(probability, x, 1), p.mean, rtol=0, atol=1e-13)
    (score,) = p.score(x)
    assert np.abs(np.tensordot(probability, score, 1)).max() < 1e-13
    assert math.isclose(-(probability @ log_p), p.entropy(), rel_tol=1e-13)


def check_kl_by_enumeration(D: int = 2, C: int = 3, uniform: bool = False, seed: int = 0) -> None:
    """KL(q || p) = E_q log q - log p over all values."""
    rng = np.random.default_rng(seed)
    q, other = Categorical(draw(rng, D, C)), Categorical(draw(rng, D, C))
    p, x = Categorical(np.zeros((D, C))) if uniform else other, everything(D, C)
    log_q = q.log_prob(x)
    want = np.exp(log_q) @ (log_q - p.log_prob(x))
    assert math.isclose(q.kl(None if uniform else p), want, rel_tol=1e-12)


def check_score(S: int = 2, B: int = 3, D: int = 2, C: int = 3, seed: int = 0) -> None:
    """score and grad_value are the derivatives of log_prob, for logits of S samples."""
    rng = np.random.default_rng(seed)
    logits, x, c = draw(rng, S, B, D, C), one_hot(rng, (B, D), C), rng.normal(size=(S, B))
    p, scale, weight = Categorical(logits), float(np.abs(c).max()), c[..., None, None]
    (score,) = p.score(x)
    assert score.shape == logits.shape and p.log_prob(x).shape == (S, B)
    check_derivative(
        "Categorical.score",
        weight * score,
        lambda a: (c * Categorical(a).log_prob(x)).sum(),
        logits,
        scale,
    )
    check_derivative(
        "Categorical.grad_value",
        (weight * p.grad_value(x)).sum(axis=0),
        lambda v: (c * p.log_prob(v)).sum(),
        x,
        scale,
    )


def check_kl_grad(B: int = 3, D: int = 2, C: int = 3, uniform: bool = False, seed: int = 0) -> None:
    """kl_grad is the derivative of kl, with a weight on every example."""
    rng = np.random.default_rng(seed)
    logits, c = draw(rng, B, D, C), rng.normal(size=B)
    p = None if uniform else Categorical(draw(rng, B, D, C))
    (dlogits,) = Categorical(logits).kl_grad(p)
    check_derivative(
        "Categorical.kl_grad",
        c[:, None, None] * dlogits,
        lambda a: (c * Categorical(a).kl(p)).sum(),
        logits,
        float(np.abs(c).max()),
    )


def check_sample(D: int = 3, C: int = 4, seed: int = 0) -> None:
    """Over equidistant u, every class comes up as often as it should, to 1 / n."""
    p, n = Categorical(draw(np.random.default_rng(seed), D, C)), 1000
    u = np.repeat((np.arange(n) + 0.5)[:, None] / n, D, axis=1)
    x = p.sample(u)
    assert x.shape == (n, D, C) and set(np.unique(x)) <= {0.0, 1.0}
    assert (x.sum(axis=-1) == 1.0).all(), "not one class"
    assert np.abs(x.mean(axis=0) - p.mean).max() <= 1 / n
    classes = x.argmax(axis=-1)
    assert (np.diff(classes, axis=0) >= 0).all(), "not the inverse of a distribution function"


# ---- values ----


@pytest.mark.parametrize(("D", "C"), [(1, 1), (1, 2), (3, 4), (4, 3), (2, 7)])
def test_by_enumeration(D: int, C: int) -> None:
    check_by_enumeration(D, C, seed=D)


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_kl_is_its_sum(seed: int, uniform: bool) -> None:
    check_kl_by_enumeration(uniform=uniform, seed=seed)


def test_two_classes_are_a_bernoulli() -> None:
    rng = np.random.default_rng(0)
    logits, bits = draw(rng, 5, 3, 2), rng.integers(0, 2, (5, 3))
    p, b = Categorical(logits), Bernoulli(logits[..., 1] - logits[..., 0])
    x = np.eye(2)[bits]
    assert np.allclose(p.log_prob(x), b.log_prob(bits.astype(float)), rtol=1e-14)
    assert np.allclose(p.mean[..., 1], b.mean, rtol=1e-14)
    assert np.allclose(p.score(x)[0][..., 1], b.score(bits.astype(float))[0], rtol=0, atol=1e-15)


def test_a_number_added_to_all_logits_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    logits, x = draw(rng, 4, 3, 5), one_hot(rng, (4, 3), 5)
    p, moved = Categorical(logits), Categorical(logits + rng.normal(0, 100, (4, 3, 1)))
    assert np.allclose(p.log_prob(x), moved.log_prob(x), rtol=0, atol=1e-12)
    for (g,) in (p.score(x), p.kl_grad()):
        assert np.abs(g.sum(axis=-1)).max() < 1e-15


def test_entropy_is_at_most_log_C_and_the_uniform_kl_is_what_is_missing() -> None:
    p = Categorical(draw(np.random.default_rng(0), 50, 3, 6))
    assert (p.entropy() > 0).all() and (p.entropy() < 3 * math.log(6)).all()
    assert np.allclose(p.kl(), 3 * math.log(6) - p.entropy(), rtol=1e-13)
    equal = Categorical(np.full((2, 6), 4.0))
    assert math.isclose(equal.entropy(), 2 * math.log(6), rel_tol=1e-15)
    assert abs(equal.kl()) < 1e-14


@settings(max_examples=100)
@given(D=SIZES, C=SIZES, seed=SEEDS)
def test_kl_is_positive_except_where_the_two_are_one(D: int, C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q, p = Categorical(draw(rng, D, C)), Categorical(draw(rng, D, C))
    assert q.kl(q) == 0.0 and not q.kl_grad(q)[0].any()
    assert q.kl(p) > 0.0 if C > 1 else q.kl(p) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_logit_is_too_large(dtype: str) -> None:
    a = np.array([[1e4, -1e4, 0.0], [-1e30, 1e30, 1e30]], dtype)
    p = Categorical(a)
    x = np.eye(3, dtype=dtype)[[0, 1]]
    assert p.mean.tolist() == [[1, 0, 0], [0, 0.5, 0.5]]
    assert p.log_prob(x) == 0.0  # beside 1e30, log 2 is nothing
    assert p.entropy() >= 0.0 and np.isfinite(p.kl()) and np.isfinite(p.kl_grad()[0]).all()
    assert p.log_prob(np.eye(3, dtype=dtype)[[1, 1]]) == -2e4


def test_softmax_by_pythons_own_mathematics() -> None:
    x = draw(np.random.default_rng(0), 3, 4)
    want = [[math.exp(v) / math.fsum(map(math.exp, row)) for v in row] for row in x.tolist()]
    assert np.allclose(softmax(x), want, rtol=1e-15)
    assert np.allclose(softmax(x.T, axis=0), np.transpose(want), rtol=1e-15)


def test_the_backward_in_softmaxs_docstring() -> None:
    rng = np.random.default_rng(0)
    x, dy = draw(rng, 3, 4), rng.normal(size=(3, 4))
    y = softmax(x)
    dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))
    check_derivative("softmax", dx, lambda a: (dy * softmax(a)).sum(), x, float(np.abs(dy).max()))


# ---- gradients ----


@settings(max_examples=100)
@given(S=SIZES, B=SIZES, D=SIZES, C=SIZES, seed=SEEDS)
def test_the_score_is_a_derivative(S: int, B: int, D: int, C: int, seed: int) -> None:
    check_score(S, B, D, C, seed)


@settings(max_examples=100)
@given(B=SIZES, D=SIZES, C=SIZES, uniform=st.booleans(), seed=SEEDS)
def test_the_kl_gradient_is_a_derivative(B: int, D: int, C: int, uniform: bool, seed: int) -> None:
    check_kl_grad(B, D, C, uniform, seed)


# ---- samples ----


@pytest.mark.parametrize(("D", "C"), [(1, 1), (3, 4), (2, 30)])
def test_every_class_comes_up_as_often_as_it_should(D: int, C: int) -> None:
    check_sample(D, C)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sample_is_one_class_even_where_rounding_leaves_a_gap(dtype: str) -> None:
    """1000 probabilities of 1/1000 add up to a little less, or more, than one."""
    p = Categorical(np.zeros((1, 1000), dtype))
    below_one = np.nextafter(np.ones((), dtype), np.zeros((), dtype))
    x = p.sample(np.array([[0.0], [below_one]], dtype))
    assert (x.sum(axis=-1) == 1.0).all() and x.dtype == dtype
    assert x[0, 0, 0] == 1.0 and x[1, 0, -1] == 1.0


def test_drawn_samples_have_the_right_frequencies() -> None:
    """Pearson: sum (n_c - n p_c)^2 / (n p_c) for C = 6 is above 20.5 once in a thousand times."""
    p, n = Categorical(np.array([[0.0, 1.0, -1.0, 0.5, 2.0, -2.0]])), 20_000
    counts = p.sample(np.random.default_rng(0).random((n, 1))).sum(axis=0)
    assert ((counts - n * p.mean) ** 2 / (n * p.mean)).sum() < 20.5


def test_an_impossible_class_never_comes_up() -> None:
    p = Categorical(np.array([[-1e4, 0.0, -1e4, 0.0, -1e4]]))
    x = p.sample(np.linspace(0, 1, 1001)[:-1, None])
    assert x.sum(axis=(0, 1))[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]


def test_samples_of_several_codes() -> None:
    p = Categorical(draw(np.random.default_rng(0), 3, 2, 4))
    u = np.random.default_rng(1).random((5, 3, 2))
    x = p.sample(u)
    assert x.shape == (5, 3, 2, 4) and p.log_prob(x).shape == (5, 3)
    assert np.array_equal(x[2], p.sample(u[2]))


# ---- as an array program ----


def test_float32_stays_float32() -> None:
    q, p = (Categorical(draw(np.random.default_rng(i), 3, 2, 4).astype("f")) for i in (0, 1))
    u = np.random.default_rng(1).random((3, 2), dtype="f")
    x = q.sample(u)
    results = [x, q.log_prob(x), *q.score(x), q.grad_value(x), q.mean, q.entropy()]
    results += [q.kl(), q.kl(p), *q.kl_grad(), *q.kl_grad(p)]
    assert {str(a.dtype) for a in results} == {"float32"}


def test_the_slope_in_the_value_has_the_shape_of_both_together() -> None:
    one, many = np.ones((3, 2)), np.ones((4, 3, 2))
    for parameters, values in ((one, many), (many, one)):
        assert Categorical(parameters).grad_value(values).shape == many.shape
        assert Categorical(parameters).score(values)[0].shape == many.shape


def test_a_distribution_is_a_value() -> None:
    with pytest.raises(AttributeError):
        Categorical(np.zeros((1, 2))).logits = np.ones((1, 2))  # type: ignore[misc]


# ---- planted bugs ----


def wrapped(name: str, after: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    right = getattr(Categorical, name)
    return lambda: mock.patch.object(
        Categorical, name, lambda self, *args: after(right(self, *args), self, *args)
    )


def gap_at_the_end(self: Categorical, u: Any) -> Any:
    """The class that the sampled edge leads to is forgotten: the last one never comes up."""
    x = RIGHT_SAMPLE(self, u)
    x[..., -1] = 0.0
    return x


RIGHT_SAMPLE = Categorical.sample
BUGS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[], None]]] = {
    "mean over variables": (
        wrapped("log_prob", lambda v, p, x: v / x.shape[-2]),
        check_by_enumeration,
    ),
    "logsumexp forgotten": (
        wrapped("log_prob", lambda v, p, x: (x * p.logits).sum(axis=(-2, -1))),
        check_by_enumeration,
    ),
    "score is expected minus observed": (wrapped("score", lambda s, *_: (-s[0],)), check_score),
    "entropy in bits": (
        wrapped("entropy", lambda h, *_: h / math.log(2.0)),
        check_by_enumeration,
    ),
    "KL gradient without the mean": (
        wrapped("kl_grad", lambda g, q, p=None: (q.mean * q._log_ratio(p),)),
        check_kl_grad,
    ),
    "KL to the uniform without log C": (
        wrapped("kl", lambda v, q, p=None: v if p else -q.entropy()),
        functools.partial(check_kl_by_enumeration, uniform=True),
    ),
    "KL(p || q)": (
        lambda: mock.patch.object(
            Categorical, "kl", lambda q, p: (p.mean * p._log_ratio(q)).sum(axis=(-2, -1))
        ),
        check_kl_by_enumeration,
    ),
    "the last class never comes up": (
        lambda: mock.patch.object(Categorical, "sample", gap_at_the_end),
        check_sample,
    ),
    "the likeliest class is no sample": (
        lambda: mock.patch.object(
            Categorical,
            "sample",
            lambda p, u: np.eye(p.logits.shape[-1])[(p.mean + 0.0 * u[..., None]).argmax(axis=-1)],
        ),
        check_sample,
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    oracles.assert_caught(*BUGS[name])
