"""The denoising autoencoder: what it sees, what it is scored on, and its gradient."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import make_model

from minivae import Autoencoder, objectives
from minivae.arrays import to_numpy
from minivae.datasets import load_digits
from minivae.models import Architecture, DenoisingAutoencoder
from minivae.models.denoising import DAMAGES, damaged
from minivae.training import train
from minivae.verify import model_errors


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), likelihood=st.sampled_from(["bernoulli", "gaussian"]))
def test_the_gradient_with_a_damaged_input(seed: int, likelihood: str) -> None:
    rng = np.random.default_rng(seed)
    model, x, _ = make_model(Autoencoder, rng, likelihood=likelihood, activation="tanh")
    seen = rng.normal(size=x.shape)
    errors = model_errors(
        model, lambda g: objectives.reconstruction(model, x, gradient=g, seen=seen)
    )
    assert max(errors.values()) <= 1e-12, errors


def test_it_is_scored_on_the_original() -> None:
    model, x, _ = make_model(Autoencoder, np.random.default_rng(0))
    seen = 1.0 - x
    result = objectives.reconstruction(model, x, gradient=False, seen=seen)
    assert np.array_equal(result.reconstruction, model.decode(model.encode(seen)).log_prob(x))
    plain = objectives.reconstruction(model, x, gradient=False)
    assert not np.allclose(result.reconstruction, plain.reconstruction)


@pytest.mark.parametrize("how, level", [("mask", 0.6), ("salt-pepper", 0.3), ("gaussian", 2.0)])
def test_each_use_is_damaged_afresh_by_what_is_asked_for(how: str, level: float) -> None:
    x = np.random.default_rng(0).integers(0, 2, (6, 9)).astype(float)
    model = DenoisingAutoencoder(Architecture(9, 2, (4,)), dtype="float64")
    options = {"damage": how, "damage_level": level}
    got = model.objective(x, np.random.default_rng(3), False, **options)  # type: ignore[arg-type]
    seen = damaged(x, how, level, np.random.default_rng(3))
    want = objectives.reconstruction(model, x, gradient=False, seen=seen)  # scored on x itself
    assert np.array_equal(got.reconstruction, want.reconstruction)
    again = model.objective(x, np.random.default_rng(4), False, **options)  # type: ignore[arg-type]
    assert not np.array_equal(got.reconstruction, again.reconstruction)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_damages_have_their_level(dtype: Any) -> None:
    x = np.full((1000, 100), 0.5, dtype)
    masked, salted, noisy = (damaged(x, how, 0.3, np.random.default_rng(1)) for how in DAMAGES)
    error = 4 * np.sqrt(0.3 * 0.7 / x.size)
    assert abs((masked == 0.0).mean() - 0.3) < error and set(np.unique(masked)) == {0.0, 0.5}
    assert abs((salted == 0.0).mean() - 0.15) < error and abs((salted == 1).mean() - 0.15) < error
    assert set(np.unique(salted)) == {0.0, 0.5, 1.0}
    assert abs((noisy - x).std() - 0.3) < 0.01 and abs((noisy - x).mean()) < 0.01
    assert {a.dtype.name for a in (masked, salted, noisy)} == {dtype}
    assert all(np.array_equal(damaged(x, how, 0.0, np.random.default_rng(1)), x) for how in DAMAGES)


@pytest.mark.parametrize(
    "damage, level, message",
    [
        ("rain", 0.1, "damage one of mask, salt-pepper, gaussian; got 'rain'"),
        ("mask", 1.5, "damage_level from 0 to 1, got 1.5"),
        ("gaussian", -1.0, "damage_level from 0 to inf, got -1.0"),
        ("gaussian", float("inf"), "got inf"),
    ],
)
def test_bad_damages(damage: str, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", "\\(")):
        damaged(np.zeros((1, 2)), damage, level, np.random.default_rng(0))


def test_it_repairs_better_than_one_that_never_saw_damage() -> None:
    digits = load_digits()
    x, test = digits.train.x, digits.test.x[:200]
    hurt = damaged(test, "mask", 0.4, np.random.default_rng(5))
    errors = []
    for kind, options in ((Autoencoder, {}), (DenoisingAutoencoder, {"damage_level": 0.4})):
        model = kind(Architecture(64, 16, (64,), likelihood="gaussian"), x.mean(axis=0))
        train(model, x, test, epochs=30, batch_size=50, progress=False, **options)
        errors.append(float(np.mean((model.reconstruct(hurt) - test) ** 2)))
    assert errors[1] < 0.75 * errors[0]


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_the_same_on_a_device_that_refuses_numpy(how: str) -> None:
    strict = pytest.importorskip("array_api_strict")
    x = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    there = strict.asarray(x, device=strict.Device("device1"))
    got = damaged(there, how, 0.4, np.random.default_rng(1))
    assert got.device == there.device and got.dtype == strict.float32
    assert np.array_equal(to_numpy(got), damaged(x, how, 0.4, np.random.default_rng(1)))
