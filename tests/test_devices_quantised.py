"""The VQ-VAE on another library's arrays, on a device that refuses NumPy's; and on CuPy."""

from typing import Any

import numpy as np
import pytest
from test_devices import device, on_device1, same  # noqa: F401  # a fixture

from minivae.arrays import to_device, to_numpy
from minivae.codebook import Averages, moved, nearest
from minivae.models import (
    VQVAE,
    QuantisedArchitecture,
    TwoLevelArchitecture,
    TwoLevelVQVAE,
)
from minivae.patches import patches, whole
from minivae.training import train

assert on_device1


def test_patches_and_their_backward(device: Any) -> None:  # noqa: F811
    x = np.random.default_rng(0).normal(size=(3, 24))
    for layer in (patches((4, 6), 2, 1), whole((4, 6), 2)):
        rows = x.reshape(-1, layer.n_in // layer.rows)
        y, _ = layer.forward(rows)
        there, _ = layer.forward(to_device(rows, device))
        same(there, y, device)
        same(layer.backward(there, None), layer.backward(y, None), device)


def test_the_nearest_entry_and_the_averages(device: Any) -> None:  # noqa: F811
    rng = np.random.default_rng(1)
    z, E = rng.normal(size=(20, 3)), rng.normal(size=(6, 3))
    E[4] = E[2]
    state = Averages(E, np.full(6, 1 / 6), E / 6)
    there = Averages(*(to_device(a, device) for a in state))
    index, found = nearest(z, E), nearest(to_device(z, device), there.E)
    assert np.array_equal(to_numpy(found), index) and 4 not in index
    same(tuple(moved(there, found, to_device(z, device))), tuple(moved(state, index, z)), device)


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("levels", [1, 2])
def test_an_epoch_of_training(device: Any, codebook: str, levels: int) -> None:  # noqa: F811
    kind, shape = [
        (VQVAE, QuantisedArchitecture), (TwoLevelVQVAE, TwoLevelArchitecture),
    ][levels - 1]  # fmt: skip
    x = np.random.default_rng(2).integers(0, 2, (30, 16)).astype(float)
    models = []
    for where in ("cpu", device):
        a = shape((4, 4), 2, n_codes=5, code_size=2, hidden=(4,), activation="tanh")
        model = kind(a, dtype="float64", device=where)
        train(model, x, x[:5], epochs=2, batch_size=10, codebook=codebook, restart=0.5,
              progress=False)  # fmt: skip
        models.append(model)
    here, there = models
    same(there.parameters.theta, here.parameters.theta, device, 1e-9)
    assert np.array_equal(to_numpy(there.codes(there.array(x))), here.codes(x))
    codes = here.codes(x)
    same(there.decode(there.vectors(codes)).mean, here.decode(here.vectors(codes)).mean, device,
         1e-9)  # fmt: skip
