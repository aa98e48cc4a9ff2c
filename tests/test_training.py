"""Training: every example once an epoch, the same run from the same seed, honest numbers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import (
    SGD,
    VAE,
    Adam,
    Architecture,
    Autoencoder,
    blas,
    load_digits,
    smoothed_mean,
    train,
)
from minivae.arrays import generator
from minivae.cli.evaluate import EVALUATION
from minivae.cli.pictures import PICTURES
from minivae.datasets import binarise
from minivae.layers import Dense
from minivae.models.base import INITIAL_VALUES
from minivae.objectives import Reconstruction
from minivae.parameters import leaves
from minivae.schedules import Cosine, LinearWarmUp
from minivae.training import (
    BINARISE,
    NOISE,
    SHUFFLE,
    VALIDATION,
    History,
    Meter,
    batches,
    evaluate_objective,
    loop,
)

BOTH = pytest.mark.parametrize("kind", [VAE, Autoencoder])


def small(kind: Any = VAE, **options: Any) -> Any:
    return kind(Architecture(64, 3, (20,)), **options)


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return load_digits().train.x[:300]


@pytest.fixture(scope="module")
def binary(grey: np.ndarray) -> np.ndarray:
    return binarise(grey, "fixed", np.random.default_rng(0))


def run(model: Any, x: np.ndarray, **options: Any) -> History:
    return train(model, x, **{"epochs": 2, "batch_size": 64, "progress": False, **options})


def batches_of(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A list that will hold every batch that reaches the model's objective."""
    seen: list[np.ndarray] = []
    right = model.objective

    def spy(batch: np.ndarray, *rest: Any, **options: Any) -> Any:
        seen.append(batch.copy())
        return right(batch, *rest, **options)

    monkeypatch.setattr(model, "objective", spy)
    return seen


def without_seconds(history: History) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


# ---- one epoch, by hand ----


def test_batches_are_a_permutation_and_only_the_last_is_small() -> None:
    parts = list(batches(10, 4, np.random.default_rng(0)))
    assert [len(p) for p in parts] == [4, 4, 2]
    assert sorted(np.concatenate(parts)) == list(range(10))
    assert np.concatenate(parts).tolist() != list(range(10))


@BOTH
def test_training_is_what_its_four_lines_say(kind: Any, binary: np.ndarray) -> None:
    """Two epochs written out: shuffle, objective, step, with the generators of their keys."""
    model, twin = small(kind), small(kind)
    history = run(model, binary, seed=5)
    optimizer, means = Adam(), []
    for epoch in range(2):
        noise, total = generator("cpu", 5, epoch, NOISE), 0.0
        for rows in batches(300, 64, generator("cpu", 5, epoch, SHUFFLE)):
            twin.parameters.zero_grad()
            result = twin.objective(binary[rows], noise)
            optimizer.step(twin.parameters.theta, twin.parameters.grad)
            total += result.reconstruction.sum(dtype=float)
        means.append(total / 300)
    assert np.array_equal(model.parameters.theta, twin.parameters.theta)
    assert np.allclose(history["train_reconstruction"], means, rtol=1e-6)  # sums of float32


def test_no_two_purposes_share_their_randomness() -> None:
    purposes = {INITIAL_VALUES, SHUFFLE, NOISE, BINARISE, VALIDATION, EVALUATION, PICTURES}
    assert len(purposes) == 7


def test_new_pixels_are_drawn_with_the_generator_of_their_key(
    grey: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, want = small(), []
    seen = batches_of(model, monkeypatch)
    run(model, grey, seed=5, binarisation="new")
    for epoch in range(2):
        pixels = generator("cpu", 5, epoch, BINARISE)
        for rows in batches(300, 64, generator("cpu", 5, epoch, SHUFFLE)):
            want.append(binarise(grey[rows], "new", pixels))
    assert all(np.array_equal(*pair) for pair in zip(seen, want, strict=True))


def test_new_pixels_are_black_or_white_afresh_each_time_and_grey_on_average(
    grey: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small()
    seen = batches_of(model, monkeypatch)
    run(model, np.repeat(grey[:1], 300, axis=0), epochs=4, batch_size=300, binarisation="new")
    assert len(seen) == 4 and set(np.unique(seen)) == {0.0, 1.0}
    assert not any(np.array_equal(seen[0], other) for other in seen[1:])
    # A mean over 1,200 draws has a standard deviation of at most 0.0145.
    assert np.abs(np.concatenate(seen).mean(axis=0) - grey[0]).max() < 0.06


def test_pixels_are_left_as_they_are_unless_asked(
    binary: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = small(), 0.25 + 0.5 * binary
    seen = batches_of(model, monkeypatch)
    with pytest.warns(UserWarning, match="grey pixels"):
        run(model, x)
    assert set(np.unique(np.concatenate(seen))) == {0.25, 0.75}


@BOTH
def test_the_same_seed_gives_the_same_run(kind: Any, grey: np.ndarray) -> None:
    models = [small(kind) for _ in range(3)]
    histories = [
        run(model, grey, valid_x=grey[:50].round(), seed=seed, binarisation="new")
        for model, seed in zip(models, (1, 1, 2), strict=True)
    ]
    thetas = [model.parameters.theta for model in models]
    assert np.array_equal(thetas[0], thetas[1]) and not np.array_equal(thetas[0], thetas[2])
    assert without_seconds(histories[0]) == without_seconds(histories[1])


def test_the_first_epoch_does_not_know_how_many_follow(binary: np.ndarray) -> None:
    one, two = (without_seconds(run(small(), binary, epochs=n)) for n in (1, 2))
    assert one[0] == two[0]


def test_validation_does_not_disturb_training(binary: np.ndarray) -> None:
    with_valid, without = small(), small()
    run(with_valid, binary, valid_x=binary[:30])
    run(without, binary)
    assert np.array_equal(with_valid.parameters.theta, without.parameters.theta)


def test_float64_data_train_a_float32_model_in_float32(binary: np.ndarray) -> None:
    model, optimizer = small(), Adam()
    run(model, binary.astype(np.float64), optimizer=optimizer)
    arrays = [model.parameters.theta, model.parameters.grad, optimizer.u, optimizer.w]
    assert {str(a.dtype) for a in arrays} == {"float32"}


def test_data_are_left_alone(grey: np.ndarray) -> None:
    before = grey.copy()
    run(small(), grey, binarisation="new")
    assert np.array_equal(grey, before)


def test_theta_stays_the_same_array(binary: np.ndarray) -> None:
    model = small()
    theta = model.parameters.theta
    before = theta.copy()
    run(model, binary)
    assert model.parameters.theta is theta and not np.array_equal(theta, before)


# ---- does it learn? ----


@BOTH
def test_the_loss_falls_far_below_the_independent_pixels(kind: Any, binary: np.ndarray) -> None:
    model = small(kind, data_mean=smoothed_mean(binary))
    column = "train_elbo" if kind is VAE else "train_reconstruction"
    values = run(model, binary, epochs=30, optimizer=Adam(3e-3))[column]
    assert values[-1] > values[0] + 3 and values[-1] > max(values[:10])


def test_sgd_learns_too(binary: np.ndarray) -> None:
    values = run(small(), binary, epochs=10, optimizer=SGD(1e-3, 0.9))["train_elbo"]
    assert values[-1] > values[0] + 3


def test_a_large_kl_weight_empties_the_code_and_zero_fills_it(binary: np.ndarray) -> None:
    kl = [
        run(small(), binary, epochs=15, optimizer=Adam(3e-3), kl_weight=w)["train_kl"][-1]
        for w in (0.0, 1.0, 30.0)
    ]
    assert kl[0] > kl[1] + 1 and kl[2] < 0.1


# ---- honest numbers ----


def test_columns_are_the_terms_of_the_objective(binary: np.ndarray) -> None:
    row = run(small(), binary, valid_x=binary[:10], epochs=1).rows[0]
    terms = ("elbo", "reconstruction", "kl")
    names = [f"{part}_{term}" for part in ("train", "valid") for term in terms]
    assert list(row) == ["epoch", *names, "seconds"] and row["epoch"] == 1
    assert all(type(value) in (int, float) for value in row.values())
    assert row["train_elbo"] == pytest.approx(row["train_reconstruction"] - row["train_kl"])
    plain = run(small(Autoencoder), binary, epochs=1).rows[0]
    assert list(plain) == ["epoch", "train_reconstruction", "seconds"]


@pytest.mark.parametrize("nothing", [None, np.zeros((0, 64), "f")])
def test_without_validation_data_there_is_no_validation(nothing: Any, binary: np.ndarray) -> None:
    assert "valid_elbo" not in run(small(), binary, valid_x=nothing, epochs=1).rows[0]


def test_weights_and_floors_of_training_do_not_reach_validation(binary: np.ndarray) -> None:
    """Validation is the plain ELBO of the trained model, with one sample."""
    model, valid = small(), binary[:40]
    options = {"kl_weight": 7.0, "free_bits": 0.5, "samples": 3}
    row = run(model, binary, valid_x=valid, seed=4, epochs=1, **options).rows[0]
    plain = model.objective(valid, generator("cpu", 4, 0, VALIDATION), gradient=False)
    assert row["valid_elbo"] == pytest.approx(float(plain.elbo.mean()), rel=1e-6)


def test_validation_has_the_same_noise_in_every_epoch(binary: np.ndarray) -> None:
    """With weights that stand still, validation stands still, too; training does not."""

    class Still(SGD):
        def step(self, theta: Any, grad: Any) -> None:
            pass

    options = {"valid_x": binary[:40], "epochs": 3, "optimizer": Still()}
    first, other = (run(small(), binary, seed=seed, **options) for seed in (0, 1))
    assert len(set(first["valid_elbo"])) == 1 and len(set(first["train_elbo"])) == 3
    assert first["valid_elbo"] != other["valid_elbo"]


def test_an_example_in_a_small_last_batch_counts_as_much_as_any() -> None:
    meter = Meter()
    for values in ([1.0, 1.0, 1.0], [5.0]):
        array = np.array(values)
        meter.add(Reconstruction(array, -array.mean()))
    assert meter.means() == {"reconstruction": 2.0}


def test_evaluation_does_not_depend_on_its_batches(binary: np.ndarray) -> None:
    model = small(Autoencoder, dtype="float64")
    x = binary.astype(float)
    whole, parts = (evaluate_objective(model, x, None, batch_size=n) for n in (300, 77))
    assert whole["reconstruction"] == pytest.approx(parts["reconstruction"], rel=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run(bad: float, binary: np.ndarray) -> None:
    model = small()
    model.parameters.theta[0] = bad
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="not finite"):
        run(model, binary)


# ---- a loss that is not finite: what failed first, and nothing is lost ----


@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize("where", ["encoder.trunk.0", "encoder.mu", "decoder.logits"])
def test_the_layer_that_fails_first_is_named(
    where: str, step: int, binary: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinity planted into one layer's output at one step, the first time and in the replay."""
    model, optimizer, history = small(), Adam(), History()
    layer, right = dict(leaves(model.parameters.parts))[where], Dense.forward

    def wrong(self: Any, x: Any) -> Any:
        y, cache = right(self, x)
        return (y + math.inf if self is layer and optimizer.t == step - 1 else y), cache

    monkeypatch.setattr(Dense, "forward", wrong)
    before = model.parameters.theta.copy()
    message = rf"in epoch 1, step {step}, first in the output of {where} \(Dense\)"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        run(model, binary, optimizer=optimizer, history=history)
    assert np.array_equal(model.parameters.theta, before) and optimizer.t == 0
    assert history.rows == []


def test_the_term_that_fails_first_is_named(binary: np.ndarray) -> None:
    model = small()
    model.parameters.views(model.parameters.theta)["encoder.mu.b"][...] = 1e25  # its square is inf
    model.parameters.views(model.parameters.theta)["decoder.trunk.0.W"][...] = 0.0
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="first in the kl term"):
        run(model, binary)


def test_an_update_that_fails_is_named(binary: np.ndarray) -> None:
    model = small()
    message = "epoch 1, step 1, first in the update of encoder.trunk.0.W"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        run(model, binary, optimizer=SGD(3e38))


def test_a_gradient_that_fails_is_named(
    binary: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small()
    monkeypatch.setattr(Dense, "backward", spoilt(Dense.backward, model.encoder.heads["mu"]))
    message = "step 1, first in the gradient that leaves encoder.mu"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message):
        run(model, binary)


def spoilt(backward: Any, layer: Any) -> Any:
    def wrong(self: Any, dy: Any, cache: Any, need_dx: bool = True) -> Any:
        dx = backward(self, dy, cache, need_dx)
        return dx * math.nan if self is layer else dx

    return wrong


def test_what_went_well_before_a_failure_is_kept(binary: np.ndarray) -> None:
    """Epoch 3 fails: model, optimiser and history are those of a run of two epochs."""
    model, optimizer, history = small(), Adam(), History()
    twin, other = small(), Adam()
    run(twin, binary, optimizer=other, epochs=2)

    def grow(row: Any) -> None:
        if row["epoch"] == 2:
            optimizer.learning_rate = 1e30

    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="in epoch 3, step 2"):
        run(model, binary, optimizer=optimizer, epochs=4, history=history, after_epoch=grow)
    assert np.array_equal(model.parameters.theta, twin.parameters.theta)
    mine, yours = optimizer.state(), other.state()
    assert mine["t"] == yours["t"] and np.array_equal(mine["u"], yours["u"])
    assert len(history.rows) == 2


def test_no_layer_stays_watched(binary: np.ndarray) -> None:
    model = small()
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        run(model, binary, optimizer=SGD(3e38))
    assert all("forward" not in vars(layer) for _, layer in leaves(model.parameters.parts))


# ---- going on, schedules, patience ----


def test_two_halves_are_a_whole(grey: np.ndarray) -> None:
    """A history is gone on from: same noise, same moments, same schedule, to the bit."""
    ways: dict[str, Any] = {
        "learning_rate_schedule": Cosine(20), "kl_schedule": LinearWarmUp(15), "clip": 3.0,
        "binarisation": "new",
    }  # fmt: skip
    whole, halves, optimizer = small(), small(), Adam()
    once = run(whole, grey, epochs=4, **ways)
    first = run(halves, grey, epochs=1, optimizer=optimizer, **ways)
    second = run(halves, grey, epochs=4, optimizer=optimizer, history=first, **ways)
    assert second is first and without_seconds(first) == without_seconds(once)
    assert np.array_equal(whole.parameters.theta, halves.parameters.theta)


def test_schedules_count_the_steps_of_the_whole_run(
    binary: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer, seen = small(), Adam(0.01), []
    objective, step = model.objective, optimizer.step

    def weighed(*args: Any, **options: Any) -> Any:
        if options.get("gradient", True):
            seen.append(options["kl_weight"])
        return objective(*args, **options)

    def stepped(theta: Any, grad: Any) -> None:
        seen.append(optimizer.learning_rate)
        step(theta, grad)

    monkeypatch.setattr(model, "objective", weighed)
    monkeypatch.setattr(optimizer, "step", stepped)
    ways: dict[str, Any] = {"kl_schedule": lambda n: n, "learning_rate_schedule": lambda n: n + 1}
    run(model, binary, epochs=2, optimizer=optimizer, kl_weight=0.5, **ways)
    assert seen[::2] == [0.5 * n for n in range(10)]
    assert seen[1::2] == pytest.approx([0.01 * (n + 1) for n in range(10)])
    assert optimizer.learning_rate == 0.01


def test_the_gradient_is_clipped(binary: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, norms = SGD(0.01), []
    monkeypatch.setattr(
        optimizer, "step", lambda theta, grad: norms.append(np.linalg.norm(grad.astype(float)))
    )
    run(small(), binary, epochs=1, optimizer=optimizer, clip=0.125)
    assert norms == pytest.approx([0.125] * 5, rel=1e-5)


def test_moments_that_overflow_stop_the_run(binary: np.ndarray) -> None:
    """Adam's sum of squares is inf, its step 0, the loss finite: nothing else would tell."""
    model, optimizer = small(), Adam()
    objective = type(model).objective

    def huge(self: Any, *args: Any, **options: Any) -> Any:
        result = objective(self, *args, **options)
        self.parameters.grad *= np.float32(1e25)
        return result

    before = model.parameters.theta.copy()
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(type(model), "objective", huge)
        with pytest.raises(FloatingPointError, match="the update, the optimiser's w of encoder"):
            run(model, binary, optimizer=optimizer)
    assert np.array_equal(model.parameters.theta, before) and optimizer.state() == {"t": 0}


def test_going_on_after_the_best_was_put_back_goes_on_from_the_last(binary: np.ndarray) -> None:
    def ways(optimizer: Adam) -> dict[str, Any]:
        return {"valid_x": binary[200:], "optimizer": optimizer, "patience": 100}

    whole, halves, optimizer = small(), small(), Adam(0.3)
    once = run(whole, binary[:200], epochs=8, **ways(Adam(0.3)))
    history = run(halves, binary[:200], epochs=3, **ways(optimizer))
    for epochs in (4, 5, 8):
        run(halves, binary[:200], epochs=epochs, history=history, **ways(optimizer))
    assert without_seconds(history) == without_seconds(once)
    assert once.best is not once.rows[-1]  # so that there was something to go back to
    assert np.array_equal(halves.parameters.theta, whole.parameters.theta)


@pytest.mark.parametrize("where", ["perf_counter", "add"])
def test_an_interrupt_at_the_end_of_an_epoch_loses_all_of_it_or_nothing(
    where: str, binary: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, twin, optimizer, history = small(), small(), Adam(), History()
    run(twin, binary, epochs=3)
    place: Any = loop.time if where == "perf_counter" else History
    right, calls = getattr(place, where), 0

    def interrupt(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != (4 if where == "perf_counter" else 2):  # in the second epoch
            return right(*args)
        if where == "add":
            right(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, where, interrupt)
        run(model, binary, epochs=3, optimizer=optimizer, history=history)
    run(model, binary, epochs=3, optimizer=optimizer, history=history)
    assert np.array_equal(model.parameters.theta, twin.parameters.theta)


def test_patience_stops_and_goes_back_to_the_best(binary: np.ndarray) -> None:
    """A rate that soon makes things worse: the epochs are counted from the best one."""

    def grown(keep_best: bool) -> None:
        model, thetas = small(), []
        history = run(
            model, binary[:200], valid_x=binary[200:], epochs=50, patience=3, keep_best=keep_best,
            learning_rate_schedule=lambda n: 1.0 if n < 16 else 30.0, optimizer=Adam(0.01),
            after_epoch=lambda row: thetas.append(model.parameters.theta.copy()),
        )  # fmt: skip
        best = int(np.argmax(history["valid_elbo"]))
        assert len(history.rows) == best + 1 + 3 < 50
        assert history.best is history.rows[best] and history.stale == 3
        want = thetas[best if keep_best else -1]
        assert np.array_equal(model.parameters.theta, want)
        assert np.array_equal(history.best_theta, thetas[best])

    grown(True)
    grown(False)


@pytest.mark.parametrize(
    "bad", [{"clip": 0.0}, {"clip": math.nan}, {"patience": 0}, {"patience": 2}]
)
def test_limits_that_make_no_sense_are_refused(bad: dict, binary: np.ndarray) -> None:
    with pytest.raises(ValueError, match="clip|patience"):
        run(small(), binary, **bad)


def test_data_on_a_disk_are_fetched_a_batch_at_a_time(binary: np.ndarray, tmp_path: Path) -> None:
    """A memory map trains as the array does, and is never asked for more than a batch."""
    np.save(tmp_path / "x.npy", binary)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    ours, theirs = small(), small()
    assert without_seconds(run(ours, mapped)) == without_seconds(run(theirs, binary))
    assert np.array_equal(ours.parameters.theta, theirs.parameters.theta)


@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.nan, "expected finite data"), (np.inf, "finite"), (1.5, r"in \[0, 1\] for a Bernoulli")],
)
def test_data_that_make_no_sense_are_refused(bad: float, message: str, binary: np.ndarray) -> None:
    x = binary.copy()
    x[-1, -1] = bad
    with pytest.raises(ValueError, match=message):
        run(small(), x)
    with pytest.raises(ValueError, match=message):
        run(small(), binary, valid_x=x)


# ---- around it ----


def test_after_epoch_sees_every_row(binary: np.ndarray) -> None:
    rows: list[Any] = []
    history = run(small(), binary, after_epoch=rows.append)
    assert rows == history.rows and history["epoch"] == [1, 2]


@pytest.mark.parametrize("progress", [True, False, None])
def test_the_bar_is_on_standard_error_only(
    progress: bool | None, binary: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small(), binary, epochs=1, progress=progress)
    out, err = capsys.readouterr()
    assert out == "" and ("epoch 1/1" in err) is (progress is True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size of at least 1, got 0"),
        ({"x": np.zeros((3, 5), "f")}, r"shape \(N, 64\) with N of at least 1, got \(3, 5\)"),
        ({"x": np.zeros((0, 64), "f")}, r"got \(0, 64\)"),
        ({"x": np.zeros(64, "f")}, r"got \(64,\)"),
        ({"binarisation": "maybe"}, "'maybe'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: dict[str, Any], words: str, binary: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=words):
        run(small(), **{"x": binary, **options})


def test_a_batch_larger_than_the_data_is_the_data(binary: np.ndarray) -> None:
    assert len(run(small(), binary[:5], batch_size=1000).rows) == 2


@pytest.mark.parametrize(("samples", "threads"), [(1, 1), (40, None)])
def test_small_products_are_trained_with_one_thread(
    samples: int, threads: int | None, binary: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest product has 64 * samples * 64 * 20 multiply-adds, to compare with 3 million."""
    model, limit, during = small(), ["outside"], []
    right = model.objective

    @contextlib.contextmanager
    def inside(n: int | None) -> Iterator[None]:
        limit.append(n)  # type: ignore[arg-type]
        yield
        limit.pop()

    def spy(*args: Any, **options: Any) -> Any:
        during.append(limit[-1])
        return right(*args, **options)

    monkeypatch.setattr(blas, "threads", inside)
    monkeypatch.setattr(model, "objective", spy)
    run(model, binary, samples=samples, epochs=1)
    assert set(during) == {threads}
