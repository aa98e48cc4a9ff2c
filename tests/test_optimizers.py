"""Optimisers: the textbook's formulas on every number, whatever the size of the vector."""

from __future__ import annotations

import copy
import inspect
import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_caught, check_adam, check_sgd, run_optimizer

from minivae import SGD, Adam
from minivae.arrays import BLOCK, dtype_name, to_device, to_numpy
from minivae.optimizers import OPTIMIZERS, AdamW, clip_by_global_norm

MAKERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, 0.9),
    "adam": lambda: Adam(0.1),
    "adamw": lambda: AdamW(0.1, weight_decay=0.03),
}
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
    assert len(state) == (2 if name.startswith("adam") else 1)


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
    adam, sgd = AdamW(), SGD()
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon) == (1e-3, 0.9, 0.999, 1e-8)
    assert adam.weight_decay == 0.01 and Adam().settings() | {"name": "adamw"} == {
        k: v for k, v in adam.settings().items() if k != "weight_decay"
    }
    assert (sgd.learning_rate, sgd.momentum) == (0.01, 0.0)


def test_the_learning_rate_may_be_changed_between_steps() -> None:
    for optimizer in (SGD(1.0), Adam(1.0)):
        theta = np.zeros(1)
        optimizer.learning_rate = 0.25
        optimizer.step(theta, np.ones(1))
        assert math.isclose(theta[0], -0.25, rel_tol=1e-7)


def test_a_zero_gradient_moves_nothing() -> None:
    for name in set(MAKERS) - {"adamw"}:
        theta = np.ones(3)
        MAKERS[name]().step(theta, np.zeros(3))
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
        (lambda: AdamW(beta2=1.0), "beta2"),
        (lambda: AdamW(weight_decay=-0.1), "weight_decay of at least 0, got -0.1"),
        (lambda: AdamW(weight_decay=math.nan), "weight_decay"),
        (lambda: AdamW(weight_decay=math.inf), "weight_decay"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


LEAST = math.ulp(0.0)  # the smallest positive number
BORDERS: dict[str, tuple[str, list[float], list[float]]] = {  # what is refused, what is not
    "learning_rate": ("positive", [0.0, -LEAST, math.inf, math.nan], [LEAST, 1e300]),
    "momentum": ("in [0, 1)", [-LEAST, 1.0, math.nan], [0.0, 1.0 - 2**-53]),
    "beta1": ("in [0, 1)", [-LEAST, 1.0, math.nan], [0.0, 1.0 - 2**-53]),
    "beta2": ("in [0, 1)", [-LEAST, 1.0, math.nan], [0.0, 1.0 - 2**-53]),
    "epsilon": ("positive", [0.0, -LEAST, math.nan], [LEAST, 1e300]),
    "weight_decay": ("of at least 0", [-LEAST, math.inf, math.nan], [0.0, 1e300]),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_constant_has_its_borders(name: str) -> None:
    for constant in inspect.signature(OPTIMIZERS[name]).parameters:
        what, refused, taken = BORDERS[constant]
        for value in refused:
            with pytest.raises(ValueError) as error:
                OPTIMIZERS[name](**{constant: value})
            assert str(error.value) == f"expected {constant} {what}, got {value}"
        for value in taken:
            assert OPTIMIZERS[name](**{constant: value}).settings()[constant] == value


# ---- AdamW ----


def textbook_adamw(
    theta: float,
    gradients: list[float],
    multipliers: list[float],
    alpha: float,
    b1: float,
    b2: float,
    epsilon: float,
    weight_decay: float,
) -> float:
    """Algorithm 2 of Loshchilov and Hutter on one number, eta_t and lambda as in the paper."""
    lam = alpha * weight_decay
    m = v = 0.0
    for t, (g, eta) in enumerate(zip(gradients, multipliers, strict=True), 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        theta = theta - eta * (alpha * m_hat / (math.sqrt(v_hat) + epsilon) + lam * theta)
    return theta


def check_adamw(steps: int = 40, seed: int = 0, **options: float) -> None:
    """AdamW is the textbook's under a changing rate, for gradients down to the size of epsilon."""
    rng = np.random.default_rng(seed)
    theta = 3.0 * rng.normal(size=7)
    gradients = rng.normal(size=(steps, 7)) * 10.0 ** np.arange(-9, 5, 2)
    multipliers = rng.uniform(0, 2, steps)
    full = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    full |= {"weight_decay": 0.3, **options}
    optimizer, got = AdamW(**full), theta.copy()
    for g, eta in zip(gradients, multipliers, strict=True):
        optimizer.learning_rate = full["learning_rate"] * eta
        optimizer.step(got, g)
    want = [
        textbook_adamw(t, list(g), list(multipliers), *full.values())
        for t, g in zip(theta, gradients.T, strict=True)
    ]
    assert np.allclose(got, want, rtol=0, atol=1e-12), got - want


@pytest.mark.parametrize("steps", [1, 2, 10, 300])
def test_adamw_is_the_textbooks(steps: int) -> None:
    check_adamw(steps)


@settings(max_examples=30)
@given(
    st.floats(1e-5, 0.5),
    st.floats(0, 0.99),
    st.floats(0, 0.9999),
    st.sampled_from([1e-10, 1e-4, 1]),
    st.floats(0, 1),
)
def test_adamw_with_any_constants(
    lr: float, b1: float, b2: float, epsilon: float, decay: float
) -> None:
    check_adamw(20, learning_rate=lr, beta1=b1, beta2=b2, epsilon=epsilon, weight_decay=decay)


def test_without_a_gradient_all_weights_lose_the_same_share() -> None:
    theta = np.array([1.0, -30.0, 0.0, 1e-6])
    before, optimizer = theta.copy(), AdamW(0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.step(theta, np.zeros(4))
    assert np.allclose(theta, 0.95**3 * before, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_decay_adamw_is_adam(dtype: str) -> None:
    rng = np.random.default_rng(0)
    theta, gradients = rng.normal(size=9).astype(dtype), rng.normal(size=(20, 9)).astype(dtype)
    adamw = run_optimizer(AdamW(0.1, weight_decay=0.0), theta, gradients)
    assert np.array_equal(adamw, run_optimizer(Adam(0.1), theta, gradients))


def test_small_decay_is_not_biased_by_float32() -> None:
    """A factor 1 - 0.00001 in float32 would decay by 0.14 % too much, all numbers alike."""
    theta = np.random.default_rng(0).uniform(1.0, 2.0, 200_000).astype("f")
    before, optimizer = theta.astype(float), AdamW(1e-3, weight_decay=1e-2)
    optimizer.step(theta, np.zeros_like(theta))
    assert math.isclose((before - theta).sum() / before.sum(), 1e-5, rel_tol=2e-4)
    factor = before - before.astype("f") * np.float32(1.0 - 1e-5)
    assert not math.isclose(factor.sum() / before.sum(), 1e-5, rel_tol=1e-3)


# ---- state, restore, settings ----


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.savez(buffer, **state)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def check_resume(name: str = "adamw", stop: int = 4, dtype: str = "float32") -> None:
    """An optimiser made anew from settings and state goes on bit for bit, rates changing."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=50).astype(dtype)
    gradients = rng.normal(size=(stop + 5, 50)).astype(dtype)
    whole, resumed = MAKERS[name](), MAKERS[name]()
    want, got = theta.copy(), theta.copy()
    for step, g in enumerate(gradients):
        if step == stop:
            made = json.loads(json.dumps(resumed.settings()))
            state = through_a_file(resumed.state())
            resumed = OPTIMIZERS[made.pop("name")](**made)
            assert resumed.restore(state, got) is None
        whole.learning_rate = resumed.learning_rate = 0.1 / (step + 1)
        whole.step(want, g)
        resumed.step(got, g)
    assert np.array_equal(got, want) and got.dtype == dtype
    for key, value in whole.state().items():
        assert np.array_equal(resumed.state()[key], value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stop", [0, 1, 4])
@pytest.mark.parametrize("name", MAKERS)
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str, stop: int, dtype: str) -> None:
    check_resume(name, stop, dtype)


@pytest.mark.parametrize("name", MAKERS)
def test_state_is_a_copy_both_ways(name: str) -> None:
    optimizer, theta = MAKERS[name](), np.ones(3)
    optimizer.step(theta, np.ones(3))
    state = optimizer.state()
    kept = copy.deepcopy(state)
    twin = MAKERS[name]()
    twin.restore(state, theta)
    for each in (optimizer, twin):
        each.step(theta, np.ones(3))
        for key, value in kept.items():
            assert np.array_equal(state[key], value), key


def test_state_before_the_first_step_holds_no_arrays() -> None:
    assert SGD().state() == {} and Adam().state() == {"t": 0} == AdamW().state()


def test_restoring_an_unused_state_forgets_the_steps() -> None:
    for make in MAKERS.values():
        optimizer, theta = make(), np.ones(3)
        optimizer.step(theta, np.ones(3))
        optimizer.restore(make().state(), theta)
        assert optimizer.state() == make().state()
        optimizer.step(theta, np.ones(3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_settings_make_the_same_optimizer(name: str) -> None:
    made = OPTIMIZERS[name]().settings()
    assert made["name"] == name
    assert list(made) == ["name", *inspect.signature(OPTIMIZERS[name]).parameters]
    constants = {key: value / 2 for key, value in made.items() if key != "name"}
    again = OPTIMIZERS[name](**constants)
    assert type(again) is OPTIMIZERS[name]
    assert json.loads(json.dumps(again.settings())) == {"name": name, **constants}


GOOD = {"t": 3, "u": np.ones(4), "w": np.ones(4)}


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"t": -1}, "t a whole number of at least 0, got -1"),
        ({"t": 3.0}, "t a whole number"),
        ({"t": True}, "t a whole number"),
        ({"t": "3"}, "t a whole number"),
        ({"t": np.array([3])}, "t a whole number"),
        ({"t": 0}, "to hold t, got t, u, w"),
        ({"t": None}, "to hold t, u, w, got u, w"),
        ({"u": None}, "to hold t, u, w, got t, w"),
        ({"velocity": np.ones(4)}, "to hold t, u, w, got t, u, velocity, w"),
        ({"u": np.ones(3)}, r"u of shape \(4,\), got \(3,\)"),
        ({"w": np.ones((4, 1))}, r"w of shape \(4,\), got \(4, 1\)"),
        ({"u": np.ones(4, "f")}, "u of dtype float64, got float32"),
        ({"w": np.ones(4, "f")}, "w of dtype float64, got float32"),
        ({"u": np.array([0, 0, np.nan, 0])}, "finite numbers in u"),
        ({"w": np.array([0, 0, np.inf, 0])}, "finite numbers in w"),
        ({"w": np.array([0, 0, -1e-9, 0])}, "w of at least 0.0, got -1e-09"),
    ],
)
def test_a_wrong_state_is_refused_and_changes_nothing(kind: Any, change: Any, words: str) -> None:
    optimizer, theta = kind(), np.ones(4)
    optimizer.step(theta, np.full(4, 7.0))
    before = copy.deepcopy(optimizer.state())
    state = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=words) as error:
        optimizer.restore(state, theta)
    assert "\n" not in str(error.value)
    assert all(np.array_equal(optimizer.state()[k], v) for k, v in before.items())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"t": 0}, "the state of sgd to hold velocity, got t"),
        ({"velocity": np.ones(3)}, "shape"),
        ({"velocity": np.ones(4, "f")}, "dtype"),
        ({"velocity": np.full(4, np.nan)}, "finite"),
    ],
)
def test_a_wrong_state_of_sgd_is_refused(state: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SGD().restore(state, np.ones(4))


def test_a_sum_may_be_negative_and_a_sum_of_squares_zero() -> None:
    SGD().restore({"velocity": -np.ones(4)}, np.ones(4))
    Adam().restore({"t": np.int64(2), "u": -np.ones(4), "w": np.zeros(4)}, np.ones(4))


# ---- clipping ----


def clipped(grad: Any, max_norm: float) -> tuple[float, np.ndarray]:
    moved = np.array(grad)
    norm = clip_by_global_norm(moved, max_norm)
    assert moved.dtype == np.asarray(grad).dtype and np.ndim(norm) == 0
    return float(norm), moved


def check_clip() -> None:
    """Worked out by hand: (3, 4) has the length 5."""
    for dtype in ("float32", "float64"):
        norm, grad = clipped(np.array([3.0, -4.0, 0.0], dtype), 2.5)
        assert norm == 5.0 and grad.tolist() == [1.5, -2.0, 0.0]
        norm, grad = clipped(np.array([3.0, -4.0, 0.0], dtype), 7.0)
        assert norm == 5.0 and grad.tolist() == [3.0, -4.0, 0.0]
        norm, grad = clipped(np.zeros(3, dtype), 1.0)
        assert norm == 0.0 and grad.tolist() == [0.0, 0.0, 0.0]
    with np.errstate(over="ignore", invalid="ignore"):
        norm, grad = clipped(np.array([3e25, 4e25], "f"), 1.0)
        assert np.isclose(norm, 5e25, rtol=1e-6) and np.allclose(grad, [0.6, 0.8], rtol=1e-6)
        norm, grad = clipped(np.array([3e-30, 4e-30], "f"), 1e-30)
        assert np.isclose(norm, 5e-30, rtol=1e-6, atol=0)
        assert np.allclose(grad, [0.6e-30, 0.8e-30], rtol=1e-6, atol=0)


def test_clipping_by_hand() -> None:
    check_clip()


@settings(max_examples=100)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9),
    st.floats(1e-3, 1e6),
    st.sampled_from(["float32", "float64"]),
)
def test_clipping_keeps_the_direction_and_bounds_the_length(
    values: list[float], max_norm: float, dtype: str
) -> None:
    grad = np.array(values, dtype)
    length = math.hypot(*values)
    norm, cut = clipped(grad, max_norm)
    assert math.isclose(norm, length, rel_tol=1e-12)
    if length <= max_norm:
        assert np.array_equal(cut, grad)
        return
    assert math.isclose(math.hypot(*cut.tolist()), max_norm, rel_tol=1e-6)
    share = max_norm / length
    assert np.allclose(cut.astype(float), share * grad.astype(float), rtol=1e-6, atol=1e-37)


def test_a_long_vector_of_float32_has_an_exact_norm() -> None:
    grad = np.full(3_000_000, 0.1, "f")
    norm = clip_by_global_norm(grad, 1.0)
    assert math.isclose(norm, math.sqrt(3e6) * float(np.float32(0.1)), rel_tol=1e-10)
    assert math.isclose(float(np.sqrt((grad.astype(float) ** 2).sum())), 1.0, rel_tol=1e-6)


def test_what_is_not_finite_stays_so() -> None:
    norm, grad = clipped(np.array([1.0, np.nan, 0.0], "f"), 1.0)
    assert math.isnan(norm) and np.isnan(grad).all()
    with np.errstate(invalid="ignore"):
        norm, grad = clipped(np.array([1.0, -np.inf, 0.0], "f"), 1.0)
    assert norm == math.inf and np.isnan(grad[1]) and grad[0] == grad[2] == 0.0
    with np.errstate(over="ignore"):
        norm, grad = clipped(np.array([1e200, 0.0]), 1.0)
    assert norm == math.inf and grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_length_is_refused(max_norm: float) -> None:
    with pytest.raises(ValueError) as error:
        clip_by_global_norm(np.ones(2), max_norm)
    assert str(error.value) == f"expected max_norm positive and finite, got {max_norm}"


@pytest.mark.parametrize("max_norm", [1e-300, 1e300])
def test_any_other_length_is_taken(max_norm: float) -> None:
    assert math.isclose(clipped(np.ones(4), max_norm)[0], 2.0)


# ---- other devices ----


@pytest.fixture(params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    if request.param == "cuda":
        return "cuda"
    xp = pytest.importorskip("array_api_strict")
    return lambda x: xp.asarray(x, device=xp.Device("device1"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_clip_step_state_and_restore_on_another_device(name: str, dtype: str, device: Any) -> None:
    """State goes to the host and comes back to the device, and the numbers are NumPy's."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=9).astype(dtype), rng.normal(size=(4, 9)).astype(dtype)

    def run(move: Callable[[np.ndarray], Any]) -> list[Any]:
        optimizer, theta, norms = MAKERS[name](), move(start.copy()), []
        for g in gradients:
            grad = move(g.copy())
            norms.append(clip_by_global_norm(grad, 3.0))
            optimizer.step(theta, grad)
            state = {k: v if k == "t" else to_numpy(v) for k, v in optimizer.state().items()}
            optimizer = MAKERS[name]()
            optimizer.restore(state, theta)
            optimizer.restore(optimizer.state(), theta)  # also from arrays of the device
        return [theta, *norms]

    want, got = run(lambda x: x), run(lambda x: to_device(x, device))
    assert [dtype_name(a) for a in got] == [dtype] + 4 * ["float64"]
    for a, b in zip(got, want, strict=True):
        assert type(a) is type(got[0])
        assert np.allclose(to_numpy(a), b, rtol=1e-6 if dtype == "float32" else 1e-14)
    assert len({float(n) > 3.0 for n in want[1:]}) == 2  # some were cut, some not


# ---- planted bugs ----


def l2_in_the_gradient(self: AdamW, theta: Any, grad: Any) -> None:
    Adam.step(self, theta, grad + self.weight_decay * theta)


def decay_without_the_rate(self: AdamW, theta: Any, grad: Any) -> None:
    theta -= self.weight_decay * theta
    Adam.step(self, theta, grad)


def decay_after_the_step(self: AdamW, theta: Any, grad: Any) -> None:
    Adam.step(self, theta, grad)
    theta -= self.learning_rate * self.weight_decay * theta


def decay_at_the_first_rate(self: AdamW, theta: Any, grad: Any) -> None:
    self.first = vars(self).get("first", self.learning_rate)  # type: ignore[attr-defined]
    decay = self.first * self.weight_decay * theta  # type: ignore[attr-defined]
    Adam.step(self, theta, grad)
    theta -= decay


def clip_each(grad: Any, max_norm: float) -> Any:
    norm = np.sqrt((grad.astype(float) ** 2).sum())
    np.clip(grad, -max_norm, max_norm, out=grad)
    return norm


def clip_always(grad: Any, max_norm: float) -> Any:
    norm = np.sqrt((grad.astype(float) ** 2).sum())
    grad *= (max_norm / max(norm, 1e-300)).astype(grad.dtype)
    return norm


def clip_in_float32(grad: Any, max_norm: float) -> Any:
    norm = np.sqrt((grad**2).sum())
    grad *= max_norm / max(norm, max_norm)
    return norm


def clip_by_the_square(grad: Any, max_norm: float) -> Any:
    norm = np.sqrt((grad.astype(float) ** 2).sum())
    grad *= (max_norm / max(norm**2, max_norm)).astype(grad.dtype)
    return norm


def without(state: Any, name: str) -> Any:
    """``state`` as it would be if an optimiser forgot one of its arrays."""
    return {k: 0 * v if k == name else v for k, v in state.items()}


def fewer_steps(state: Any) -> Any:
    return {**state, "t": max(1, state["t"] - 1)} if state["t"] else state


RIGHT_STATE = Adam.state
BUGS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "L2 instead of decay": (AdamW, "step", l2_in_the_gradient, check_adamw),
    "decay without the rate": (AdamW, "step", decay_without_the_rate, check_adamw),
    "decay after the step": (AdamW, "step", decay_after_the_step, check_adamw),
    "decay deaf to the schedule": (AdamW, "step", decay_at_the_first_rate, check_adamw),
    "AdamW without decay": (AdamW, "step", Adam.step, check_adamw),
    "each number clipped": (None, "clip_by_global_norm", clip_each, check_clip),
    "always scaled": (None, "clip_by_global_norm", clip_always, check_clip),
    "squares in float32": (None, "clip_by_global_norm", clip_in_float32, check_clip),
    "the squared norm": (None, "clip_by_global_norm", clip_by_the_square, check_clip),
    "u is forgotten": (Adam, "state", lambda self: without(RIGHT_STATE(self), "u"), check_resume),
    "w is forgotten": (Adam, "state", lambda self: without(RIGHT_STATE(self), "w"), check_resume),
    "t is one less": (Adam, "state", lambda self: fewer_steps(RIGHT_STATE(self)), check_resume),
}


@contextmanager
def planted(owner: Any, attribute: str, bug: Any) -> Iterator[None]:
    """A bug in place of a method, or of a function that this file imported."""
    with pytest.MonkeyPatch.context() as patch:
        if owner is None:
            patch.setitem(globals(), attribute, bug)
        else:
            patch.setattr(owner, attribute, bug)
        yield


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    *bug, check = BUGS[name]
    assert_caught(lambda: planted(*bug), check)
