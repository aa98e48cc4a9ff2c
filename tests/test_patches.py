"""Patches: a dense layer over them is a convolution, and their backward is the transpose."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.layers import Dense, Stack
from minivae.parameters import Parameters
from minivae.patches import Gather, Shift, grid, patches, whole
from minivae.verify import layer_errors

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def bound(layer: Any, seed: int = 0) -> Parameters:
    return Parameters({"layer": layer}, np.random.default_rng(seed), "float64")


def convolution(image: np.ndarray, W: np.ndarray, b: np.ndarray, stride: int, pad: int) -> Any:
    """y[i, j, f] = b_f + sum over the window of image * W, by loops over an image in a frame."""
    height, width, _ = image.shape
    side = W.shape[0]
    framed = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    y = np.empty((height // stride, width // stride, W.shape[-1]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            window = framed[i * stride : i * stride + side, j * stride : j * stride + side]
            y[i, j] = b + np.tensordot(window, W, 3)
    return y


@settings(max_examples=60)
@given(shape=SHAPES, margin=st.integers(0, 2), filters=st.integers(1, 3), seed=st.integers(0, 999))
def test_a_dense_layer_over_patches_is_a_strided_convolution(
    shape: tuple[int, ...], margin: int, filters: int, seed: int
) -> None:
    side, down, across, channels = shape
    rng = np.random.default_rng(seed)
    image_shape, window = (side * down, side * across, channels), side + 2 * margin
    layer = Stack(patches(image_shape, side, margin), Dense(window * window * channels, filters))
    bound(layer, seed)
    dense: Any = layer.layers[1]
    dense.b[...] = rng.normal(size=filters)
    x = rng.normal(size=(2, *image_shape))
    got = layer.forward(x.reshape(2, -1))[0].reshape(2, down, across, filters)
    W = dense.W.reshape(window, window, channels, filters)
    want = [convolution(image, W, dense.b, side, margin) for image in x]
    assert np.abs(got - want).max() < 1e-12


@settings(max_examples=60)
@given(shape=SHAPES, margin=st.integers(0, 3), B=st.integers(1, 3), seed=st.integers(0, 999))
def test_the_backward_of_patches(shape: tuple[int, ...], margin: int, B: int, seed: int) -> None:
    side, down, across, channels = shape
    layer = patches((side * down, side * across, channels), side, margin)
    parameters, rng = bound(layer), np.random.default_rng(seed)
    dy = rng.normal(size=(B * down * across, layer.index.shape[1]))
    errors = layer_errors(layer, rng.normal(size=(B, layer.n_in)), dy, parameters)
    assert errors["x"] <= 1e-12


@settings(max_examples=40)
@given(reach=st.integers(0, 2), B=st.integers(1, 3), seed=st.integers(0, 999))
def test_the_neighbours_of_a_code(reach: int, B: int, seed: int) -> None:
    layer = patches((2, 3, 4), 1, reach, rows=6)
    parameters, rng = bound(layer), np.random.default_rng(seed)
    x = rng.normal(size=(B * 6, 4))
    y, _ = layer.forward(x)
    assert y.shape == (B * 6, (1 + 2 * reach) ** 2 * 4)
    middle = y.reshape(B * 6, -1, 4)[:, ((1 + 2 * reach) ** 2) // 2]
    assert np.array_equal(middle, x)
    assert layer_errors(layer, x, rng.normal(size=y.shape), parameters)["x"] <= 1e-12


@settings(max_examples=40)
@given(shape=SHAPES, B=st.integers(1, 3))
def test_whole_puts_patches_together_again(shape: tuple[int, ...], B: int) -> None:
    side, down, across, channels = shape
    image_shape = (side * down, side * across, channels)
    apart, together = patches(image_shape, side), whole(image_shape, side)
    x = np.random.default_rng(0).normal(size=(B, apart.n_in))
    rows, _ = apart.forward(x)
    assert rows.shape == (B * down * across, side * side * channels)
    first = x[0].reshape(image_shape)[:side, :side].ravel()
    assert np.array_equal(rows[0], first)
    assert np.array_equal(together.forward(rows)[0], x)
    parameters = bound(together)
    dy = np.random.default_rng(1).normal(size=x.shape)
    assert layer_errors(together, rows, dy, parameters)["x"] <= 1e-12


def test_patches_run_row_by_row_through_an_image() -> None:
    x = np.arange(16.0)[None]
    rows, _ = patches((4, 4), 2).forward(x)
    assert rows.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    framed, _ = patches((2, 2), 1, 1).forward(np.arange(1.0, 5)[None])
    assert framed[0].tolist() == [0, 0, 0, 0, 1, 2, 0, 3, 4]
    assert framed.dtype == np.float64
    assert patches((2, 2), 1, 1).forward(np.ones((1, 4), np.float32))[0].dtype == np.float32


def test_a_number_that_is_taken_nowhere_has_no_gradient() -> None:
    layer = Gather(np.array([[0, 0, -1]]), 3)
    assert layer.forward(np.array([[5.0, 6.0, 7.0]]))[0].tolist() == [[5.0, 5.0, 0.0]]
    assert layer.backward(np.array([[1.0, 2.0, 4.0]]), None).tolist() == [[3.0, 0.0, 0.0]]
    assert layer.backward(np.array([[1.0, 2.0, 4.0]]), None, need_dx=False) is None


def test_a_shift_is_a_bias_of_every_pixel() -> None:
    layer, rng = Shift(np.array([1.0, -2.0])), np.random.default_rng(3)
    parameters = bound(layer)
    x = rng.normal(size=(3, 2))
    assert np.array_equal(layer.forward(x)[0], x + [1.0, -2.0])
    errors = layer_errors(layer, x, rng.normal(size=x.shape), parameters)
    assert max(errors.values()) <= 1e-12
    assert layer.backward(x, None, need_dx=False) is None


def test_a_side_that_does_not_divide_the_image() -> None:
    assert grid((4, 6, 3), 2) == (2, 3)
    for shape, side in (((28, 28), 5), ((4, 6), 4), ((4, 6), 0), ((4, 6), -2)):
        with pytest.raises(ValueError, match=r"divides images of .* \(1, 2.*\), got " + str(side)):
            patches(shape, side)
