"""The VQ-VAE: its gradient against its surrogate, its loss, its hooks, and that it resumes."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import Adam
from minivae.codebook import nearest, perplexity
from minivae.datasets import load_digits
from minivae.models import (
    VQVAE,
    QuantisedArchitecture,
    TwoLevelArchitecture,
    TwoLevelVQVAE,
    quantisation,
)
from minivae.models.networks import LIKELIHOODS
from minivae.optimizers import AdamW
from minivae.training import evaluate_objective, train
from minivae.verify import model_errors

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, B: int = 2, **architecture: Any) -> tuple[VQVAE, np.ndarray]:
    """A float64 model of images of 4 x 4 with a drawn theta, and data."""
    rng = np.random.default_rng(seed)
    small = {"patch": 2, "n_codes": 5, "code_size": 2, "hidden": (3,), "activation": "tanh"}
    shape = QuantisedArchitecture(**{"image_shape": (4, 4), **small, **architecture})
    model = VQVAE(shape, seed=seed % 1000, dtype="float64")
    theta = model.parameters.theta
    theta[...] += 0.3 * rng.normal(size=theta.shape)
    x = rng.normal(size=(B, 16))
    if shape.likelihood == "bernoulli":
        x = rng.integers(0, 2, (B, 16)).astype(float)
    elif shape.likelihood == "continuous-bernoulli":
        x = rng.random((B, 16))
    return model, x


def surrogate(model: VQVAE, x: np.ndarray, commitment: float, codebook: float) -> Any:
    """The function whose derivative the straight-through gradient is.

    sg(...) is a number, taken once from the parameters as they are now.
    """
    z0 = model.encoder.forward(x)[0]
    index = nearest(z0, model.codebook.E)
    e0 = model.codebook.E[index].copy()
    B = len(x)

    class Result:
        def __init__(self) -> None:
            z = model.encoder.forward(x)[0]
            e = model.codebook.E[index]
            out, _ = model.decoder.forward(z + (e0 - z0))
            squares = codebook * ((z0 - e) ** 2).sum() + commitment * ((z - e0) ** 2).sum()
            self.loss = squares / B - model.likelihood(*out).log_prob(x).sum() / B

    return Result


@settings(max_examples=25)
@given(
    likelihood=st.sampled_from(sorted(LIKELIHOODS)), B=st.integers(1, 3), seed=SEEDS,
    commitment=st.sampled_from([0.0, 0.25, 2.0]), codebook=st.sampled_from([0.0, 1.0, 0.7]),
    context=st.integers(0, 1), variance=st.sampled_from(["shared", "pixel", "fixed"]),
)  # fmt: skip
def test_the_gradient_is_that_of_the_surrogate(
    likelihood: str, B: int, seed: int, commitment: float, codebook: float, context: int,
    variance: str,
) -> None:  # fmt: skip
    variance = variance if likelihood == "gaussian" else "shared"
    model, x = drawn(seed, B, likelihood=likelihood, context=context, variance=variance)
    frozen = surrogate(model, x, commitment, codebook)
    assert float(frozen().loss) == pytest.approx(
        float(quantisation.quantised(model, x, commitment, codebook, gradient=False).loss)
    )
    errors = model_errors(
        model,
        lambda g: quantisation.quantised(model, x, commitment, codebook) if g else frozen(),
        frozen=("decoder.logvar.0.c",) if variance == "fixed" else (),
    )
    assert max(errors.values()) <= 1e-12, errors


def test_the_loss_by_hand() -> None:
    model, x = drawn(3, B=3)
    result = quantisation.quantised(model, x, 0.25, 1.0, gradient=False)
    z = model.encoder.forward(x)[0].reshape(3, 4, 2)
    want = []
    for b in range(3):
        codes = model.codes(x[b : b + 1])[0]
        e = np.array([model.codebook.E[k] for k in codes])
        p = model.decode(e.reshape(1, -1))
        distance = ((z[b] - e) ** 2).sum()
        assert result.distance[b] == pytest.approx(distance)
        assert result.reconstruction[b] == pytest.approx(float(p.log_prob(x[b : b + 1])[0]))
        want.append(1.25 * distance - result.reconstruction[b])
    assert float(result.loss) == pytest.approx(np.mean(want))
    assert result.terms() == {
        "reconstruction": result.reconstruction, "distance": result.distance,
    }  # fmt: skip


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_an_example_costs_the_same_in_every_batch(codebook: str) -> None:
    model, _ = drawn(4)
    x = np.random.default_rng(0).integers(0, 2, (256, 16)).astype(float)
    whole = model.objective(x, codebook=codebook)
    gradient = model.parameters.grad.copy()
    per_example = 0.25 * whole.distance - whole.reconstruction
    per_example += whole.distance if codebook == "gradient" else 0.0
    assert model.objective(x, gradient=False, codebook=codebook).loss == whole.loss
    for n in (1, 16, 256):
        losses, parts = [], np.zeros_like(gradient)
        for start in range(0, 256, n):
            model.parameters.zero_grad()
            result = model.objective(x[start : start + n], codebook=codebook)
            losses.append(float(result.loss))
            parts += model.parameters.grad * n / 256
            want = per_example[start : start + n]
            assert float(result.loss) == pytest.approx(want.mean(), abs=1e-12)
        assert np.mean(losses) == pytest.approx(float(whole.loss), abs=1e-12)
        assert parts == pytest.approx(gradient, abs=1e-12)


def test_the_layout_of_codes_and_entries() -> None:
    model, x = drawn(5, B=3)
    codes = model.codes(x)
    assert codes.shape == (3, 4) and codes.dtype == np.int64
    e = model.vectors(codes)
    assert np.array_equal(e, model.means(x)) and e.shape == (3, 8)
    assert len(np.unique(codes)) > 1  # and the codes of an image are its own
    assert np.array_equal(codes, np.concatenate([model.codes(x[b : b + 1]) for b in range(3)]))
    assert np.array_equal(e[1].reshape(4, 2)[2], model.codebook.E[codes[1, 2]])
    assert np.array_equal(model.reconstruct(x), model.decode(e).mean)
    alone = drawn(5, B=3, context=0)[0]
    changed = x.copy()
    changed[:, :2] = 1.0 - changed[:, :2]  # the first row of the first patch
    before, after = (alone.encoder.forward(v)[0].reshape(3, 4, 2) for v in (x, changed))
    assert np.array_equal(before[:, 1:], after[:, 1:])
    assert np.abs(before[:, 0] - after[:, 0]).min() > 0
    near = drawn(5, B=3, context=1)[0]
    before, after = (near.encoder.forward(v)[0].reshape(3, 4, 2) for v in (x, changed))
    assert np.abs(before - after).max(axis=(0, 2)).min() > 0  # all four look at that patch


def test_a_variance_per_pixel_starts_at_sigma() -> None:
    shape = QuantisedArchitecture((4, 4), 2, likelihood="gaussian", variance="pixel", sigma=0.3)
    model = VQVAE(shape, dtype="float64")
    for name, view in model.parameters.views(model.parameters.theta).items():
        if name.startswith("decoder.logvar") and name.endswith("W"):
            view[...] = 0.0
    p = model.decode(np.ones((2, shape.latent)))
    assert p.logvar == pytest.approx(np.full((2, 16), 2.0 * math.log(0.3)), abs=1e-12)


@pytest.mark.parametrize("context", [0, 1])
def test_a_code_reaches_the_patches_around_its_own(context: int) -> None:
    model, _ = drawn(8, image_shape=(6, 2), context=context)  # three patches below each other
    codes = np.array([[0, 1, 2], [3, 1, 2]])
    before, after = model.decode(model.vectors(codes)).mean.reshape(2, 3, 4)
    changed = np.abs(after - before).max(axis=1) > 0.0
    assert changed.tolist() == [True, context == 1, False]


def test_the_decoder_has_the_widths_of_the_encoder_in_reverse() -> None:
    model = VQVAE(QuantisedArchitecture((4, 4), 2, 0, 50, 2, (7, 6)))
    views = model.parameters.views(model.parameters.theta)
    shapes = [v.shape for name, v in views.items() if name.endswith(".W")]
    assert shapes == [(4, 7), (7, 6), (6, 2), (2, 6), (6, 7), (7, 4)]
    a = model.architecture
    assert a.n_codes * a.code_size < a.fewest_weights() <= len(model.parameters)


def test_the_average_image_is_known_at_the_start() -> None:
    mean = np.linspace(0.1, 0.9, 16)
    for likelihood in ("bernoulli", "gaussian", "continuous-bernoulli"):
        shape = QuantisedArchitecture((4, 4), 2, likelihood=likelihood)
        model = VQVAE(shape, mean, dtype="float64")
        for name, view in model.parameters.views(model.parameters.theta).items():
            if name.startswith("decoder") and name.endswith("W"):
                view[...] = 0.0
        got = model.decode(np.zeros((1, shape.latent))).mean[0]
        assert got == pytest.approx(mean, abs=1e-9)


def test_one_step_of_all_data_with_identity_networks_is_one_of_lloyd() -> None:
    shape = QuantisedArchitecture(
        (2, 2), 1, context=0, n_codes=3, code_size=1, hidden=(), likelihood="gaussian"
    )
    model = VQVAE(shape, dtype="float64")
    for name, view in model.parameters.views(model.parameters.theta).items():
        if name.endswith(("W", "b")):
            view[...] = 1.0 if name.endswith("W") else 0.0
    x = np.random.default_rng(0).normal(size=(50, 4))
    E = model.codebook.E.copy()
    index = nearest(x.reshape(-1, 1), E)
    result = model.objective(x, codebook="ema", decay=0.0, smoothing=0.0)
    assert np.array_equal(result.z, x.reshape(-1, 1))
    model.after_step(result)
    want = [x.reshape(-1)[index == k].mean() for k in range(3)]
    assert model.codebook.E[:, 0] == pytest.approx(want, abs=1e-12)


def digits(n: int = 200) -> np.ndarray:
    return (load_digits().train.x[:n] > 0.5).astype(np.float32)


SMALL = QuantisedArchitecture((8, 8), 4, 1, 12, 4, (16,))


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_a_run_goes_on_equal_to_the_bit(codebook: str) -> None:
    x = digits()

    def run(model: VQVAE, epochs: int, **more: Any) -> Any:
        return train(
            model, x, x[:50], epochs=epochs, batch_size=30, progress=False, codebook=codebook,
            restart=0.5, **more,
        )  # fmt: skip

    whole = VQVAE(SMALL)
    rows = run(whole, 5).rows
    assert sum(row["train_restarted"] for row in rows) > 0
    first, adam = VQVAE(SMALL), Adam()
    history = run(first, 2, optimizer=adam)
    other = VQVAE(SMALL, seed=9)  # what a checkpoint brings back: theta and the optimiser alone
    other.parameters.theta[...] = first.parameters.theta
    again = run(other, 5, optimizer=adam, history=history)
    assert np.array_equal(other.parameters.theta, whole.parameters.theta)
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in again.rows] == strip


def test_training_learns_and_reports_usage_over_the_epoch() -> None:
    x = digits(400)
    errors = {}
    for codebook in ("ema", "gradient"):
        model = VQVAE(SMALL, x.mean(axis=0) * 0.9 + 0.05)
        history = train(
            model, x, x[:50], epochs=12, batch_size=20, progress=False, codebook=codebook
        )
        rows = history.rows
        assert rows[-1]["valid_reconstruction"] > rows[0]["valid_reconstruction"] + 3.0
        errors[codebook] = rows[-1]["valid_reconstruction"]
        assert 4.0 < rows[-1]["train_perplexity"] <= 12.0
    assert abs(errors["ema"] - errors["gradient"]) < 5.0


def test_perplexity_counts_all_of_an_epoch() -> None:
    model, _ = drawn(6)
    x = np.random.default_rng(0).integers(0, 2, (40, 16)).astype(float)
    model.after_step(model.objective(x[:7], codebook="gradient"))  # of an epoch before
    model.before_epoch()
    assert model.pool == []
    for start in range(0, 40, 10):
        model.after_step(model.objective(x[start : start + 10], codebook="gradient"))
    count = np.bincount(np.concatenate([model.codes(x).ravel()]), minlength=5)
    assert model.after_epoch(np.random.default_rng(0))["perplexity"] == pytest.approx(
        perplexity(count)
    )


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_dead_entries_become_codes_of_the_epoch(codebook: str) -> None:
    model, x = drawn(7, B=20)
    model.codebook.E[3] = 1e3
    model.codebook.total[3] = 1e3 * model.codebook.share[3]
    model.before_epoch()
    result = model.objective(x, codebook=codebook, restart=0.01, decay=1.0)
    model.after_step(result)
    before = model.codebook.E.copy()
    assert 3 not in result.index
    row = model.after_epoch(np.random.default_rng(1))
    dead = [k for k in range(5) if k not in result.index]
    assert row["restarted"] == len(dead)
    distances = ((result.z[:, None] - model.codebook.E[None]) ** 2).sum(axis=2)
    for k in range(5):
        if k in dead:
            assert distances[:, k].min() == 0.0  # one of the epoch's codes
            assert model.codebook.share[k] == pytest.approx(0.2)
            assert model.codebook.total[k] == pytest.approx(0.2 * model.codebook.E[k])
        else:
            assert model.codebook.E[k] == pytest.approx(before[k], rel=1e-4)
    first = model.codebook.E.copy()
    model.codebook.E[...] = before
    model.after_epoch(np.random.default_rng(1))
    assert np.array_equal(model.codebook.E, first)  # the generator alone decides


def test_dead_entries_become_different_codes_of_the_whole_epoch() -> None:
    shape, x = QuantisedArchitecture((8, 8), 4, 1, 60, 4, (16,)), digits()
    model = VQVAE(shape)
    model.codebook.E[1:] += 1e3  # nobody chooses them
    model.before_epoch()
    z = []
    for start in range(0, 200, 40):
        result = model.objective(x[start : start + 40], codebook="gradient")
        model.after_step(result)
        z.append(result.z)
    assert [len(part) for part in model.pool] == [160] * 5
    assert model.after_epoch(np.random.default_rng(0))["restarted"] == 59.0
    codes = [{tuple(row) for row in part.tolist()} for part in z]
    found = {tuple(row) for row in model.codebook.E[1:].tolist()}
    assert len(found) > 40 and found <= set.union(*codes)
    assert all(found & part for part in codes)  # of every step


def test_the_pool_remembers_the_last_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivae.models.vector_quantised.POOL", 25)
    model, x = drawn(2, B=10)
    model.before_epoch()
    for start in (0, 2, 4, 6, 8):  # 8 codes each
        last = model.objective(x[start : start + 2], codebook="gradient")
        model.after_step(last)
    assert [len(z) for z in model.pool] == [8] * 4  # 25 or a step more
    assert model.pool[-1] is last.z


def test_moving_averages_do_not_see_the_optimiser() -> None:
    """Weight decay shrinks what has no gradient; the averages go on from before the step."""
    x, E = digits(), []
    for rate in (0.0, 10.0):
        model = VQVAE(SMALL)
        optimizer = AdamW(learning_rate=1e-3, weight_decay=rate)
        model.start(x, np.random.default_rng(0))
        model.before_epoch()
        result = model.objective(x)
        optimizer.step(model.parameters.theta, model.parameters.grad)
        model.after_step(result)
        E.append(model.codebook.E.copy())
    assert np.array_equal(*E)


def test_k_means_starts_from_codes_of_the_data() -> None:
    x = digits()
    model = VQVAE(SMALL)
    before = model.codebook.E.copy()
    model.start(x, np.random.default_rng(0))
    z = model.encoder.forward(x)[0]
    spread = evaluate_objective(model, x, None)["distance"]
    moved_by = np.abs(model.codebook.E - before).max()
    model.codebook.E[...] = before
    assert moved_by > 0.1 and spread < 0.5 * evaluate_objective(model, x, None)["distance"]
    assert np.isfinite(z).all() and model.codebook.share.sum() == pytest.approx(1.0, abs=1e-5)


def test_grey_pixels_are_drawn_before_k_means() -> None:
    seen: list[np.ndarray] = []
    model = VQVAE(SMALL)
    right = model.encoder.forward
    model.encoder.forward = lambda x: (seen.append(x), right(x))[1]  # type: ignore[method-assign]
    model.start(np.full((40, 64), 0.3, np.float32), np.random.default_rng(0))
    assert set(np.unique(seen[0])) == {0.0, 1.0} and abs(seen[0].mean() - 0.3) < 0.05


@pytest.mark.parametrize(
    "what, message",
    [
        ({"n_codes": 1}, "n_codes of at least 2, got 1"),
        ({"code_size": 0}, "code_size of at least 1, got 0"),
        ({"context": -1}, "context of at least 0, got -1"),
        ({"patch": 3}, r"divides images of 8 x 8 \(1, 2, 4, 8\), got 3"),
        ({"image_shape": (64,)}, r"expected image_shape \(height, width\), got \(64,\)"),
        ({"activation": "cosine"}, "expected activation one of"),
        ({"hidden": (0,)}, "hidden widths of at least 1"),
    ],
)
def test_bad_architectures(what: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantisedArchitecture(**{"image_shape": (8, 8), "patch": 4, **what})


@pytest.mark.parametrize(
    "what, message",
    [
        ({"codebook": "magic"}, "codebook one of ema, gradient; got 'magic'"),
        ({"commitment": -0.1}, "commitment of at least 0, got -0.1"),
        ({"commitment": math.inf}, "commitment of at least 0, got inf"),
        ({"decay": 1.1}, "decay from 0 to 1, got 1.1"),
        ({"smoothing": math.nan}, "smoothing of at least 0, got nan"),
        ({"restart": 2.0}, "restart from 0 to 1, got 2.0"),
    ],
)
def test_bad_options(what: dict[str, Any], message: str) -> None:
    model, x = drawn(0)
    with pytest.raises(ValueError, match=message):
        model.objective(x, **what)


def test_bad_codes_and_no_prior() -> None:
    model, x = drawn(0)
    for codes, message in (
        (np.zeros((2, 3), int), r"shape \(N, 4\), got \(2, 3\)"),
        (np.zeros(4, int), r"shape \(N, 4\), got \(4,\)"),
        (np.full((1, 4), 5), "codes from 0 to 4, got 5 to 5"),
        (np.full((1, 4), -1), "codes from 0 to 4, got -1 to -1"),
        (np.array([[0, 4, -1, 2]]), "codes from 0 to 4, got -1 to 4"),
        (np.zeros((1, 4)), "integers, got float64"),
    ):
        with pytest.raises(ValueError, match=message):
            model.vectors(codes)
    with pytest.raises(ValueError, match="no prior over codes"):
        model.sample(3, np.random.default_rng(0))
    with pytest.raises(
        ValueError, match="n_codes of at most 800, the codes of 200 images, got 900"
    ):
        train(VQVAE(QuantisedArchitecture((8, 8), 4, n_codes=900)), digits(), progress=False)


def test_it_learns_what_it_is_told_to_learn_from() -> None:
    """Grey pixels under a Bernoulli warn, as with every model."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="grey pixels"):
            train(VQVAE(SMALL), load_digits().train.x[:50], epochs=1, progress=False)


def test_k_means_looks_at_as_many_images_as_there_are_entries() -> None:
    """One patch is the whole image: a thousand images have too few codes for more entries."""
    x = np.random.default_rng(0).integers(0, 2, (1_200, 4)).astype(np.float32)
    model = VQVAE(QuantisedArchitecture((2, 2), 2, 0, 1_100, 3, ()))
    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []

        def watched(z: np.ndarray, n_codes: int, rng: Any) -> Any:
            seen.append(len(z))
            return model._averages()

        patch.setattr("minivae.models.vector_quantised.k_means", watched)
        model.start(x, np.random.default_rng(0))
        assert seen == [1_100]


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize("kind", [VQVAE, TwoLevelVQVAE])
def test_float32_stays_float32(kind: type[VQVAE], codebook: str) -> None:
    shape = TwoLevelArchitecture if kind is TwoLevelVQVAE else QuantisedArchitecture
    model, x = kind(shape((8, 8), 4, 1, 12, 4, (16,))), digits(20)
    model.start(x, np.random.default_rng(0))
    model.before_epoch()
    result = model.objective(x, codebook=codebook)
    model.after_step(result)
    codes = model.codes(x)
    found = [*result[:-1], model.count, *model.pool, *model._averages(), model.vectors(codes),
             model.means(x), model.reconstruct(x), model.parameters.grad]  # fmt: skip
    assert {a.dtype.name for a in found} == {"float32"} and codes.dtype == np.int64


def test_a_single_patch_and_a_single_number_of_code() -> None:
    model, x = VQVAE(QuantisedArchitecture((3, 5), 1, 0, 2, 1, ())), np.ones((1, 15), np.float32)
    assert model.codes(x).shape == (1, 15) and model.reconstruct(x).shape == (1, 15)
    whole = VQVAE(QuantisedArchitecture((4, 4), 4, 2, 2, 1, ()))  # context beyond the image: zeros
    rows = np.random.default_rng(0).integers(0, 2, (5, 16)).astype(np.float32)
    train(whole, rows, rows[:1], epochs=2, batch_size=4, progress=False)  # a last batch of one
    assert whole.codes(rows).shape == (5, 1) and np.isfinite(whole.parameters.theta).all()
