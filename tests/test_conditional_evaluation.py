"""The conditional likelihood against truths, leakage and its chance, quadrants, the judge."""

import math

import numpy as np
import pytest
from oracles import CASES  # noqa: F401  # the suite counts its cases there
from test_conditional import evidence, make

from minivae import evaluation
from minivae.datasets import load_digits
from minivae.datasets.conditions import conditions
from minivae.evaluation import (
    Classifier,
    class_pixels,
    completed,
    conditional_importance,
    conditional_likelihood,
    leakage,
    mean_codes,
    prior_likelihood,
    quadrants,
)
from minivae.models import VAE, Architecture, ConditionalArchitecture
from minivae.training import train
from minivae.verify import model_errors


@pytest.mark.parametrize("prior", ["standard", "learned"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_importance_sampling_finds_the_truth(likelihood: str, prior: str) -> None:
    model, x, y, _ = make(np.random.default_rng(1), B=3, likelihood=likelihood, prior=prior)
    views = model.parameters.views(model.parameters.theta)
    for name in views:  # a proposal that reaches where the posterior is
        if name.startswith(("encoder.mu", "prior.mu", "encoder.logvar", "prior.logvar")):
            views[name][...] *= 0.3
    views["encoder.logvar.0.b"][...] += 0.7
    truth = evidence(model, x, y)
    rng = np.random.default_rng(2)
    found = conditional_likelihood(model, x, y, rng, 20_000)
    again = conditional_importance(model, x, y, np.random.default_rng(2), 20_000)
    assert again.nll == pytest.approx(found.nll, abs=1e-10)
    assert (np.abs(-found.nll - truth) < 5.0 * again.standard_error + 1e-6).all()
    assert again.standard_error.max() < 0.05
    q, p_z = model.encode(x, y), model.prior_of(y)
    assert found.kl == pytest.approx(q.kl(p_z), abs=1e-12)
    assert found.elbo == pytest.approx(found.reconstruction - found.kl, abs=1e-12)
    assert (found.elbo < truth + 0.02).all()
    blind = prior_likelihood(model, x, y, np.random.default_rng(3), 20_000)
    assert (np.abs(blind.log_evidence - truth) < 5.0 * blind.standard_error + 1e-6).all()


@pytest.mark.parametrize("prior", ["standard", "learned"])
def test_draws_of_the_prior_do_not_look_at_x(prior: str) -> None:
    model, x, y, _ = make(np.random.default_rng(7), B=3, prior=prior)
    found = prior_likelihood(model, x, y, np.random.default_rng(8), 50)
    p_z = model.prior_of(y)
    eps = np.random.default_rng(8).standard_normal((50, *p_z.mu.shape))
    log_px = np.stack([model.decode(p_z.sample(e), y).log_prob(x) for e in eps])
    assert found.nll == pytest.approx(-np.log(np.exp(log_px).mean(axis=0)), abs=1e-10)


def test_log_weights_are_the_ratio_of_the_densities() -> None:
    model, x, y, eps = make(np.random.default_rng(3), B=2, S=1)
    q, p_z = model.encode(x, y), model.prior_of(y)
    z = q.mu + np.exp(q.logvar / 2) * eps[0]
    want = model.decode(z, y).log_prob(x) + p_z.log_prob(z) - q.log_prob(z)
    got = sum(evaluation.conditional.conditional_weights(model, x, y, q, p_z, eps))
    assert got[0] == pytest.approx(want, abs=1e-12)


def test_chunks_and_progress() -> None:
    model, x, y, _ = make(np.random.default_rng(4), B=3)
    x, y = np.tile(x, (50, 1)), np.tile(y, (50, 1))
    seen: list[int] = []
    found = conditional_likelihood(model, x, y, np.random.default_rng(0), 3, seen.append)
    assert sum(seen) == 150 and len(seen) == 2 and found.nll.shape == (150,)
    assert np.array_equal(found.kl[:3], found.kl[147:]) and found.n_samples == 3
    assert mean_codes(model, x, y) == pytest.approx(model.encode(x, y).mu)
    with pytest.raises(ValueError, match="n_samples of at least 1, got 0"):
        conditional_likelihood(model, x, y, None, 0)
    with pytest.raises(ValueError, match=r"conditions of shape \(150, 3\), got \(149, 3\)"):
        conditional_likelihood(model, x, y[1:], None, 1)
    with pytest.raises(TypeError, match="a ConditionalVAE, got VAE"):
        conditional_likelihood(VAE(Architecture(4)), x, y, None, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a ConditionalVAE, got VAE"):
        mean_codes(VAE(Architecture(4)), x, y)


def test_leakage_is_read_on_held_out_examples() -> None:
    rng = np.random.default_rng(5)
    noise, labels = rng.normal(size=(400, 60)), rng.integers(0, 4, 400)
    nothing = leakage(noise[:200], labels[:200], noise[200:], labels[200:])
    commonest = np.bincount(labels[:200]).argmax()
    assert nothing.chance == (labels[200:] == commonest).mean()
    assert abs(nothing.accuracy.mean - nothing.chance) < 0.1
    other = 3 - labels  # another class is the commonest
    last = np.bincount(other[:200]).argmax()
    chance = leakage(noise[:200], other[:200], noise[200:], other[200:]).chance
    assert chance == (other[200:] == last).mean() and chance != (other[200:] == 0).mean()
    seen = leakage(noise[:200], labels[:200], noise[:200], labels[:200])
    assert seen.accuracy.mean > 0.5  # what pure noise "tells" about the examples it was fitted on
    telling = noise.copy()
    telling[:, :4] = 5.0 * np.eye(4)[labels] + 0.1 * noise[:, :4]
    everything = leakage(telling[:200], labels[:200], telling[200:], labels[200:])
    assert everything.accuracy.mean > 0.9 and everything.information > 0.7
    shares = np.bincount(labels[200:]) / 200
    assert everything.entropy == pytest.approx(-(shares * np.log(shares)).sum())


def test_independent_pixels_of_each_class() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 2, (40, 5)).astype(float), rng.integers(0, 2, 40)
    nll = class_pixels(x, y, x[:4], y[:4])
    for i in range(4):
        own = x[y == y[i]]
        p = (own.sum(axis=0) + 1.0) / (len(own) + 2.0)
        want = -sum(math.log(p[j] if x[i, j] else 1.0 - p[j]) for j in range(5))
        assert nll[i] == pytest.approx(want)
    with pytest.raises(ValueError, match="no training image has the class 5"):
        class_pixels(x, y, x[:1], np.array([5]))


def test_quadrants() -> None:
    def drawn(given: int) -> str:
        return "".join(".#"[int(k)] for k in quadrants((4, 4), given))

    assert drawn(1) == "........##..##.."
    assert drawn(2) == "##..##..##..##.."
    assert drawn(3) == "########" + "##..##.."
    assert quadrants((28, 28), 1).sum() == 196 and quadrants((2, 2, 3), 2).sum() == 6
    for given, shape in ((0, (4, 4)), (4, (4, 4)), (2, (1, 9))):
        with pytest.raises(ValueError, match="1, 2 or 3 quadrants"):
            quadrants(shape, given)


def test_the_rest_of_an_image_is_predicted_from_its_part() -> None:
    digits = load_digits()
    known = quadrants((8, 8), 2)
    x, held = ((a > 0.5).astype(np.float32) for a in (digits.train.x, digits.test.x))
    shape = ConditionalArchitecture(32, 4, (64,), n_conditions=32, prior="learned")
    model = train_model(shape, x[:, ~known], x[:, known], 20)
    found = conditional_importance(
        model, held[:100, ~known], held[:100, known], np.random.default_rng(0), 100
    )
    p = (x.sum(axis=0) + 1) / (len(x) + 2)
    alone = -(held * np.log(p) + (1 - held) * np.log(1 - p))[:100, ~known].sum(axis=1)
    assert found.nll.mean() < alone.mean() - 3.0
    whole = completed(model, held[:5, known], known, np.random.default_rng(0))
    assert np.array_equal(whole[:, known], held[:5, known]) and whole.shape == (5, 64)
    again = completed(model, held[:5, known], known, np.random.default_rng(1))
    assert (whole[:, ~known] != again[:, ~known]).any()
    part = held[:5, known]
    cold = [completed(model, part, known, np.random.default_rng(s), 1e-6) for s in (0, 1)]
    assert cold[0] == pytest.approx(cold[1], abs=1e-3)
    p_z = model.prior_of(held[:5, known])
    want = model.decode(p_z.mu, held[:5, known]).mean
    assert cold[0][:, ~known] == pytest.approx(want, abs=1e-3)


def train_model(shape: ConditionalArchitecture, x: np.ndarray, y: np.ndarray, epochs: int):  # type: ignore[no-untyped-def]
    from minivae.models import ConditionalVAE

    model = ConditionalVAE(shape, 0.9 * x.mean(axis=0) + 0.05)
    train(model, x, y=y, epochs=epochs, batch_size=64, progress=False)
    return model


def test_the_judge() -> None:
    digits = load_digits()
    y = conditions(digits).of(digits.train)
    judge = Classifier(ConditionalArchitecture(64, hidden=(32,), n_conditions=10), dtype="float64")
    rng = np.random.default_rng(7)
    small = Classifier(ConditionalArchitecture(3, hidden=(3,), n_conditions=2, activation="tanh"),
                       dtype="float64")  # fmt: skip
    some, labels = rng.normal(size=(4, 3)), np.eye(2)[[0, 1, 1, 0]]
    errors = model_errors(small, lambda g: small.objective(some, gradient=g, y=labels))
    assert max(errors.values()) <= 1e-12
    train(judge, digits.train.x, y=y, epochs=15, batch_size=50, progress=False)
    assert (judge.classes(digits.test.x) == digits.test.y).mean() > 0.9
    few = digits.test[:5]
    result = judge.objective(few.x, gradient=False, y=conditions(digits).of(few))
    assert float(result.loss) == pytest.approx(-float(result.terms()["reconstruction"].mean()))
