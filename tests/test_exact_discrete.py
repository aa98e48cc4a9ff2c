"""The enumerable world, against fractions worked out by hand and by plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.exact import DiscreteWorld

SEEDS = st.integers(0, 2**32 - 1)

# Two codes, three things; every number a fraction.
PRIOR = [Fraction(1, 4), Fraction(3, 4)]
GIVEN_Z = [  # p(x|z), a column a distribution
    [Fraction(1, 2), Fraction(1, 10)],
    [Fraction(1, 3), Fraction(1, 5)],
    [Fraction(1, 6), Fraction(7, 10)],
]
Q = [
    [Fraction(1, 2), Fraction(1, 2)],
    [Fraction(2, 3), Fraction(1, 3)],
    [Fraction(1, 8), Fraction(7, 8)],
]
DATA = [Fraction(1, 5), Fraction(1, 2), Fraction(3, 10)]


def log(table: Any) -> np.ndarray:
    return np.vectorize(lambda a: math.log(a))(np.array(table))


def by_hand() -> DiscreteWorld:
    return DiscreteWorld(log(PRIOR), log(GIVEN_Z), log(Q), log(DATA))


def test_every_table_of_a_small_world_in_fractions() -> None:
    world = by_hand()
    joint = [[PRIOR[z] * GIVEN_Z[x][z] for z in range(2)] for x in range(3)]
    evidence = [sum(row) for row in joint]
    assert sum(evidence) == 1
    posterior = [[a / e for a in row] for row, e in zip(joint, evidence, strict=True)]
    aggregate = [sum(DATA[x] * Q[x][z] for x in range(3)) for z in range(2)]
    for got, want in (
        (world.log_joint, joint),
        (world.log_evidence, evidence),
        (world.log_posterior, posterior),
        (world.log_aggregate, aggregate),
    ):
        assert np.allclose(np.exp(got), np.array(want, dtype=float), rtol=1e-14, atol=0)
        assert got.shape == np.shape(want)
    assert math.isclose(world.mean(np.array([1.0, 10.0, 100.0])), 0.2 + 5.0 + 30.0)


@settings(max_examples=50)
@given(seed=SEEDS, n_x=st.integers(1, 6), n_z=st.integers(1, 6), scale=st.floats(0.0, 300.0))
def test_distributions_sum_to_one_even_where_probabilities_vanish(
    seed: int, n_x: int, n_z: int, scale: float
) -> None:
    world = DiscreteWorld.random(np.random.default_rng(seed), n_x, n_z, scale)
    for table, axis in (
        (world.log_prior, 0),
        (world.log_likelihood, 0),
        (world.log_q, 1),
        (world.log_data, 0),
        (world.log_evidence, 0),
        (world.log_posterior, 1),
        (world.log_aggregate, 0),
    ):
        assert np.isfinite(table).all()
        assert np.allclose(np.exp(table).sum(axis=axis), 1.0, rtol=0, atol=1e-12)


def test_random_is_the_generator_and_the_scale() -> None:
    one = DiscreteWorld.random(np.random.default_rng(3), 4, 2)
    two = DiscreteWorld.random(np.random.default_rng(3), 4, 2)
    other = DiscreteWorld.random(np.random.default_rng(4), 4, 2)
    assert np.array_equal(one.log_q, two.log_q) and not np.array_equal(one.log_q, other.log_q)
    assert one.log_likelihood.shape == (4, 2)
    flat = DiscreteWorld.random(np.random.default_rng(3), 4, 2, scale=0.0)
    assert np.allclose(np.exp(flat.log_likelihood), 1 / 4)
    assert np.allclose(np.exp(flat.log_q), 1 / 2)
    names = ("log_prior", "log_likelihood", "log_q", "log_data")
    means = [getattr(one, name).ravel()[0] for name in names]
    assert len(set(means)) == 4  # four tables, four draws


def test_logits_are_relative() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=s) for s in ((2,), (3, 2), (3, 2), (3,))]
    one = DiscreteWorld.from_logits(*tables)
    two = DiscreteWorld.from_logits(
        tables[0] + 5.0,
        tables[1] + rng.normal(size=(1, 2)),  # a constant for a column ...
        tables[2] + rng.normal(size=(3, 1)),  # ... and for a row
        tables[3] - 7.0,
    )
    for name in ("log_prior", "log_likelihood", "log_q", "log_data"):
        assert np.allclose(getattr(one, name), getattr(two, name), rtol=0, atol=1e-13), name


@pytest.mark.parametrize("name", ["log_prior", "log_likelihood", "log_q", "log_data"])
def test_a_table_that_is_no_distribution_is_refused(name: str) -> None:
    world = by_hand()
    for change, words in (
        (0.01, "distributions"), (-0.01, "distributions"),
        (math.nan, "finite logarithms"), (-math.inf, "finite logarithms"),
    ):  # fmt: skip
        table = getattr(world, name).copy()
        table.ravel()[0] += change
        with pytest.raises(ValueError, match=f"expected {name} to hold {words}"):
            replace(world, **{name: table})


def test_a_likelihood_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected log_likelihood of shape \(X, Z\), got \(3,\)"):
        replace(by_hand(), log_likelihood=np.zeros(3))


@pytest.mark.parametrize(
    ("name", "shape"), [("log_prior", (3,)), ("log_q", (2, 3)), ("log_data", (2,))]
)
def test_tables_of_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"expected {name} of shape") as error:
        replace(by_hand(), **{name: np.zeros(shape)})
    assert str(shape) in str(error.value) and "\n" not in str(error.value)


def test_an_empty_world_is_refused() -> None:
    for sizes in ((0, 2), (2, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            DiscreteWorld.random(np.random.default_rng(0), *sizes)
