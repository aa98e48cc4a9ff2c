"""The collapse laboratory: what it trains is what it says, and what it says is what it saw."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import make_model, record

from minivae import (
    VAE,
    Adam,
    Architecture,
    binarise_splits,
    load_digits,
    objectives,
    plots,
    smoothed_mean,
    train,
)
from minivae.cli import collapse_lab, main
from minivae.evaluation import Estimate
from minivae.lab import collapse
from minivae.lab.collapse import CAUSES, CURES, Climb, Cure, Look, Result, Setting, experiment
from minivae.lab.collapse_models import (
    Beside,
    Objective,
    ShortcutVAE,
    WithShortcut,
    log_px,
    with_dead_units,
)
from minivae.lab.collapse_results import as_json, from_json, is_heard, table, verdict
from minivae.layers import Dense
from minivae.parameters import Parameters
from minivae.schedules import Cyclical, LinearWarmUp
from minivae.verify import model_errors

DIGITS = binarise_splits(load_digits(), "new")
FEW = replace(
    DIGITS,
    train=replace(DIGITS.train, x=DIGITS.train.x[:150], y=DIGITS.train.y[:150]),
    valid=replace(DIGITS.valid, x=DIGITS.valid.x[:30], y=DIGITS.valid.y[:30]),
    test=replace(DIGITS.test, x=DIGITS.test.x[:30], y=DIGITS.test.y[:30]),
)
SMALL = Setting(latent=3, epochs=2, looks=2)
SEEDS = st.integers(0, 2**32 - 1)


# ---- a floor under the KL of all latents together ----


@settings(max_examples=25)
@given(seed=SEEDS, B=st.integers(1, 4), share=st.floats(0.3, 1.7), free=st.floats(0.0, 1.2))
def test_the_gradient_with_both_floors(seed: int, B: int, share: float, free: float) -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(seed), B, latent=3)
    kl_bar = objectives.elbo(model, x, eps, gradient=False).kl.mean(axis=0)
    free = free * float(np.median(kl_bar)) + 2e-3
    while np.abs(kl_bar - free).min() < 1e-3:
        free += 3e-3
    charged = np.maximum(kl_bar, free).sum()
    floor = float(charged) * (share if abs(share - 1.0) > 0.05 else 1.1)
    loss = lambda g: objectives.elbo(model, x, eps, 0.7, free, g, floor)  # noqa: E731
    record("VAE with floors", model_errors(model, loss))
    want = 0.7 * max(floor, float(charged)) - loss(False).reconstruction.mean()
    assert math.isclose(loss(False).loss, want, rel_tol=1e-12)


def grad_of(**options: float) -> np.ndarray:
    model, x, eps = make_model(VAE, np.random.default_rng(0), latent=3)
    objectives.elbo(model, x, eps, **options)
    return model.parameters.grad.copy()


def test_below_the_floor_the_kl_does_not_pull_and_above_it_does_whole() -> None:
    assert np.array_equal(grad_of(kl_floor=1e3, kl_weight=3.0), grad_of(kl_weight=0.0))
    assert np.array_equal(grad_of(kl_floor=1e-9), grad_of())


def test_exactly_at_the_floor_the_slope_is_taken_as_zero() -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(0), latent=3)
    total = float(objectives.elbo(model, x, eps, gradient=False).kl.mean(axis=0).sum())
    assert np.array_equal(grad_of(kl_floor=total), grad_of(kl_weight=0.0))


def test_the_floor_never_reaches_what_is_reported() -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(0))
    plain, floored = (
        objectives.elbo(model, x, eps, kl_floor=floor, gradient=False) for floor in (0.0, 50.0)
    )
    assert np.array_equal(plain.elbo, floored.elbo) and floored.loss > plain.loss
    assert floored.loss.dtype == x.dtype


# ---- the shortcut ----


def shortcut(rng: np.random.Generator, B: int = 3, S: int = 2) -> tuple[Any, Any, Any]:
    model = ShortcutVAE(
        WithShortcut(4, 2, (5,), "tanh"), dtype="float64", seed=int(rng.integers(9))
    )
    model.parameters.theta += 0.2 * rng.standard_normal(len(model.parameters))
    x = (rng.random((B, 4)) < 0.5).astype(float)
    return model, x, rng.standard_normal((S, B, 2))


@settings(max_examples=15)
@given(seed=SEEDS, B=st.integers(1, 3), S=st.integers(1, 3))
def test_the_gradient_of_the_shortcut(seed: int, B: int, S: int) -> None:
    model, x, eps = shortcut(np.random.default_rng(seed), B, S)
    loss = lambda g: objectives.elbo(  # noqa: E731
        model.beside(x), x, eps, 0.8, 0.1, g, 0.05
    )
    errors = model_errors(model, loss)
    record("shortcut VAE", errors)


def test_the_shortcut_has_an_objective_and_no_elbo() -> None:
    model, x, _ = shortcut(np.random.default_rng(0))
    found = model.objective(x, np.random.default_rng(1), gradient=False)
    assert isinstance(found, Objective) and not hasattr(found, "elbo")
    assert list(found.terms()) == ["objective", "reconstruction", "kl"]
    assert np.allclose(found.objective, found.reconstruction - found.kl.sum(axis=1))


def test_its_reconstruction_is_that_of_its_own_images() -> None:
    """By the matrices: [z, x] W + b, and every sample beside its own image."""
    rng = np.random.default_rng(0)
    decoder = Dense(2 + 4, 3)
    Parameters({"decoder": decoder}, rng, "float64")
    x, z = rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 2))
    beside = Beside(decoder, x)
    y, cache = beside.forward(z.reshape(6, 2))
    want = z @ decoder.W[:2] + x @ decoder.W[2:] + decoder.b
    assert np.allclose(y.reshape(2, 3, 3), want)
    dz = beside.backward(np.ones((6, 3)), cache)
    assert dz.shape == (6, 2) and np.allclose(dz, decoder.W[:2].sum(axis=1))
    assert beside.parts() == {"inner": decoder} and beside.initial(rng) == {}


def test_log_px_takes_the_shortcut_where_there_is_one() -> None:
    model, x, _ = shortcut(np.random.default_rng(0))
    z = np.random.default_rng(2).standard_normal((3, 2))
    params, _ = model.decoder.forward(np.concatenate([z, x], axis=1))
    assert np.allclose(log_px(model, x, z), model.likelihood(*params).log_prob(x))
    plain = VAE(Architecture(4, 2, (5,)), dtype="float64")
    assert np.allclose(log_px(plain, x, z), plain.decode(z).log_prob(x))


def test_a_trained_shortcut_beats_what_any_model_of_pixels_can_reach() -> None:
    """Coins have an entropy of 8 ln 2 = 5.5 nats; with the shortcut it costs almost nothing."""
    rng = np.random.default_rng(0)
    x = (rng.random((500, 8)) < 0.5).astype(np.float32)
    model = ShortcutVAE(WithShortcut(8, 2, (32,)))
    train(model, x, epochs=30, optimizer=Adam(1e-2), progress=False)
    assert model.objective(x, rng, gradient=False).objective.mean() > -0.5 > -8 * math.log(2)


# ---- dead units ----


def test_dead_units_let_nothing_through_and_no_gradient_back() -> None:
    model = with_dead_units(VAE(Architecture(64, 4, (16,)), smoothed_mean(DIGITS.train.x)))
    z = 5.0 * np.random.default_rng(0).standard_normal((50, 4), dtype="float32")
    assert np.ptp(model.decode(z).mean, axis=0).max() == 0.0
    model.objective(DIGITS.test.x[:9], np.random.default_rng(0))
    view = model.parameters.views(model.parameters.grad)
    assert not view["decoder.trunk.0.W"].any() and not view["decoder.trunk.0.b"].any()
    assert view["encoder.mu.W"].any()  # the KL alone


@pytest.mark.parametrize("shape", [Architecture(4, 2, (3,), "tanh"), Architecture(4, 2, ())])
def test_only_relu_can_be_dead(shape: Architecture) -> None:
    with pytest.raises(ValueError, match="expected ReLU and a hidden layer"):
        with_dead_units(VAE(shape))


# ---- training ----


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("cure", ["none", "warm-up", "free-bits", "kl-floor", "cyclical"])
def test_an_experiment_trains_as_train_does_to_the_bit(cause: str, cure: str) -> None:
    x, setting = FEW.train.x, SMALL
    ours, theirs = (CAUSES[cause].make(smoothed_mean(x), 3, 0) for _ in range(2))
    climb = Climb(ours, x, CAUSES[cause], CURES[cure], setting)
    for epoch in range(2):
        climb.epoch(epoch)
    schedule = CURES[cure].schedule
    train(
        theirs, x, epochs=2, batch_size=64, optimizer=Adam(setting.learning_rate),
        kl_schedule=schedule(6) if schedule else None, kl_weight=CAUSES[cause].kl_weight,
        binarisation="new", progress=False, **CURES[cure].options,
    )  # fmt: skip
    assert np.array_equal(ours.parameters.theta, theirs.parameters.theta)
    assert climb.encoder_steps == climb.decoder_steps == 6


def test_the_schedules_are_those_that_the_names_say() -> None:
    assert CURES["warm-up"].schedule(10) == LinearWarmUp(5)  # type: ignore[misc]
    assert CURES["cyclical"].schedule(10) == Cyclical(10, 4)  # type: ignore[misc]
    assert CURES["cyclical"].schedule(3) == Cyclical(3, 1)  # type: ignore[misc]
    assert CURES["none"] == Cure("none", "no cure")


def climb(cure: str = "aggressive") -> Climb:
    model = CAUSES["nothing"].make(smoothed_mean(FEW.train.x), 3, 0)
    return Climb(model, FEW.train.x, CAUSES["nothing"], CURES[cure], SMALL)


def parts(model: VAE) -> tuple[np.ndarray, np.ndarray]:
    view = model.parameters.views(model.parameters.theta)
    return tuple(  # type: ignore[return-value]
        np.concatenate([v.ravel() for n, v in view.items() if n.startswith(part)]).copy()
        for part in ("encoder", "decoder")
    )


def test_the_encoder_catches_up_alone() -> None:
    training = climb()
    encoder, decoder = parts(training.model)
    training._catch_up(1.0)
    now = parts(training.model)
    assert np.array_equal(now[1], decoder) and not np.array_equal(now[0], encoder)
    assert 5 < training.encoder_steps <= 20 and training.decoder_steps == 0
    encoder, decoder = now
    training._step(encoder=False, decoder=True)
    now = parts(training.model)
    assert np.array_equal(now[0], encoder) and not np.array_equal(now[1], decoder)


def test_catching_up_ends_when_the_loss_no_longer_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    for losses, steps in (([3, 2, 1, 0], 20), ([3, 3, 0, 0], 10), ([1, 2, 0, 0], 10)):
        training, seen = climb(), iter(np.repeat(losses, 5).tolist())
        monkeypatch.setattr(training, "_gradient", lambda *_, seen=seen: next(seen))
        training._catch_up(1.0)
        assert training.encoder_steps == steps


def test_aggression_ends_when_the_information_no_longer_rises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, values = climb(), iter([1.0, 2.0, 1.5])
    monkeypatch.setattr(
        collapse, "surgery",
        lambda *_: type("S", (), {"mutual_information": Estimate(next(values), 0.1)}),
    )  # fmt: skip
    states = []
    for epoch in range(4):
        training.epoch(epoch)
        states.append((training.aggressive, training.encoder_steps > 3 * (epoch + 1)))
        before = training.encoder_steps
        assert before % 5 == 0 or epoch == 3  # windows of five; none with a step of the decoder
    assert [state for state, _ in states] == [True, True, False, False]
    assert training.decoder_steps == 12 and training.encoder_steps == before
    training.epoch(4)
    assert training.encoder_steps == before + 3  # one with every step of the decoder


def test_a_loss_that_is_not_finite_stops_the_experiment() -> None:
    training = climb("none")
    training.model.parameters.theta[...] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"), np.errstate(all="ignore"):
        training.epoch(0)


# ---- experiments and their results ----


@pytest.fixture(scope="module")
def results() -> list[Result]:
    asked = [("nothing", "none"), ("shortcut", "none"), ("shortcut", "free-bits")]
    return [experiment(cause, cure, FEW, SMALL) for cause, cure in asked]


def test_an_experiment_looks_before_during_and_after(results: list[Result]) -> None:
    plain = results[0]
    assert [look.epoch for look in plain.looks] == [0, 1, 2] and plain.last is plain.looks[-1]
    assert plain.last.kl.shape == plain.last.variance.shape == (3,)
    assert plain.is_bound and not results[1].is_bound
    for look in plain.looks:
        limit, total = math.log(60), look.kl.sum()
        assert look.mutual_information.mean <= limit
        assert look.mutual_information.mean < total + 3 * look.mutual_information.standard_error


def test_an_experiment_can_be_repeated(results: list[Result]) -> None:
    again = experiment("nothing", "none", FEW, SMALL)
    assert as_json(again) == as_json(results[0])
    other = experiment("nothing", "none", FEW, replace(SMALL, seed=1))
    assert as_json(other) != as_json(results[0])


def test_the_bound_of_an_experiment_is_the_plain_elbo() -> None:
    """With a weight of 8 in the loss, and 1 in what is reported."""
    found = experiment("kl-weight", "none", FEW, SMALL)
    gap = found.bound.mean + found.last.kl.sum()
    weighted = experiment("kl-weight", "none", FEW, SMALL).bound.mean + 8 * found.last.kl.sum()
    base = -36.0
    assert base < gap < -15.0 and weighted != gap


def test_json_goes_there_and_back(results: list[Result]) -> None:
    for result in results:
        text = json.dumps(as_json(result), allow_nan=False)
        assert as_json(from_json(json.loads(text))) == as_json(result)
        assert ("bound" in json.loads(text)) == result.is_bound
        assert ("objective" in json.loads(text)) != result.is_bound
        assert "nats" in json.loads(text)["units"]
    with pytest.raises(ValueError, match="not a result of the collapse laboratory"):
        from_json({"cause": "nothing"})


def made(cause: str, cure: str, bound: float, kl: float, heard: float, ok: bool = True) -> Result:
    look = Look(1, np.array([kl, 0.0]), np.array([0.5, 0.009]), Estimate(kl / 2, 0.01))
    return Result(cause, cure, ok, [look], Estimate(bound, 0.1), Estimate(heard, 0.02), 7, 7)


def test_the_table_says_what_helped_and_what_did_not() -> None:
    bad = made("no-warm-up", "none", -27.0, 0.0, 0.0)
    alive = made("nothing", "none", -24.0, 4.0, 15.0)
    cases = {
        "collapsed": bad,
        "alive": alive,
        "cured": made("no-warm-up", "warm-up", -25.0, 2.0, 8.0),
        "no help": made("no-warm-up", "cyclical", -27.0, 0.02, 0.05),
        "no help: KL not heard": made("no-warm-up", "kl-floor", -29.0, 2.0, 0.05),
        "heard for less than it costs": made("no-warm-up", "free-bits", -29.0, 1.84, 1.2),
        "better": made("nothing", "warm-up", -23.0, 4.0, 15.0),
        "worse": made("nothing", "free-bits", -25.0, 4.0, 15.0),
        "as good": made("nothing", "cyclical", -24.2, 4.0, 15.0),
    }
    for word, result in cases.items():
        assert verdict(result, cases.values()) == word
    lines = table(cases.values())
    assert len([line for line in lines if line.endswith("no help")]) == 1
    assert not any("*" in line for line in lines) and any("nats" in line for line in lines)
    assert any("alive or cured: heard for more than the KL" in line for line in lines)
    assert "1/2" in lines[1] and "-27.00 +- 0.10" in lines[1]


def test_whether_a_code_is_heard() -> None:
    assert is_heard(made("nothing", "none", 0.0, 1.0, 1.1))
    assert not is_heard(made("nothing", "none", 0.0, 1.0, 0.9))
    assert not is_heard(made("nothing", "none", 0.0, 0.0, 0.09))
    loud = made("nothing", "none", 0.0, 0.0, 0.2)
    assert is_heard(loud) and not is_heard(loud._replace(heard=Estimate(0.2, 0.07)))


def test_an_objective_is_never_called_a_bound() -> None:
    lines = table([made("shortcut", "none", -1.0, 0.0, 0.0, ok=False)])
    assert "-1.00 +- 0.10*" in lines[1] and "an objective, not an ELBO" in lines[-1]
    figure = plots.collapse({("shortcut", "none"): made("shortcut", "none", -1, 0, 0, ok=False)})
    assert any("(no bound)" in axes.get_ylabel() for axes in figure.axes)


def test_the_picture_has_a_panel_for_each_experiment(results: list[Result]) -> None:
    figure = plots.collapse({(r.cause, r.cure): r for r in results})
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 3 and sum("active, I" in title for title in titles) == 3
    assert [t.splitlines()[0] for t in titles if "\n" in t] == ["none", "free-bits"]
    maps = [axes.collections[0] for axes in figure.axes if axes.yaxis_inverted()]
    drawn = np.asarray(maps[0].get_array()).reshape(3, 3)
    kl = np.stack([look.kl for look in results[0].looks], axis=1)
    assert np.array_equal(drawn, kl[np.argsort(-kl[:, -1], kind="stable")])


@pytest.mark.parametrize("names", [("nothing", "magic"), ("magic", "none")])
def test_unknown_names_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="expected one of .*got 'magic'"):
        experiment(*names, FEW, SMALL)


@pytest.mark.parametrize(
    "wrong", [{"latent": 0}, {"epochs": 0}, {"looks": 0}, {"learning_rate": 0.0}, {"seed": -1}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Setting(**wrong)


# ---- the command ----


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(collapse_lab, "load", lambda name: FEW)
    monkeypatch.setattr(collapse_lab, "binarise_splits", lambda data, how: data)


LAB = ["collapse-lab", "--epochs", "1", "--latent", "2"]


@pytest.mark.usefixtures("quick")
def test_the_command_leaves_numbers_a_table_and_a_picture(capsys: Any) -> None:
    asked = ["--causes", "nothing", "kl-weight", "--cures", "warm-up", "none", "none"]
    assert main([*LAB, *asked, "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    folder = Path("runs/collapse-lab-1")
    names = {path.name for path in folder.iterdir()}
    assert names == {"results.json", "table.txt", "collapse.png"}
    found = json.loads((folder / "results.json").read_text())
    pairs = [(e["cause"], e["cure"]) for e in found["experiments"]]
    assert pairs == [("nothing", "none"), ("kl-weight", "warm-up"), ("kl-weight", "none")]
    assert found["options"]["epochs"] == 1
    assert (folder / "table.txt").read_text() in out
    assert main([*LAB, *asked, "--jobs", "1", "--out", str(folder)]) == 2
    assert "never overwrites" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_two_processes_give_the_same_numbers_as_one() -> None:
    asked = ["--causes", "kl-weight", "--cures", "none", "kl-floor"]
    for jobs in ("1", "2"):
        assert main([*LAB, *asked, "--jobs", jobs]) == 0
    one, two = (Path(f"runs/collapse-lab-{n}/results.json").read_text() for n in (1, 2))
    assert one == two


@pytest.mark.usefixtures("quick")
def test_ctrl_c_keeps_what_is_done(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*args: Any) -> Result:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return experiment(*args)

    monkeypatch.setattr(collapse_lab, "experiment", interrupted)
    assert main([*LAB, "--causes", "kl-weight", "--jobs", "1", "--out", "kept"]) == 130
    streams = capsys.readouterr()
    assert "stopped after 1 of 6 experiments, which are kept in kept" in streams.err
    assert len(json.loads(Path("kept/results.json").read_text())["experiments"]) == 1
    assert "collapsed" in Path("kept/table.txt").read_text() and Path("kept/collapse.png").exists()


@pytest.mark.usefixtures("quick")
def test_no_jobs_are_refused_before_anything_is_written(capsys: Any) -> None:
    assert main([*LAB, "--jobs", "0"]) == 2
    assert "--jobs of at least 1" in capsys.readouterr().err and not Path("runs").exists()
