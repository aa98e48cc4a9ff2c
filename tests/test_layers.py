"""Layers: every backward is the derivative of its forward, and keeps nothing to itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    ELEMENTWISE,
    LAYERS,
    WITH_WEIGHTS,
    arrays_in,
    away_from_zero,
    check_backward_accumulates,
    check_float32,
    check_layer,
    check_layer_identity,
    check_need_dx,
    check_two_forwards,
    layer_case,
    make_parameters,
    record,
)

from minivae.layers import (
    GELU,
    Activation,
    Constant,
    Dense,
    Heads,
    ReLU,
    Sigmoid,
    SoftClip,
    Softplus,
    Stack,
    Tanh,
)
from minivae.parameters import Layer
from minivae.verify import central_difference, complex_step, layer_errors

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)


# ---- gradients ----


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=80)
@given(B=SIZES, n_in=SIZES, n_out=SIZES, seed=SEEDS)
def test_backward_is_the_derivative_of_forward(
    kind: str, B: int, n_in: int, n_out: int, seed: int
) -> None:
    check_layer(kind, B, n_in, n_out, seed)


@pytest.mark.parametrize("kind", LAYERS)
@settings(max_examples=25)
@given(B=st.integers(1, 30), n_in=st.integers(1, 40), n_out=st.integers(1, 40), seed=SEEDS)
def test_backward_is_the_transpose_of_the_jacobian(
    kind: str, B: int, n_in: int, n_out: int, seed: int
) -> None:
    check_layer_identity(kind, B, n_in, n_out, seed)


@pytest.mark.parametrize("kind", LAYERS)
def test_central_differences_agree(kind: str) -> None:
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(0), 3, 4, 2)
    errors = layer_errors(layer, x, dy, parameters, central_difference)
    # h^2 f''' / 6 + eps / h with h = 6e-6 is about 1e-10; deep stacks have larger f'''.
    record(kind, errors, "central differences", 1e-7)


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_without_dx_the_parameters_get_the_same_gradient(kind: str) -> None:
    check_need_dx(kind)


def test_without_dx_the_first_layers_product_is_not_even_computed() -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    for net in (
        Dense(4, 2),
        Stack(Dense(4, 3), Dense(3, 2)),
        Heads(Dense(4, 3), y=Dense(3, 2)),
        Constant(2, 0.5),
    ):
        make_parameters(net, rng)
        _, cache = net.forward(x)
        given = (dy,) if isinstance(net, Heads) else dy
        assert net.backward(given, cache, need_dx=False) is None
        assert net.backward(given, cache).shape == x.shape


@pytest.mark.parametrize("kind", LAYERS)
def test_two_forwards_before_one_backward(kind: str) -> None:
    check_two_forwards(kind)


@pytest.mark.parametrize("kind", WITH_WEIGHTS)
def test_gradients_add_up(kind: str) -> None:
    check_backward_accumulates(kind)


@pytest.mark.parametrize("kind", LAYERS)
def test_float32_stays_float32(kind: str) -> None:
    check_float32(kind)


@pytest.mark.parametrize("kind", LAYERS)
def test_inputs_and_cotangents_are_left_alone(kind: str) -> None:
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(0), 3, 4, 2)
    given_x, theta = x.copy(), parameters.theta.copy()
    given_dy = [a.copy() for a in arrays_in(dy)]
    _, cache = layer.forward(x)
    kept = [a.copy() for a in arrays_in(cache)]
    layer.backward(dy, cache)
    assert np.array_equal(x, given_x) and np.array_equal(parameters.theta, theta)
    assert all(np.array_equal(a, b) for a, b in zip(arrays_in(dy), given_dy, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(arrays_in(cache), kept, strict=True))


@pytest.mark.parametrize("kind", LAYERS)
def test_backward_is_linear_in_its_cotangent(kind: str) -> None:
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(0), 3, 4, 2)
    _, cache = layer.forward(x)
    parameters.zero_grad()
    dx = layer.backward(dy, cache)
    once = parameters.grad.copy()
    parameters.zero_grad()
    double = tuple(-2.0 * d for d in dy) if isinstance(dy, tuple) else -2.0 * dy
    assert np.allclose(layer.backward(double, cache), -2.0 * dx, rtol=1e-13, atol=0)
    assert np.allclose(parameters.grad, -2.0 * once, rtol=1e-13, atol=1e-15)


def test_relu_takes_zero_for_its_slope_at_the_kink() -> None:
    y, cache = ReLU().forward(np.array([[-0.0, 0.0, 1e-300, -1e-300]]))
    assert y.tolist() == [[0.0, 0.0, 1e-300, 0.0]]
    assert ReLU().backward(np.full((1, 4), 3.0), cache).tolist() == [[0.0, 0.0, 3.0, 0.0]]


SATURATED: dict[str, Any] = {  # the sum of the |terms| of each derivative, as functions of x
    "tanh": lambda x: 1 + np.tanh(x) ** 2,
    "sigmoid": lambda x: 0.25 * (1 + np.tanh(x / 2) ** 2),  # through tanh: (1 - t)(1 + t) / 4
    "softplus": lambda x: 1 + 0 * x,
    "softclip 15": lambda x: 1 + np.tanh(x / 15) ** 2,
    "softclip 2": lambda x: 1 + np.tanh(x / 2) ** 2,
    "gelu": lambda x: 1 + np.abs(x) * 0.8 * (1 + 0.135 * x * x),
    "relu": lambda x: 1 + 0 * x,
}


@pytest.mark.parametrize("kind", SATURATED)
def test_saturation_costs_no_more_than_cancellation_must(kind: str) -> None:
    x = np.concatenate([-np.geomspace(5, 80, 40), np.geomspace(5, 80, 40)])[None, :]
    layer = ELEMENTWISE[kind]()
    _, cache = layer.forward(x)
    dy = np.random.default_rng(0).normal(size=x.shape)
    want = complex_step(lambda a: (dy * layer.forward(a)[0]).sum(), x)
    diff = np.abs(layer.backward(dy, cache) - want)
    assert (diff <= 1e-14 * np.abs(dy) * SATURATED[kind](x)).all(), (diff / np.abs(dy)).max()


@pytest.mark.parametrize("kind", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_overflows_far_out(kind: str, dtype: str) -> None:
    x = np.array([[-1e4, -745.0, -89.0, 0.0, 89.0, 745.0, 1e4]], dtype)
    layer = ELEMENTWISE[kind]()
    y, cache = layer.forward(x)
    dx = layer.backward(np.ones_like(x), cache)
    assert np.isfinite(y).all() and np.isfinite(dx).all()
    assert (np.abs(dx) <= 1.2).all()  # GELU's slope peaks at 1.13


@pytest.mark.parametrize("kind", ELEMENTWISE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_batch_is_its_rows_bit_for_bit(kind: str, dtype: str) -> None:
    """Large arrays may be cut into blocks for several threads; nobody must be able to tell."""
    rng, layer = np.random.default_rng(0), ELEMENTWISE[kind]()
    x = away_from_zero(rng, (331, 401)).astype(dtype)  # 2.03 blocks
    dy = rng.normal(size=x.shape).astype(dtype)
    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache)
    for i in (0, 100, 163, 164, 330):
        row, row_cache = layer.forward(x[i : i + 1])
        assert np.array_equal(y[i : i + 1], row)
        assert np.array_equal(dx[i : i + 1], layer.backward(dy[i : i + 1], row_cache))


# ---- values ----


def test_dense_by_hand() -> None:
    layer = Dense(2, 3)
    parameters = make_parameters(layer, np.random.default_rng(0))
    parameters.theta[...] = [1, 2, 3, 4, 5, 6, 10, 20, 30]  # W row by row, then b
    y, cache = layer.forward(np.array([[1.0, 0.0], [2.0, -1.0]]))
    assert y.tolist() == [[11, 22, 33], [8, 19, 30]]
    dx = layer.backward(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]), cache)
    assert dx.tolist() == [[1, 4], [6, 12]]
    assert layer.dW.tolist() == [[1, 0, 4], [0, 0, -2]] and layer.db.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("kind", "f"),
    [
        ("relu", lambda x: x if x > 0 else 0.0),
        ("tanh", lambda x: 1 - 2 / (math.exp(2 * x) + 1)),
        ("sigmoid", lambda x: math.exp(x) / (1 + math.exp(x))),
        ("softplus", lambda x: math.log(1 + math.exp(x))),
        ("softclip 15", lambda x: 15 * (math.exp(2 * x / 15) - 1) / (math.exp(2 * x / 15) + 1)),
        ("softclip 2", lambda x: 2 * (math.exp(x) - 1) / (math.exp(x) + 1)),
    ],
)
def test_activations_are_what_their_names_say(kind: str, f: Any) -> None:
    x = np.random.default_rng(0).uniform(-5, 5, (3, 20))
    y, _ = ELEMENTWISE[kind]().forward(x)
    want = [[f(a) for a in row] for row in x.tolist()]
    assert np.allclose(y, want, rtol=0, atol=1e-14)


def test_gelu_is_close_to_x_times_the_normal_distribution_function() -> None:
    x = np.linspace(-6, 6, 241)[None, :]
    y, _ = GELU().forward(x)
    want = [a * 0.5 * math.erfc(-a / math.sqrt(2)) for a in x[0].tolist()]
    # The published accuracy of the tanh form is about 5e-4; a wrong constant errs by 1e-2.
    assert np.abs(y[0] - want).max() < 5e-4
    # The tanh form at 1, to the digits that other libraries print: it is not the exact 0.841345.
    assert abs(float(GELU().forward(np.ones((1, 1)))[0][0, 0]) - 0.8411919906) < 1e-9


def test_softclip_is_the_identity_near_zero_and_bounded_far_out() -> None:
    clip = SoftClip(15.0)
    near, _ = clip.forward(np.array([[-1e-3, 1e-3]]))
    assert np.allclose(near, [[-1e-3, 1e-3]], rtol=1e-8)  # x - x^3 / (3 c^2)
    far, _ = clip.forward(np.array([[-1e9, 1e9]]))
    assert far.tolist() == [[-15.0, 15.0]]


def test_softclip_always_leads_back() -> None:
    _, cache = SoftClip(15.0).forward(np.array([[-200.0, 200.0]]))
    assert (SoftClip(15.0).backward(np.ones((1, 2)), cache) > 0).all()  # a hard clip gives 0


def test_constant_ignores_its_input_and_can_be_frozen() -> None:
    for learned, want in ((True, [[12.0], [4.0, 8.0]]), (False, [[0.0], [0.0, 0.0]])):
        for shared, dc in ((True, want[0]), (False, want[1])):
            layer = Constant(2, -1.5, learned=learned, shared=shared)
            make_parameters(layer, np.random.default_rng(0))
            y, cache = layer.forward(np.ones((4, 3)))
            assert y.tolist() == [[-1.5, -1.5]] * 4
            dx = layer.backward(np.tile([1.0, 2.0], (4, 1)), cache)
            assert dx.tolist() == np.zeros((4, 3)).tolist()
            assert layer.dc.tolist() == dc


def test_a_constant_is_learned_and_shared_by_default() -> None:
    layer = Constant(3, 0.5)
    assert layer.initial(np.random.default_rng(0))["c"].tolist() == [0.5]
    make_parameters(layer, np.random.default_rng(0))
    layer.backward(np.ones((4, 3)), np.ones((4, 2)))
    assert layer.dc.tolist() == [12.0]


def test_stack_of_nothing_is_the_identity() -> None:
    x = np.ones((2, 3))
    y, cache = Stack().forward(x)
    assert y is x and cache == [] and Stack().backward(x, cache) is x


def test_an_activation_keeps_one_array_and_dense_its_input() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3))
    for kind in ELEMENTWISE:
        y, cache = ELEMENTWISE[kind]().forward(x)
        assert cache is y or cache is x, kind
    layer = Dense(3, 2)
    make_parameters(layer, np.random.default_rng(0))
    assert layer.forward(x)[1] is x


def test_a_shared_dense_layer_in_a_fork_gets_both_gradients() -> None:
    """y = f(x) + g(f(x)): one Dense before a fork of two heads, against one by one."""
    rng = np.random.default_rng(0)
    layer = Heads(Dense(3, 2), a=Tanh(), b=Sigmoid())
    parameters = make_parameters(layer, rng)
    x, da, db = rng.normal(size=(4, 3)), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    _, cache = layer.forward(x)
    both = layer.backward((da, db), cache)
    grad = parameters.grad.copy()
    parameters.zero_grad()
    zero = np.zeros_like(da)
    apart = layer.backward((da, zero), cache) + layer.backward((zero, db), cache)
    assert np.allclose(both, apart, rtol=0, atol=1e-14)
    assert np.allclose(grad, parameters.grad, rtol=0, atol=1e-13)


# ---- initialisation and errors ----


def test_heads_want_a_gradient_for_each_head() -> None:
    net = Heads(Stack(), a=Tanh(), b=Sigmoid())
    x = np.ones((2, 3))
    _, cache = net.forward(x)
    for dy in ((x,), (x, x, x)):
        with pytest.raises(ValueError, match="zip"):
            net.backward(dy, cache)


def test_initial_weights_have_the_variance_that_was_asked_for() -> None:
    for init, want in (("he", 2 / 300), ("glorot", 2 / 500)):
        initial = Dense(300, 200, init).initial(np.random.default_rng(0))
        W = initial["W"]
        # The standard error of a variance is variance * sqrt(2 / n), n = 60,000: 0.6 %.
        assert abs(W.var() / want - 1) < 0.03 and abs(W.mean()) < 4 * math.sqrt(want / W.size)
        assert not initial["b"].any()


@pytest.mark.parametrize(("init", "fan"), [("he", 3), ("glorot", 8)])
def test_initial_weights_are_scaled_normal_numbers(init: str, fan: int) -> None:
    W = Dense(3, 5, init).initial(np.random.default_rng(7))["W"]
    normal = np.random.default_rng(7).standard_normal((3, 5))
    assert np.allclose(W * W * fan / 2, normal * normal, rtol=1e-14, atol=0)
    assert np.array_equal(np.sign(W), np.sign(normal))
    default = Dense(3, 5).initial(np.random.default_rng(7))["W"]
    assert np.array_equal(default, W) == (init == "he")


def test_a_given_bias_is_the_initial_bias() -> None:
    bias = np.arange(3.0)
    assert Dense(2, 3, bias=bias).initial(np.random.default_rng(0))["b"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Dense(0, 3), "at least 1, got 0 and 3"),
        (lambda: Dense(3, 0), "at least 1, got 3 and 0"),
        (lambda: Dense(3, 3, "xavier"), "'xavier'"),
        (lambda: Dense(3, 2, bias=np.zeros(3)), r"\(2,\), got \(3,\)"),
        (lambda: SoftClip(0.0), "positive, finite limit, got 0.0"),
        (lambda: SoftClip(math.nan), "positive, finite limit, got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_every_layer_follows_the_protocol() -> None:
    layers = [Dense(1, 1), Constant(1, 0.0), ReLU(), Tanh(), Sigmoid(), Softplus(), GELU()]
    for layer in [*layers, SoftClip(1.0), Stack(), Heads(Stack())]:
        assert isinstance(layer, Layer)
        if not isinstance(layer, Heads):
            assert layer.parts() == {}
        if not isinstance(layer, Dense | Constant):
            assert layer.initial(np.random.default_rng(0)) == {}


def test_an_activation_without_a_formula_says_so() -> None:
    x = np.ones((1, 1))
    for call in (lambda: Activation().forward(x), lambda: Activation().backward(x, x)):
        with pytest.raises(NotImplementedError):
            call()
