"""Parameters: one vector theta, one vector grad, and views that really are views."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import VAE, Architecture
from minivae.layers import Constant, Dense, Heads, ReLU, Stack, Tanh
from minivae.parameters import Parameters


def network() -> tuple[Heads, Parameters]:
    net = Heads(
        Stack(Dense(3, 4), Stack(ReLU(), Dense(4, 4)), Tanh()),
        mu=Dense(4, 2),
        logvar=Constant(2, 0.5),
    )
    return net, Parameters({"net": net}, np.random.default_rng(0), "float64")


def test_names_are_the_way_from_the_model_to_the_array() -> None:
    _, parameters = network()
    assert {name: view.shape for name, view in parameters.views(parameters.theta).items()} == {
        "net.trunk.0.W": (3, 4),
        "net.trunk.0.b": (4,),
        "net.trunk.1.1.W": (4, 4),
        "net.trunk.1.1.b": (4,),
        "net.mu.W": (4, 2),
        "net.mu.b": (2,),
        "net.logvar.c": (1,),
    }


def test_views_cover_theta_once_and_in_order() -> None:
    _, parameters = network()
    count = np.arange(len(parameters))
    flat = np.concatenate([view.ravel() for view in parameters.views(count).values()])
    assert np.array_equal(flat, count)
    assert len(parameters) == parameters.theta.size == parameters.grad.size == 47


def test_layers_hold_views_of_theta_and_grad() -> None:
    net, parameters = network()
    head = net.heads["mu"]
    parameters.theta[...] = np.arange(47.0)
    assert np.array_equal(head.W, parameters.views(parameters.theta)["net.mu.W"])
    assert np.shares_memory(head.W, parameters.theta) and np.shares_memory(head.b, parameters.theta)
    head.dW += 3.0
    assert parameters.grad.sum() == 3.0 * head.W.size
    parameters.zero_grad()
    assert not head.dW.any() and np.shares_memory(head.dW, parameters.grad)


def test_binding_moves_every_layer_and_makes_a_fresh_grad() -> None:
    net, parameters = network()
    old = parameters.theta
    parameters.grad[...] = 1.0
    parameters.bind(old * (1 + 1j))
    assert net.heads["mu"].W.dtype == np.complex128 == parameters.grad.dtype
    assert not parameters.grad.any()
    y, _ = net.forward(np.ones((2, 3)))
    assert y[0].dtype == np.complex128
    parameters.bind(old)
    assert parameters.theta is old and np.shares_memory(net.heads["mu"].W, old)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_theta_has_the_dtype_that_was_asked_for(dtype: str) -> None:
    parameters = Parameters({"d": Dense(2, 3)}, np.random.default_rng(0), dtype)
    assert parameters.theta.dtype == parameters.grad.dtype == dtype


def test_a_model_without_parameters_has_none() -> None:
    parameters = Parameters({"f": Stack(ReLU())}, np.random.default_rng(0))
    assert len(parameters) == parameters.theta.size == 0 and parameters.views(parameters.grad) == {}


def test_one_layer_in_two_places_is_refused() -> None:
    shared = Dense(2, 2)
    with pytest.raises(ValueError, match="'b' already stands elsewhere"):
        Parameters({"a": shared, "b": shared}, np.random.default_rng(0))
    with pytest.raises(ValueError, match="'net.1' already stands"):
        Parameters({"net": Stack(shared, shared)}, np.random.default_rng(0))


def test_the_same_generator_gives_the_same_theta() -> None:
    first, again = (network()[1].theta for _ in range(2))
    assert np.array_equal(first, again)


@settings(max_examples=40)
@given(
    D=st.integers(1, 9),
    K=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 9), max_size=3),
    variance=st.sampled_from(["fixed", "shared", "pixel"]),
)
def test_the_number_of_parameters_by_hand(D: int, K: int, hidden: list[int], variance: str) -> None:
    model = VAE(Architecture(D, K, hidden, likelihood="gaussian", variance=variance))

    def path(*widths: int) -> int:
        return sum((n + 1) * m for n, m in zip(widths, widths[1:], strict=False))

    last, first = (hidden[-1], hidden[0]) if hidden else (D, K)
    encoder = path(D, *hidden) + 2 * (last + 1) * K
    decoder = path(K, *hidden[::-1]) + (first + 1) * D
    decoder += (first + 1) * D if variance == "pixel" else 1
    assert len(model.parameters) == encoder + decoder


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_whole_and_its_own(way: Any) -> None:
    """Its layers are views of its own theta and grad: to train the copy changes the copy alone."""
    model = VAE(Architecture(6, 2, (5,)))
    model.parameters.grad += 3.0
    twin = way(model)
    layer = twin.encoder.heads["mu"]
    assert np.shares_memory(layer.W, twin.parameters.theta)
    assert np.shares_memory(layer.dW, twin.parameters.grad)
    assert not np.shares_memory(twin.parameters.theta, model.parameters.theta)
    assert np.array_equal(twin.parameters.theta, model.parameters.theta)
    assert np.array_equal(twin.parameters.grad, model.parameters.grad)
    x = np.eye(6, dtype=np.float32)
    before = model.reconstruct(x)
    twin.parameters.theta *= 2.0
    assert not np.array_equal(twin.reconstruct(x), before)
    assert np.array_equal(model.reconstruct(x), before)
