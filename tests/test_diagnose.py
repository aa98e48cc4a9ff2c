"""`diagnose` is right on runs that were made to be what they are; and its evidence is exact."""

from __future__ import annotations

import functools
import json
import math
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import (
    SGD,
    VAE,
    Adam,
    Architecture,
    Autoencoder,
    binarise,
    binarise_splits,
    load_digits,
    runs,
    smoothed_mean,
    train,
)
from minivae.cli import diagnose as command
from minivae.cli import main, parser
from minivae.cli.options import complete
from minivae.cli.train import _config
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.evaluation import Estimate
from minivae.exact import Spectrum, as_vae, best_decoder, expected_elbo
from minivae.lab import advice
from minivae.lab import diagnose as lab
from minivae.lab.advice import COLLAPSED, HEALTHY, PARTLY, UNCLEAR, UNFINISHED
from minivae.lab.collapse_models import with_dead_units
from minivae.lab.diagnose import Diagnosis, diagnose
from minivae.lab.evidence import (
    Drawn,
    Heard,
    drawn,
    fitting_variance,
    heard,
    spare_latent,
    without_code,
)
from minivae.schedules import Cosine

# ---- twelve runs, made to be collapsed, partly collapsed and healthy ----

DIGITS = binarise_splits(load_digits(), "new")
GREY = load_digits()
BLACK = binarise(DIGITS.train.x, "fixed", np.random.default_rng(776))
HELD = np.concatenate([DIGITS.test.x, DIGITS.valid.x])
GREY_HELD = np.concatenate([GREY.test.x, GREY.valid.x])
LINEAR = {"hidden": (), "likelihood": "gaussian", "variance": "fixed"}


class Made(NamedTuple):
    """A run as `diagnose` gets it."""

    model: VAE
    train_x: np.ndarray
    held_x: np.ndarray
    training: dict[str, Any]
    history: list[dict[str, float]]

    def diagnosis(self) -> Diagnosis:
        x, held = self.train_x[:600], self.held_x[:300]
        return diagnose(self.model, x, held, self.training, self.history)


@functools.cache
def made(
    latent: int = 10, epochs: int = 15, rate: float = 3e-3, hidden: tuple[int, ...] = (64,),
    warm_up: int = 0, kl_weight: float = 1.0, free_bits: float = 0.0, **architecture: Any,
) -> Made:  # fmt: skip
    """A run on the digits, really trained."""
    options = Architecture(64, latent, hidden, **architecture)
    grey = options.likelihood != "bernoulli"
    data = GREY if grey else DIGITS
    model = VAE(options, smoothed_mean(data.train.x))
    steps = -(-len(data.train) // 64)
    schedule = (lambda step: min(1.0, step / (warm_up * steps))) if warm_up else None
    history = train(
        model, data.train.x, data.valid.x, epochs=epochs, batch_size=64, optimizer=Adam(rate),
        kl_schedule=schedule, kl_weight=kl_weight, free_bits=free_bits, progress=False,
        binarisation="none" if grey else "new",
    )  # fmt: skip
    asked = {"kl_weight": kl_weight, "free_bits": free_bits, "epochs": epochs}
    x, held = (GREY.train.x, GREY_HELD) if grey else (BLACK, HELD)
    return Made(model, x, held, asked, history.rows)


def edited(run: Made, edit: Any) -> Made:
    """The same run with other parameters."""
    twin = run.model.twin()
    edit(twin.parameters.views(twin.parameters.theta))
    return run._replace(model=twin)


def linear(latent: int, epochs: int = 30, **options: Any) -> Made:
    return made(latent, epochs, rate=1e-2, **LINEAR, **options)


def deafened(run: Made, rows: Any) -> Made:
    def edit(view: dict[str, np.ndarray]) -> None:
        view["decoder.trunk.0.W"][rows] = 0.0

    return edited(run, edit)


def dead() -> Made:
    run = made(epochs=40)
    return run._replace(model=with_dead_units(run.model.twin()))


def factors(latent: int = 8, epochs: int = 80) -> Made:
    """A linear VAE on data with three factors: five of its latents have nothing to say."""
    rng = np.random.default_rng(5)
    W = 0.6 * np.linalg.qr(rng.standard_normal((12, 3)))[0].T * np.array([[3.0], [2.0], [1.5]])
    x = rng.standard_normal((900, 3)) @ W + 0.3 * rng.standard_normal((900, 12))
    x = x.astype(np.float32)
    shape = Architecture(12, latent, sigma=0.4, **LINEAR)  # type: ignore[arg-type]
    model = VAE(shape, x[:600].mean(axis=0))
    history = train(
        model, x[:600], x[600:], epochs=epochs, batch_size=60, optimizer=Adam(5e-2),
        learning_rate_schedule=Cosine(10 * epochs), progress=False,
    )  # fmt: skip
    return Made(model, x[:600], x[600:], {"epochs": epochs}, history.rows)


RUNS: dict[str, tuple[Any, str, str | None]] = {
    "the KL weighs 10 times": (lambda: made(kl_weight=10.0), COLLAPSED, "kl-weight"),
    "sigma = 1 on grey pixels": (lambda: linear(10, sigma=1.0), COLLAPSED, "variance"),
    "the decoder's units are dead": (dead, COLLAPSED, "decoder"),
    "five layers, no warm-up": (lambda: made(hidden=(64,) * 5), COLLAPSED, "stuck"),
    "the KL weighs 5 times": (lambda: linear(10, sigma=0.22, kl_weight=5.0), PARTLY, "kl-weight"),
    "sigma = 0.5": (lambda: linear(10, sigma=0.5), PARTLY, "variance"),
    "six of ten rows are zero": (lambda: deafened(made(epochs=40), slice(6)), PARTLY, "decoder"),
    "five layers, half a warm-up": (
        lambda: made(hidden=(64,) * 5, epochs=30, warm_up=15), PARTLY, "stuck",
    ),
    "one layer": (lambda: made(epochs=40), HEALTHY, None),
    "eight latents, and three factors": (lambda: factors(), HEALTHY, None),
    "too few latents are no collapse": (lambda: made(2, epochs=30), HEALTHY, None),
    "a learned variance": (
        lambda: made(5, 20, likelihood="gaussian", activation="tanh"), HEALTHY, None,
    ),
}  # fmt: skip


@functools.cache
def diagnosed(name: str) -> Diagnosis:
    return RUNS[name][0]().diagnosis()


@pytest.mark.parametrize("name", RUNS)
def test_twelve_runs_are_what_they_were_made_to_be(name: str) -> None:
    _, verdict, cause = RUNS[name]
    found = diagnosed(name)
    assert (found.verdict, found.cause) == (verdict, cause), found.sentence


def test_the_twelve_are_four_of_a_kind_and_four_causes() -> None:
    verdicts = [verdict for _, verdict, _ in RUNS.values()]
    assert [verdicts.count(v) for v in (COLLAPSED, PARTLY, HEALTHY)] == [4, 4, 4]
    causes = {cause for _, _, cause in RUNS.values()} - {None}
    assert causes == {"kl-weight", "variance", "decoder", "stuck"}


def test_silent_latents_that_could_not_pay_are_no_disease() -> None:
    found = diagnosed("eight latents, and three factors")
    assert found.used.sum() == 3 and found.silent.sum() == 5
    assert "the other 5 have nothing to say that would pay" in found.sentence
    assert not found.changes


def test_every_latent_has_one_state_and_a_sick_run_has_advice() -> None:
    for name in RUNS:
        found = diagnosed(name)
        states = np.stack([found.used, found.silent, found.unheard]).astype(int)
        assert (states.sum(axis=0) == 1).all()
        assert bool(found.changes) == (found.verdict != HEALTHY)
        assert found.sentence.startswith(found.verdict) and "\n" not in found.sentence


def test_a_dead_decoder_is_told_by_a_kl_that_nobody_hears() -> None:
    found = diagnosed("the decoder's units are dead")
    assert found.unheard.all() and found.usage.kl.sum() > 2.0
    assert found.heard.together.mean == 0.0
    assert found.surgery.mutual_information.mean > 2.0  # the encoder does speak


def test_the_notes_say_what_is_no_collapse() -> None:
    few, dead = (
        diagnosed(name).notes
        for name in ("too few latents are no collapse", "the decoder's units are dead")
    )
    assert any("too few latents" in note for note in few)
    assert any("independent pixels" in note for note in dead)


def test_a_run_before_its_first_step_is_untrained() -> None:
    run = made(epochs=40)
    fresh = VAE(run.model.architecture, smoothed_mean(BLACK))
    found = diagnose(fresh, BLACK[:300], HELD[:300], run.training, [])
    assert (found.verdict, found.cause) == (COLLAPSED, "untrained")
    assert found.changes == {"epochs": 40}


def test_one_epoch_of_five_layers_is_brief() -> None:
    run = made(hidden=(64,) * 5, epochs=2, rate=1e-3)
    found = run.diagnosis()
    assert (found.verdict, found.cause) == (COLLAPSED, "brief") and found.changes == {"epochs": 8}


def test_noise_has_nothing_to_say_and_is_rightly_not_encoded() -> None:
    rng = np.random.default_rng(3)
    x = (rng.random((900, 8)) < rng.random(8)).astype(np.float32)
    model = VAE(Architecture(8, 2, (8,)), smoothed_mean(x[:500]))
    history = train(model, x[:500], x[500:], epochs=15, optimizer=Adam(1e-2), progress=False)
    found = diagnose(model, x[:500], x[500:], {"epochs": 15}, history.rows)
    assert (found.verdict, found.cause) == (COLLAPSED, "nothing") and not found.changes
    assert "rightly so" in found.sentence


def test_a_rising_bound_is_told_from_a_flat_one() -> None:
    flat = [{"train_elbo": -9.0, "valid_elbo": -9.0 - 0.1 * (e % 2)} for e in range(8)]
    rising = [{"train_elbo": -9.0, "valid_elbo": -9.0 + 0.2 * e} for e in range(8)]
    assert not lab.still_rising(flat) and lab.still_rising(rising) and lab.still_rising(flat[:3])
    assert lab.still_rising([{"train_elbo": row["valid_elbo"]} for row in rising])
    assert not lab.still_rising(rising[::-1])


def test_free_bits_that_are_not_heard_are_noted_and_not_called_a_collapse() -> None:
    run = deafened(made(epochs=40), slice(2))
    kl = run.diagnosis().usage.kl[:2].max()
    training = {**run.training, "free_bits": float(kl)}
    found = run._replace(training=training).diagnosis()
    assert any("a KL that was bought" in note for note in found.notes)


@pytest.mark.parametrize("bad", [0, 1])
def test_one_example_is_not_enough(bad: int) -> None:
    run = made(epochs=40)
    data = [run.train_x[:5], run.held_x[:5]]
    data[bad] = data[bad][:1]
    with pytest.raises(ValueError, match="at least 2 examples"):
        diagnose(run.model, *data)


@given(
    cause=st.sampled_from([c for c in advice.CAUSES if c not in ("untrained", "nothing")]),
    kl_weight=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    free_bits=st.sampled_from([0.0, 0.1, 0.5, 3.0]),
    schedule=st.sampled_from(["constant", "linear:epochs=5", "cyclical:cycles=4"]),
    variance=st.sampled_from(["fixed", "shared"]),
)  # fmt: skip
def test_advice_is_never_in_force_already_and_never_weaker(
    cause: str, kl_weight: float, free_bits: float, schedule: str, variance: str
) -> None:
    asked = {"kl_weight": kl_weight, "free_bits": free_bits, "kl_schedule": schedule,
             "variance": variance, "epochs": 12, "seed": 2}  # fmt: skip
    given_ = advice.changes(cause, asked)
    assert given_ and all(asked.get(name) != value for name, value in given_.items())
    assert given_.get("kl_weight", 0.0) <= kl_weight
    assert given_.get("free_bits", math.inf) > free_bits


@pytest.mark.parametrize("n", [2, 6])
def test_a_healthy_run_and_few_images_are_no_collapse(n: int) -> None:
    run = made(epochs=40)
    found = diagnose(run.model, run.train_x[:300], HELD[:n], run.training, run.history)
    assert found.verdict in (UNCLEAR, HEALTHY) and not found.changes
    assert found.verdict == HEALTHY or "too few held-out examples to tell" in found.sentence


def test_a_fall_that_is_lost_in_its_error_is_no_collapse() -> None:
    """Values in the hundreds: the code is heard by 10,000 nats, give or take 20,000."""
    case = {
        "used": np.ones(10, bool), "unheard": np.zeros(10, bool), "silent": np.zeros(10, bool),
        "usage": diagnosed("one layer").usage, "surgery": diagnosed("one layer").surgery,
        "spare": diagnosed("one layer").spare, "gain": Estimate(5.0, 0.1), "rising": False,
    }  # fmt: skip
    for mean, error, verdict in (
        (1e4, 2e4, UNCLEAR), (4.4, 1.65, UNCLEAR), (0.0, 0.05, COLLAPSED), (0.0, 0.0, COLLAPSED),
        (0.3, 0.2, COLLAPSED), (6.3, 0.3, HEALTHY),
    ):  # fmt: skip
        found = lab._verdict({**case, "heard": Heard(Estimate(mean, error), None, None)}, {})
        assert found == verdict, (mean, error)  # its KL is about 7 nats
    silent = {**case, "silent": np.ones(10, bool), "heard": Heard(Estimate(1e4, 2e4), None, None)}
    assert lab._verdict(silent, {}) == COLLAPSED


def test_a_variance_that_is_too_large_is_not_a_deaf_decoder() -> None:
    run = made(3, 4, 1e-5, (32,), likelihood="gaussian", variance="fixed", sigma=5.0)
    found = run.diagnosis()
    assert (found.verdict, found.cause) == (COLLAPSED, "variance")
    assert found.changes == {"variance": "shared"}


def test_paid_for_and_not_heard_while_the_bound_rises_is_brief() -> None:
    run = edited(made(epochs=40), lambda view: view["decoder.trunk.0.W"].__imul__(1e-3))
    rising = [{"valid_elbo": -20.0 + e} for e in range(8)]
    assert not lab.deaf_to(run.model).any()
    found = run._replace(history=rising).diagnosis()
    assert (found.verdict, found.cause, found.rising) == (COLLAPSED, "brief", True)
    assert "learning_rate" not in found.changes
    assert run._replace(history=[{"valid_elbo": -20.0}] * 8).diagnosis().cause == "stuck"


def test_a_model_worse_than_no_code_that_still_learns_is_not_healthy() -> None:
    run = made(5, 10, 1e-3, **LINEAR, sigma=0.3)
    found = run.diagnosis()
    assert found.gain.mean < -1.0 and found.rising
    assert (found.verdict, found.cause) == (UNFINISHED, "brief") and found.changes == {"epochs": 40}
    assert found.sentence.startswith("not trained to the end: 5 of 5 latents are used")
    assert not any("too few latents" in note for note in found.notes)
    done = run._replace(history=run.history[-1:] * 8).diagnosis()
    assert done.verdict == HEALTHY and any("independent pixels" in note for note in done.notes)


def test_few_epochs_of_a_healthy_run_are_noted() -> None:
    run = made(2, epochs=30)
    rising = run._replace(history=[{"valid_elbo": -20.0 + e} for e in range(8)]).diagnosis()
    assert rising.verdict == HEALTHY and not rising.changes
    assert "not trained to the end: the bound was still rising" in rising.notes
    assert any(note.endswith("too few latents, or too little training") for note in rising.notes)


def test_a_kl_weight_of_0_is_the_limit_of_small_ones() -> None:
    rng = np.random.default_rng(1)
    x, logits = (rng.random((40, 5)) < 0.5).astype(float), rng.standard_normal((2, 40, 5))
    data = Drawn(x, Bernoulli(logits))
    none, little = spare_latent(data, data, 0.0), spare_latent(data, data, 1e-7)
    assert none.ratio == math.inf and np.allclose(none.direction, little.direction)
    assert math.isclose(none.worth.mean, little.worth.mean, rel_tol=1e-4)
    run = made(epochs=40)
    found = run._replace(training={**run.training, "kl_weight": 0.0}).diagnosis()
    assert found.verdict == HEALTHY and found.priced.ratio == math.inf
    assert json.loads(json.dumps(command.as_json(found, None)))["price_ratio"] is None


# ---- the evidence, against what is known exactly ----


def at_means(model: VAE, x: np.ndarray) -> Drawn:
    """The outputs at the mean codes: with a linear decoder E_q of the score is the score there."""
    pixels = model.decode(model.means(x))
    return Drawn(x, Gaussian(pixels.mu[None], pixels.logvar[None]))


def test_a_spare_latent_in_a_linear_world_is_worth_what_the_theory_says() -> None:
    """1/2 [ l/t - 1 - log(l/t) ] times beta, with l the variance of the best line left."""
    x = GREY.train.x[:1000].astype(np.float64)
    x = x - x.mean(axis=0)
    spectrum = Spectrum.of(x)
    for beta, variance in ((1.0, 0.05), (3.0, 0.05), (0.5, 0.2), (1.0, 0.6)):
        level = beta * variance
        used = min(3, int((spectrum.eigenvalues > level).sum()))
        model = as_vae(best_decoder(spectrum, 3, variance, beta), beta)
        data = at_means(model, x)
        l = spectrum.eigenvalues.copy()
        l[:used] = level**2 / l[:used]  # what the mean code leaves of a direction that is told
        k = int(np.argmax(l))
        found, ratio = spare_latent(data, data, beta), l[k] / level
        worth = beta * 0.5 * (ratio - 1.0 - math.log(ratio)) if ratio > 1.0 else 0.0
        assert math.isclose(found.ratio, ratio, rel_tol=1e-6)
        assert math.isclose(found.worth.mean, worth, rel_tol=1e-6, abs_tol=1e-6)
        assert math.isclose(abs(found.direction @ spectrum.axes[k]), 1.0, rel_tol=1e-6)
        assert (used < 3) == (ratio < 1.0) == (level > 0.5)  # both kinds were seen


def test_what_a_spare_latent_is_worth_is_reached_by_a_model_that_has_it() -> None:
    """The linear VAE with one latent more has a bound higher by just that, on other images."""
    x = GREY.train.x.astype(np.float64)
    mean = x[:900].mean(axis=0)
    train_x, held = x[:900] - mean, x[900:] - mean
    spectrum = Spectrum.of(train_x)
    three, four = (as_vae(best_decoder(spectrum, K, 0.05, 1.0)) for K in (3, 4))
    found = spare_latent(at_means(three, train_x), at_means(three, held))
    bounds = [expected_elbo(m, held, gradient=False).elbo for m in (three, four)]
    assert math.isclose(found.worth.mean, (bounds[1] - bounds[0]).mean(), rel_tol=1e-6)


@pytest.mark.parametrize("kind", ["bernoulli", "continuous-bernoulli"])
def test_a_spare_latent_pays_in_logits_too(kind: str) -> None:
    """Pixels that go together: a latent pays.  Pixels that do not: it does not."""
    rng = np.random.default_rng(0)
    model = VAE(Architecture(6, 1, (), likelihood=kind), np.full(6, 0.5), dtype="float64")
    model.parameters.views(model.parameters.theta)[
        "decoder.logits" + (".0" if kind == "continuous-bernoulli" else "") + ".W"
    ][...] = 0.0
    one, alone = rng.random((800, 1)), rng.random((800, 6))
    shared = 0.9 * np.repeat(one, 6, axis=1) + 0.1 * rng.random((800, 6))
    if kind == "bernoulli":
        shared, alone = shared < 0.5, alone < 0.5
    for x, pays in ((shared, True), (alone, False)):
        data = drawn(model, x[:400].astype(float)), drawn(model, x[400:].astype(float))
        found = spare_latent(*data)
        assert (found.worth.mean > 0.5) == pays and (found.ratio > 2.0) == pays
        if pays:
            assert np.allclose(np.abs(found.direction), 1 / math.sqrt(6), atol=0.1)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), beta=st.floats(0.3, 4.0))
def test_the_ratio_is_in_units_of_the_price(seed: int, beta: float) -> None:
    rng = np.random.default_rng(seed)
    x, logits = (rng.random((30, 5)) < 0.5).astype(float), rng.standard_normal((2, 30, 5))
    data = Drawn(x, Bernoulli(logits))
    one, other = spare_latent(data, data), spare_latent(data, data, beta)
    assert math.isclose(one.ratio, beta * other.ratio, rel_tol=1e-9)
    assert math.isclose(np.linalg.norm(one.direction), 1.0, rel_tol=1e-9)


@pytest.mark.parametrize("make", [Bernoulli, ContinuousBernoulli, "gaussian"])
def test_the_precision_is_minus_the_slope_of_the_score(make: Any) -> None:
    rng = np.random.default_rng(0)
    a, x, h = rng.standard_normal((2, 7, 3)), rng.random((7, 3)), 1e-5
    kind = (lambda v: Gaussian(v, np.full_like(v, -0.7))) if make == "gaussian" else make
    up, down = (Drawn(x, kind(a + side * h)).score() for side in (1, -1))
    want = -(up - down) / (2 * h)
    assert np.allclose(Drawn(x, kind(a)).precision(), want, rtol=1e-6, atol=1e-8)


def test_directions_are_found_where_there_are_more_pixels_than_examples() -> None:
    rng = np.random.default_rng(0)
    logits = np.zeros((1, 6, 40))
    x = (rng.random((6, 40)) < 0.5).astype(float)
    wide = spare_latent(Drawn(x, Bernoulli(logits)), Drawn(x, Bernoulli(logits))).direction
    top = np.linalg.svd(x - 0.5)[2][0]
    assert math.isclose(abs(wide @ top), 1.0, rel_tol=1e-9)


def test_exchanged_codes_are_those_of_another_and_cost_what_they_cost() -> None:
    z = np.arange(5.0)[:, None] * np.array([1.0, 0.0])
    seen: list[np.ndarray] = []

    def log_px(codes: np.ndarray) -> np.ndarray:
        seen.append(codes)
        return -((codes - z) ** 2).sum(axis=1)

    found = heard(log_px, z, seed=4)
    own, first, second, together = seen
    assert np.array_equal(own, z) and np.array_equal(second, z) and np.array_equal(first, together)
    assert sorted(first[:, 0]) == sorted(z[:, 0]) and (first[:, 0] != z[:, 0]).all()
    falls = ((first - z) ** 2).sum(axis=1)
    assert found.each.tolist() == [falls.mean(), 0.0] and found.together.mean == falls.mean()
    assert math.isclose(found.error[0], falls.std(ddof=1) / math.sqrt(5)) and found.error[1] == 0
    with pytest.raises(ValueError, match="at least 2 examples"):
        heard(log_px, z[:1])


def test_each_latent_is_exchanged_alone() -> None:
    z, weight = np.random.default_rng(0).standard_normal((50, 3)), np.array([0.0, 1.0, 2.0])
    found = heard(lambda codes: -np.abs(codes - z) @ weight, z)
    assert found.each[0] == 0.0 and found.each[1] > 0.5 and found.each[2] > 1.5
    assert math.isclose(found.together.mean, found.each.sum(), rel_tol=1e-9)


def test_without_a_code_are_independent_pixels_with_the_variance_that_fits() -> None:
    x = np.random.default_rng(0).random((50, 4)).astype(np.float32) * np.array([1, 0.5, 0.2, 0.1])
    black = (x > 0.3).astype(np.float32)
    coin = without_code(VAE(Architecture(4, 2, (3,), "sigmoid")), black)
    assert np.allclose(coin.mean, smoothed_mean(black), rtol=1e-6)
    spread = x.var(axis=0)
    wanted = {"fixed": 0.09, "shared": spread.mean(), "pixel": np.maximum(spread, math.exp(-6))}
    for variance, want in wanted.items():
        shape = Architecture(4, 2, (3,), likelihood="gaussian", variance=variance, sigma=0.3)
        found = without_code(VAE(shape), x)
        assert np.allclose(found.mean, x.mean(axis=0), atol=1e-6)
        assert np.allclose(np.exp(found.logvar), want, rtol=1e-5)
    grey = without_code(VAE(Architecture(4, 2, (3,), likelihood="continuous-bernoulli")), x)
    assert np.allclose(grey.mean[0, :2], smoothed_mean(x)[:2], rtol=1e-3)


def test_the_fitting_variance_is_the_squared_error_under_q() -> None:
    run = made(5, 20, likelihood="gaussian", activation="tanh")
    data = drawn(run.model, run.train_x[:200])
    want = ((data.x - data.pixels.mean) ** 2).mean()
    assert math.isclose(fitting_variance(run.model, data), want)
    moved = data.with_variance(0.7)
    assert np.allclose(moved.pixels.logvar, math.log(0.7)) and data.with_variance(None) is data
    coin = made(epochs=40)
    assert fitting_variance(coin.model, drawn(coin.model, coin.held_x[:9])) is None


def test_a_latent_whose_row_is_zero_is_one_that_the_decoder_is_deaf_to() -> None:
    run = deafened(made(epochs=40), [1, 4])
    assert np.flatnonzero(lab.deaf_to(run.model)).tolist() == [1, 4]
    assert not lab.deaf_to(made(kl_weight=10.0).model).any()  # hard of hearing is not deaf


# ---- the command ----


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


TRAIN = ["train", "--out", "run", "--epochs", "2", "--hidden", "16", "--latent", "3"]


def test_the_command_on_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--kl-weight", "20", "--learning-rate", "0.01", "--epochs", "5"]) == 0
    capsys.readouterr()
    assert main(["diagnose", "run", "--json", "d.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("run: collapsed: the decoder ignores its code; the KL weight")
    assert "500 held-out images" in out and "nats per image" in out
    line = next(line for line in out.splitlines() if line.startswith("try: "))
    args = parser().parse_args(shlex.split(line.removeprefix("try: minivae ")))
    assert (args.latent, args.hidden, args.epochs) == (3, [16], 5)
    assert args.kl_weight is None and args.model == "vae"  # not said: so it is 1
    assert args.learning_rate == 0.01 and args.out is None and args.seed == 0
    found = json.loads(Path("d.json").read_text())
    assert found["verdict"] == COLLAPSED and found["cause"] == "kl-weight"
    assert found["try"] == line.removeprefix("try: ") and len(found["kl_per_latent"]) == 3
    assert main(["diagnose", "run", "--json", "d.json"]) == 2  # nothing is overwritten
    assert "exists already" in capsys.readouterr().err


def test_the_advice_is_a_command_with_the_options_of_the_run() -> None:
    """What is not the default is repeated; the parser gives back the same training."""
    given = shlex.split(
        "train --data 'my data.npy' --hidden 9 8 --latent 3 --likelihood gaussian --variance fixed "
        "--sigma 0.5 --kl-weight 3 --optimizer sgd --momentum 0.5 --learning-rate 0.1 --seed 4 "
        "--clip 1.5"
    )
    args = parser().parse_args(given)
    complete(args)
    config = _config(args, 7)
    config["data"]["name"] = "my data.npy"
    config["training"]["optimizer"] = SGD(0.1, 0.5).settings()
    config["architecture"] = asdict(Architecture(5, 3, (9, 8), "relu", "gaussian", "fixed", 0.5))
    config["dtype"] = "float32"
    again = parser().parse_args(["train", *command.train_options(config, {"variance": "shared"})])
    complete(again)
    kept = {k: v for k, v in vars(args).items() if k not in ("variance", "validation")}
    assert {k: vars(again)[k] for k in kept} == kept
    assert (again.variance, again.validation) == ("shared", 7)


def test_the_advice_for_short_training_goes_on_with_the_run() -> None:
    found = replace(diagnosed("one layer"), cause="brief", changes={"epochs": 8})
    line = command.advice(found, "a run", {"training": {}})
    assert line == "minivae train --resume 'a run' --epochs 8"
    assert command.advice(diagnosed("one layer"), "run", {"training": {}}) is None


def saved(name: str, model: Any, kind: str) -> None:
    folder = Path(name)
    folder.mkdir()
    data = {"name": "digits", "validation": 250, "binarisation": "new"}
    runs.save(folder, model, {"model": kind, "data": data})


def test_an_autoencoder_has_no_posterior(capsys: pytest.CaptureFixture[str]) -> None:
    saved("ae", Autoencoder(Architecture(64, 2, (8,))), "ae")
    assert main(["diagnose", "ae"]) == 2
    assert "no posterior" in capsys.readouterr().err


def test_a_model_without_a_history_is_diagnosed_without_advice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved("bare", with_dead_units(made(epochs=40).model.twin()), "vae")
    assert main(["diagnose", "bare"]) == 0
    out = capsys.readouterr().out
    assert "the decoder does not listen" in out and "not heard" in out


def test_what_to_try_depends_on_what_was_done() -> None:
    assert advice.changes("stuck", {"epochs": 9}) == {"kl_schedule": "linear:epochs=4"}
    had = {"epochs": 9, "kl_schedule": "linear:epochs=4"}
    assert advice.changes("stuck", had) == {"free_bits": 0.1}
    done = {"seed": 3, "optimizer": {"learning_rate": 0.03}}
    assert advice.changes("decoder", done) == {"learning_rate": 0.01, "seed": 4}
    both = {"kl_weight": 3.0, "variance": "fixed"}
    assert advice.changes("both", both) == {"kl_weight": 1.0, "variance": "shared"}
    assert advice.changes("nothing", {}) == advice.changes(None, {}) == {}
    assert advice.changes("stuck", {**had, "free_bits": 0.5}) == {"free_bits": 1.0}
    assert advice.changes("stuck", {"free_bits": 0.1}) == {"free_bits": 0.2}
    assert advice.changes("stuck", {"free_bits": 2.0, "seed": 7}) == {"seed": 8}
    assert advice.changes("variance", {"epochs": 5, "variance": "shared"}) == {"epochs": 20}
    assert advice.changes("both", {"kl_weight": 0.5, "variance": "fixed"}) == {"variance": "shared"}
    slow = {"optimizer": {"learning_rate": 1e-5}}
    assert advice.changes("decoder", slow) == {"seed": 1}
    assert set(advice.CAUSES) >= {"untrained", "brief", "decoder", "kl-weight", "variance", "both"}
