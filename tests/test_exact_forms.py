"""Eight forms of one bound, against loops over every code, and the laws between the bounds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.arrays import to_numpy
from minivae.exact import FORMS, DiscreteWorld, eight_forms, evidence_upper_bound, forms, iwae
from minivae.exact.forms import e_step, m_step

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 5)
SCALES = st.floats(0.0, 4.0)
PER_EXAMPLE = [form for form in FORMS.values() if form is not forms.surgery]


def world_of(seed: int, n_x: int = 5, n_z: int = 3, scale: float = 1.5) -> DiscreteWorld:
    return DiscreteWorld.random(np.random.default_rng(seed), n_x, n_z, scale)


def tables(world: DiscreteWorld) -> tuple[list[float], list[list[float]], list[list[float]], Any]:
    """p(z), p(x|z), q(z|x), data(x) as plain numbers."""
    found = (world.log_prior, world.log_likelihood, world.log_q, world.log_data)
    return tuple(np.exp(table).tolist() for table in found)  # type: ignore[return-value]


def elbo_by_loops(world: DiscreteWorld) -> list[float]:
    """sum_z q(z|x) log [ p(z) p(x|z) / q(z|x) ], with probabilities, for every x."""
    p_z, p_x, q, data = tables(world)
    return [
        math.fsum(q[x][z] * math.log(p_z[z] * p_x[x][z] / q[x][z]) for z in range(len(p_z)))
        for x in range(len(data))
    ]


def close(a: Any, b: Any) -> bool:
    return bool(np.all(np.abs(a - np.asarray(b)) <= 1e-12 * np.maximum(1.0, np.abs(b))))


# ---- the eight ----


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_eight_forms_are_one_number(seed: int, n_x: int, n_z: int, scale: float) -> None:
    world = world_of(seed, n_x, n_z, scale)
    want = math.fsum(d * v for d, v in zip(tables(world)[3], elbo_by_loops(world), strict=True))
    found = eight_forms(world)
    assert len(found) == 8 and all(type(v) is float for v in found.values())
    for name, value in found.items():
        assert close(value, want), (name, value - want)


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_seven_of_them_for_every_example(seed: int, n_x: int, n_z: int, scale: float) -> None:
    world = world_of(seed, n_x, n_z, scale)
    want = elbo_by_loops(world)
    assert len(PER_EXAMPLE) == 7
    for form in PER_EXAMPLE:
        got = form(world)
        assert got.shape == (n_x,) and close(got, want), form.__name__


def test_forms_hold_where_probabilities_underflow() -> None:
    world = world_of(0, 4, 3, scale=500.0)
    assert np.exp(world.log_q).min() == 0.0
    values = list(eight_forms(world).values())
    assert np.isfinite(values).all() and np.ptp(values) <= 1e-12 * abs(values[0])


def test_the_surgery_is_no_law_for_a_single_example() -> None:
    """There the second term is E_q(z|x) log [ q(z) / p(z) ], which can be negative."""
    world = world_of(1)
    ratio = world.log_aggregate - world.log_prior
    second = np.exp(world.log_q) @ ratio
    assert second.min() < 0.0 < world.mean(second)
    assert forms.surgery(world).shape == ()


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_the_two_pieces_of_the_surgery(seed: int, n_x: int, n_z: int, scale: float) -> None:
    """I(x; z) = H(x) + H(z) - H(x, z) by loops, and the KL in the mean is no less than it."""
    world = world_of(seed, n_x, n_z, scale)
    p_z, _, q, data = tables(world)
    q_z = [math.fsum(data[x] * q[x][z] for x in range(n_x)) for z in range(n_z)]
    joint = [data[x] * q[x][z] for x in range(n_x) for z in range(n_z)]
    entropies = [-math.fsum(p * math.log(p) for p in table) for table in (data, q_z, joint)]
    information = entropies[0] + entropies[1] - entropies[2]
    marginal = math.fsum(a * math.log(a / b) for a, b in zip(q_z, p_z, strict=True))
    reconstruction = float(world.mean(forms.expectation(world.log_q, world.log_likelihood)))
    assert close(forms.surgery(world), reconstruction - information - marginal)
    mean_kl = float(world.mean(forms.kl(world.log_q, world.log_prior)))
    assert close(mean_kl, information + marginal)
    assert information > -1e-12 and marginal > -1e-12 and mean_kl > information - 1e-12


# ---- bounds ----


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_lower_and_upper_bound(seed: int, n_x: int, n_z: int, scale: float) -> None:
    world = world_of(seed, n_x, n_z, scale)
    p_z, p_x, q, _ = tables(world)
    lower, upper = forms.jensen(world), evidence_upper_bound(world)
    for x in range(n_x):
        joint = [p_z[z] * p_x[x][z] for z in range(n_z)]
        evidence = math.fsum(joint)
        assert close(world.log_evidence[x], math.log(evidence))
        want = math.fsum(j / evidence * math.log(j / r) for j, r in zip(joint, q[x], strict=True))
        assert close(upper[x], want)
    assert (lower <= world.log_evidence + 1e-12).all()
    assert (world.log_evidence <= upper + 1e-12).all()


def test_the_kl_is_not_symmetric() -> None:
    world = world_of(2)
    down = forms.kl(world.log_q, world.log_posterior)
    up = forms.kl(world.log_posterior, world.log_q)
    assert np.abs(down - up).min() > 1e-3
    a, b = np.log([0.5, 0.5]), np.log([0.9, 0.1])
    assert math.isclose(forms.kl(a, b), 0.5 * math.log(25 / 9), rel_tol=1e-14)
    assert math.isclose(forms.kl(b, a), 0.9 * math.log(1.8) + 0.1 * math.log(0.2), rel_tol=1e-14)


@settings(max_examples=50)
@given(seed=SEEDS, n_z=st.integers(1, 4), scale=SCALES)
def test_iwae_is_the_mean_over_all_tuples(seed: int, n_z: int, scale: float) -> None:
    world = world_of(seed, 2, n_z, scale)
    p_z, p_x, q, _ = tables(world)
    for k in (1, 2, 3):
        got = iwae(world, k)
        for x in range(2):
            w = [p_z[z] * p_x[x][z] / q[x][z] for z in range(n_z)]
            want = math.fsum(
                math.prod(q[x][z] for z in codes) * math.log(sum(w[z] for z in codes) / k)
                for codes in itertools.product(range(n_z), repeat=k)
            )
            assert close(got[x], want), k


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_more_importance_samples_are_tighter(seed: int, n_x: int, n_z: int, scale: float) -> None:
    world = world_of(seed, n_x, n_z, scale)
    bounds = [forms.jensen(world), *(iwae(world, k) for k in (1, 2, 3, 4)), world.log_evidence]
    assert close(bounds[0], bounds[1])
    for loose, tight in itertools.pairwise(bounds):
        assert (loose <= tight + 1e-12).all()


def test_the_order_is_strict_where_q_is_not_the_posterior() -> None:
    world = world_of(3)
    bounds = [*(iwae(world, k) for k in (1, 2, 3)), world.log_evidence]
    for loose, tight in itertools.pairwise(bounds):
        assert (loose < tight - 1e-4).all()


@pytest.mark.parametrize("k", [0, -1])
def test_iwae_of_no_samples_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"expected k of at least 1, got {k}"):
        iwae(world_of(0), k)


# ---- EM ----


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_the_e_step_closes_every_gap(seed: int, n_x: int, n_z: int, scale: float) -> None:
    before = world_of(seed, n_x, n_z, scale)
    after = e_step(before)
    assert close(after.log_evidence, before.log_evidence)
    for bound in (forms.em_bound(after), iwae(after, 3), evidence_upper_bound(after)):
        assert close(bound, after.log_evidence)


@settings(max_examples=50)
@given(seed=SEEDS, n_x=SIZES, n_z=SIZES, scale=SCALES)
def test_each_step_of_em_climbs(seed: int, n_x: int, n_z: int, scale: float) -> None:
    world = world_of(seed, n_x, n_z, scale)
    bound = float(world.mean(forms.em_bound(world)))
    for step in (e_step, m_step, e_step):
        world = step(world)
        higher = float(world.mean(forms.em_bound(world)))
        assert higher >= bound - 1e-12
        bound = higher
    # Free tables reach the data's own distribution at once: -H(data) is the best there is.
    assert close(world.log_evidence, world.log_data)


def test_the_m_step_is_the_best_model_for_its_q() -> None:
    """Any other tables, tried at random nearby, give a lower bound; q is left alone."""
    rng = np.random.default_rng(0)
    start = world_of(4)
    best = m_step(start)
    assert np.array_equal(best.log_q, start.log_q)
    top = float(best.mean(forms.em_bound(best)))
    for _ in range(50):
        other = DiscreteWorld.from_logits(
            best.log_prior + rng.normal(0, 0.1, best.log_prior.shape),
            best.log_likelihood + rng.normal(0, 0.1, best.log_likelihood.shape),
            best.log_q,
            best.log_data,
        )
        assert float(other.mean(forms.em_bound(other))) < top


# ---- on another device ----


def test_everything_on_a_strict_device() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    there = DiscreteWorld.random(
        np.random.default_rng(5), 4, 3, device=lambda a: strict.asarray(a, device=device)
    )
    here = world_of(5, 4, 3, 1.0)
    for form in [*FORMS.values(), evidence_upper_bound, lambda w: iwae(w, 3)]:
        got = form(there)
        assert got.device == device and close(to_numpy(got), form(here))
    assert close(np.array(list(eight_forms(there).values())), list(eight_forms(here).values()))
    turned = m_step(e_step(there))
    assert close(to_numpy(turned.log_evidence), here.log_data)
