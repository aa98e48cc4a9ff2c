"""Rungs about conduct: what the loss charges, how a step is taken, that a run repeats itself."""

import math
from typing import Any

import numpy as np

from minivae import arrays, objectives, training
from minivae.datasets import load_digits
from minivae.models import VAE, Architecture
from minivae.optimizers import SGD, Adam, AdamW
from minivae.schedules import Cyclical, LinearWarmUp, Schedule, WarmUp
from minivae.verify.derivatives import drawn_model
from minivae.verify.figures import Figure, Setting, worst


def charges(setting: Setting) -> list[Figure]:
    """What kl_weight and free_bits charge, by loops over Python floats; neither is in the bound."""
    charged = leaked = 0.0
    for case in range(setting.pick(3, 100, 1000)):
        B, gradient = ((4, False), (12, True))[case % 2]
        model, x, eps = drawn_model(VAE, np.random.default_rng([51, case]), B=B, latent=3)
        plain = objectives.elbo(model, x, eps, gradient=False)
        rows = plain.kl.tolist()
        means = [sum(row[j] for row in rows) / B for j in range(3)]
        floor = sorted(means)[1]
        result = objectives.elbo(model, x, eps, 0.7, floor, gradient)
        kl = sum(max(floor, m) for m in means)
        want = 0.7 * kl - sum(plain.reconstruction.tolist()) / B
        charged = worst(charged, abs(float(result.loss) - want))
        leaked = worst(leaked, np.abs(result.elbo - plain.elbo))
        bound = plain.reconstruction - plain.kl.sum(axis=-1)
        leaked = worst(leaked, np.abs(result.elbo - bound))
    return [
        Figure("loss with a KL weight and a floor", charged, 1e-12, "nats"),
        Figure("weight or floor in the reported bound", leaked, 1e-13, "nats"),
        Figure("weight in the held-out bound of a run", _held_out(), 1e-4, "nats"),
    ]


def batch_size(setting: Setting) -> list[Figure]:
    """An example costs the same in every batch, and a gradient is the mean of the parts'."""
    change = {"loss": 0.0, "bound": 0.0, "gradient": 0.0, "held-out": 0.0}
    for case in range(setting.pick(1, 20, 200)):
        likelihood = ("bernoulli", "gaussian", "continuous-bernoulli")[case % 3]
        rng = np.random.default_rng([52, case])
        model, x, eps = drawn_model(VAE, rng, B=12, likelihood=likelihood)
        whole, gradient = _loss(model, x, eps)
        for n in (1, 3, 5):
            parts = [slice(i, i + n) for i in range(0, 12, n)]
            share = np.array([len(x[p]) / 12 for p in parts])
            results = [_loss(model, x[p], eps[:, p]) for p in parts]
            losses = np.array([float(r.loss) for r, _ in results])
            bound = np.concatenate([r.elbo for r, _ in results])
            mean = sum(s * g for s, (_, g) in zip(share, results, strict=True))
            scores = training.evaluate_objective(model, x, np.random.default_rng(1), n)
            all_at_once = training.evaluate_objective(model, x, np.random.default_rng(1), 12)
            for name, off in (
                ("loss", abs(float(share @ losses) - float(whole.loss))),
                ("bound", np.abs(bound - whole.elbo)),
                ("gradient", np.abs(mean - gradient)),
                ("held-out", abs(scores["elbo"] - all_at_once["elbo"])),
            ):
                change[name] = worst(change[name], off)
    return [
        Figure(f"change of the {name} with the batch", value, 1e-12, "nats")
        for name, value in change.items()
    ]


def step_zero(setting: Setting) -> list[Figure]:
    """The loss before the first step is known: that of independent pixels at the data's mean."""
    x = np.rint(load_digits().train.x[: setting.pick(200, 1000, 1500)]).astype(np.float64)
    mean = (x.sum(axis=0) + 1.0) / (len(x) + 2.0)  # Laplace's rule of succession
    pixels = -(x * np.log(mean) + (1.0 - x) * np.log(1.0 - mean)).sum(axis=1).mean()
    variance = 0.04 * 2.0 * math.pi
    grey = (0.5 * ((x - mean) ** 2 / 0.04 + math.log(variance))).sum(axis=1).mean()
    figures = []
    for likelihood, want in (("bernoulli", pixels), ("gaussian", grey)):
        shape = Architecture(x.shape[1], 4, (50,), likelihood=likelihood)
        model = VAE(shape, data_mean=mean, dtype="float64")
        views = model.parameters.views(model.parameters.theta)
        for name, view in views.items():
            if name.startswith("encoder") or name in ("decoder.logits.W", "decoder.mu.W"):
                view[...] = 0.0
        loss = float(model.objective(x, np.random.default_rng(2), gradient=False).loss)
        figures.append(Figure(f"loss of a {likelihood} decoder", abs(loss - want), 1e-9, "nats"))
    start = VAE(shape, dtype="float64").parameters
    fresh = start.views(start.theta)["encoder.trunk.0.W"]
    off = abs(float(fresh.var()) * x.shape[1] / 2.0 - 1.0)
    allowed = 5.0 * math.sqrt(2.0 / fresh.size)  # n normal numbers know their variance so well
    return [*figures, Figure("variance of He's weights", off, allowed, "of 1")]


def optimiser(setting: Setting) -> list[Figure]:
    """Adam, AdamW and SGD against their textbooks, on Python floats; a restored one goes on."""
    rng, steps = np.random.default_rng(53), setting.pick(20, 60, 500)
    theta = rng.normal(size=6)  # the last of them has no gradient, as a pixel that is never on
    gradients = rng.normal(size=(steps, 6)) * np.array([1e-9, 1e-6, 1e-3, 1.0, 1e3, 0.0])
    off = []
    for optimizer, decay in ((Adam(0.01), 0.0), (AdamW(0.01, weight_decay=0.1), 0.1)):
        want = [_adam(t, g, decay) for t, g in zip(theta, gradients.T.tolist(), strict=True)]
        off.append(float(np.abs(_run(optimizer, theta, gradients) - want).max()))
    small = gradients[:, :5] / np.abs(gradients[:, :5]).max(axis=0)
    momentum = [_momentum(t, g) for t, g in zip(theta[:5], small.T.tolist(), strict=True)]
    sgd = float(np.abs(_run(SGD(0.01, 0.9), theta[:5], small) - momentum).max())
    first = Adam(0.01)
    half = _run(first, theta, gradients[: steps // 2])
    second = Adam(0.01)
    second.restore(first.state(), half)
    resumed = _run(second, half, gradients[steps // 2 :])
    return [
        Figure("Adam against algorithm 1", off[0], 1e-12, "absolute"),
        Figure("AdamW against algorithm 2", off[1], 1e-12, "absolute"),
        Figure("SGD against the decayed sum", sgd, 1e-12, "absolute"),
        Figure("resumed Adam against uninterrupted", float(
            np.abs(resumed - _run(Adam(0.01), theta, gradients)).max()), 0.0, "absolute"),
    ]  # fmt: skip


def schedules(setting: Setting) -> list[Figure]:
    """Warm-ups and cycles against tables written by hand."""
    tables: dict[str, tuple[Schedule, list[float]]] = {
        "linear warm-up of the KL": (LinearWarmUp(4), [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]),
        "cyclical KL": (Cyclical(8, 2, 0.5), [0.0, 0.5, 1.0, 1.0] * 2 + [1.0]),
        "warm-up of the rate": (WarmUp(4), [0.25, 0.5, 0.75, 1.0, 1.0]),
    }
    return [
        Figure(name, worst(*[abs(f(t) - want) for t, want in enumerate(table)]), 1e-15, "absolute")
        for name, (f, table) in tables.items()
    ]


def determinism(setting: Setting) -> list[Figure]:
    """The same seed gives the same bits, another seed others; a continued run the same again."""
    epochs = setting.pick(2, 3, 5)
    first, again, other = (_trained(seed, epochs) for seed in (0, 0, 1))
    history, model, adam = None, _fresh(), Adam()
    for stop in (1, epochs):
        history = _train(model, 0, stop, adam, history)
    return [
        Figure("numbers that differ in a second run", _differing(first, again), 0.0, "of theta"),
        Figure("numbers that differ after a pause", _differing(
            first, model.parameters.theta), 0.0, "of theta"),
        Figure("share that another seed leaves alone", 1.0 - _differing(first, other) / len(first),
            0.5, "of theta"),
    ]  # fmt: skip


def _loss(model: VAE, x: Any, eps: Any) -> tuple[objectives.Elbo, Any]:
    model.parameters.zero_grad()
    return objectives.elbo(model, x, eps), arrays.copy(model.parameters.grad)


def _held_out() -> float:
    """The held-out bound of an epoch that was trained at beta = 0.1, against the plain one."""
    x = np.rint(load_digits().train.x[:64])
    model = VAE(Architecture(64, 2, (8,)))
    history = training.train(
        model, x, x[:20], epochs=1, batch_size=32, progress=False, kl_weight=0.1, free_bits=1.0
    )
    rng = arrays.generator("cpu", 0, 0, 5)  # the seed and the purpose of validation
    eps = arrays.standard_normal(rng, (1, 20, 2), x)
    plain = objectives.elbo(model, x[:20], eps, gradient=False)
    bound = plain.reconstruction.astype(np.float64) - plain.kl.astype(np.float64).sum(axis=-1)
    return abs(float(history.rows[-1]["valid_elbo"]) - float(bound.mean()))


def _fresh() -> VAE:
    return VAE(Architecture(64, 2, (16,)))


def _train(model: VAE, seed: int, epochs: int, adam: Adam, history: Any = None) -> Any:
    x = load_digits().train.x[:300]
    return training.train(
        model, x, epochs=epochs, batch_size=64, optimizer=adam, seed=seed, binarisation="new",
        progress=False, history=history,
    )  # fmt: skip


def _trained(seed: int, epochs: int) -> np.ndarray:
    model = _fresh()
    _train(model, seed, epochs, Adam())
    return arrays.to_numpy(model.parameters.theta)


def _differing(a: np.ndarray, b: np.ndarray) -> float:
    return float((a != b).sum())


def _run(optimizer: Any, theta: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    moved = theta.copy()
    for g in gradients:
        optimizer.step(moved, g.copy())
    return moved


def _adam(theta: float, gradients: list[float], decay: float) -> float:
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = (m / (1.0 - 0.9**t)) / (math.sqrt(v / (1.0 - 0.999**t)) + 1e-8)
        theta -= 0.01 * (step + decay * theta)
    return theta


def _momentum(theta: float, gradients: list[float]) -> float:
    for t in range(len(gradients)):
        theta -= 0.01 * sum(0.9 ** (t - s) * gradients[s] for s in range(t + 1))
    return theta
