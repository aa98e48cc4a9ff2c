"""Optimisers: the textbook's formulas on every number, whatever the size of the vector."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import check_adam, check_sgd, run_optimizer

from minivae import SGD, Adam
from minivae.arrays import BLOCK

MAKERS = {"sgd": lambda: SGD(0.1), "momentum": lambda: SGD(0.1, 0.9), "adam": lambda: Adam(0.1)}
SIZES = [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 333]


@pytest.mark.parametrize("steps", [1, 2, 10, 300])
def test_adam_is_the_textbooks(steps: int) -> None:
    check_adam(steps)


@settings(max_examples=30)
@given(
    st.floats(1e-5, 1), st.floats(0, 0.99), st.floats(0, 0.9999), st.sampled_from([1e-10, 1e-4, 1])
)
def test_adam_with_any_constants(lr: float, b1: float, b2: float, epsilon: float) -> None:
    check_adam(20, learning_rate=lr, beta1=b1, beta2=b2, epsilon=epsilon)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_sgd_is_the_textbooks(momentum: float, steps: int) -> None:
    check_sgd(steps, momentum)


def test_adams_first_step_is_the_learning_rate_against_the_sign() -> None:
    theta = np.zeros(4)
    Adam(0.01).step(theta, np.array([3.0, -1e-3, 1e5, 0.0]))
    assert np.allclose(theta, [-0.01, 0.01, -0.01, 0.0], rtol=1.1e-5)  # epsilon / 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAKERS)
def test_a_number_moves_the_same_in_a_vector_of_any_size(name: str, size: int, dtype: str) -> None:
    """Bit for bit: also where a large vector is cut into blocks for several threads."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=size).astype(dtype)
    gradients = rng.normal(size=(3, size)).astype(dtype)
    whole = run_optimizer(MAKERS[name](), theta, gradients)
    third = max(1, size // 3)
    pieces = [
        run_optimizer(MAKERS[name](), theta[i : i + third], gradients[:, i : i + third])
        for i in range(0, size, third)
    ]
    assert np.array_equal(whole, np.concatenate(pieces)) and whole.dtype == dtype


@pytest.mark.parametrize("size", SIZES)
def test_large_vectors_against_the_textbook(size: int) -> None:
    rng = np.random.default_rng(1)
    theta, gradients = rng.normal(size=size), rng.normal(size=(4, size))
    got = run_optimizer(Adam(0.01), theta, gradients)
    m, v, want = np.zeros(size), np.zeros(size), theta.copy()
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        want = want - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert np.allclose(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", MAKERS)
def test_theta_is_moved_in_place_and_grad_left_alone(name: str) -> None:
    for size in (3, 2 * BLOCK + 1):
        theta, grad = np.ones(size), np.linspace(1, 2, size)
        view, before = theta[:2], grad.copy()
        assert MAKERS[name]().step(theta, grad) is None
        assert (view != 1.0).all() and np.array_equal(grad, before)


@pytest.mark.parametrize("name", MAKERS)
def test_float32_state_stays_float32(name: str) -> None:
    optimizer, theta = MAKERS[name](), np.ones(5, "f")
    for _ in range(3):
        optimizer.step(theta, np.full(5, 0.3, "f"))
    state = [a for a in vars(optimizer).values() if isinstance(a, np.ndarray)]
    assert {str(a.dtype) for a in [theta, *state]} == {"float32"}
    assert len(state) == (2 if name == "adam" else 1)


@pytest.mark.parametrize("name", MAKERS)
def test_state_is_nobody_elses(name: str) -> None:
    optimizer, theta, grad = MAKERS[name](), np.ones(3), np.ones(3)
    optimizer.step(theta, grad)
    for value in vars(optimizer).values():
        if isinstance(value, np.ndarray):
            assert not np.shares_memory(value, theta) and not np.shares_memory(value, grad)


@pytest.mark.parametrize("name", MAKERS)
def test_a_copied_optimizer_goes_on_alike(name: str) -> None:
    """All that a resumed run needs is in the attributes: moments and the number of steps."""
    rng = np.random.default_rng(0)
    optimizer, theta = MAKERS[name](), rng.normal(size=4)
    for g in rng.normal(size=(5, 4)):
        optimizer.step(theta, g)
    twin, twin_theta = copy.deepcopy(optimizer), theta.copy()
    for g in rng.normal(size=(5, 4)):
        optimizer.step(theta, g)
        twin.step(twin_theta, g)
    assert np.array_equal(theta, twin_theta)


@pytest.mark.parametrize("name", MAKERS)
def test_a_bowl_is_descended(name: str) -> None:
    optimizer, theta = MAKERS[name](), np.array([2.0, -3.0])
    for _ in range(400):
        optimizer.step(theta, theta * [1.0, 3.0])
    # Adam's last steps are still of the size of a decaying oscillation; the others are linear.
    assert np.abs(theta).max() < 1e-3


def test_defaults_are_those_of_the_papers() -> None:
    adam, sgd = Adam(), SGD()
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon) == (1e-3, 0.9, 0.999, 1e-8)
    assert (sgd.learning_rate, sgd.momentum) == (0.01, 0.0)


def test_the_learning_rate_may_be_changed_between_steps() -> None:
    for optimizer in (SGD(1.0), Adam(1.0)):
        theta = np.zeros(1)
        optimizer.learning_rate = 0.25
        optimizer.step(theta, np.ones(1))
        assert math.isclose(theta[0], -0.25, rel_tol=1e-7)


def test_a_zero_gradient_moves_nothing() -> None:
    for make in MAKERS.values():
        theta = np.ones(3)
        make().step(theta, np.zeros(3))
        assert (theta == 1.0).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGD(0.0), "learning_rate positive, got 0.0"),
        (lambda: SGD(math.nan), "learning_rate positive, got nan"),
        (lambda: SGD(0.1, 1.0), r"momentum in \[0, 1\), got 1.0"),
        (lambda: SGD(0.1, -0.1), "momentum"),
        (lambda: Adam(-1.0), "learning_rate positive, got -1.0"),
        (lambda: Adam(beta1=1.0), "beta1"),
        (lambda: Adam(beta2=-0.5), "beta2"),
        (lambda: Adam(epsilon=0.0), "epsilon positive"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
