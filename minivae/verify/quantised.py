"""The rung of the VQ-VAE: its terms, straight-through gradient, averages, ties and dead entries."""

from typing import Any

import numpy as np

from minivae.codebook import Averages, Codebook, hidden_rate, moved, nearest
from minivae.models import VQVAE, IndependentPrior, QuantisedArchitecture, quantisation
from minivae.parameters import Parameters
from minivae.verify.figures import Figure, Setting, worst
from minivae.verify.gradients import complex_step, gradient_error


def codes(setting: Setting) -> list[Figure]:
    """What van den Oord and others' equation 3 says, and what k-means says of the averages."""
    gradient = cost = lloyd = far = ties = blur = dead = 0.0
    for case in range(setting.pick(2, 5, 50)):
        model, x = _drawn(case)
        for commitment, codebook in ((0.25, 1.0), (0.25, 0.0)):
            gradient = worst(gradient, _gradient_error(model, x, commitment, codebook))
        cost = worst(cost, _change_with_the_batch(model, x))
        rng = np.random.default_rng([61, case])
        z, E = rng.normal(size=(30, 3)), rng.normal(size=(4, 3))
        index = ((z[:, None] - E[None]) ** 2).sum(axis=2).argmin(axis=1)
        fixed = Averages(E, np.full(4, 0.25), E / 4)
        step = moved(fixed, index, z, decay=0.0, smoothing=0.0).E
        for k in set(index.tolist()):
            lloyd = worst(lloyd, float(np.abs(step[k] - z[index == k].mean(axis=0)).max()))
        far = worst(far, _thrown(rng))
        twice = np.concatenate([E, E])
        ties = worst(ties, float((nearest(z, twice) != index).mean()))
        blur = worst(blur, _wrong_beside_a_far_entry(rng))
        dead = worst(dead, _dead_after_an_epoch(case))
    return [
        Figure("straight-through gradient against its surrogate", gradient, 1e-12, "relative"),
        Figure("change of an example's cost with the batch", cost, 1e-12, "nats"),
        Figure("averages without decay against a step of k-means", lloyd, 1e-12, "code units"),
        Figure("largest entry after a step, of the data's size", far, 1.0, "of 1"),
        Figure("ties that the first of equal entries does not win", ties, 0.0, "share"),
        Figure("vectors with a wrong entry beside a far one", blur, 0.0, "share"),
        Figure("a dead entry after an epoch, from the next code", dead, 1e-12, "code units"),
        Figure("codes without data against M log n_codes", _rate(), 1e-12, "nats"),
    ]


def _drawn(case: int) -> tuple[VQVAE, np.ndarray]:
    rng = np.random.default_rng([60, case])
    shape = QuantisedArchitecture((4, 4), 2, 0, 5, 2, (3,), "tanh")
    model = VQVAE(shape, seed=case, dtype="float64")
    model.parameters.theta[...] += 0.3 * rng.normal(size=len(model.parameters))
    return model, rng.integers(0, 2, (3, 16)).astype(np.float64)


def _gradient_error(model: VQVAE, x: np.ndarray, commitment: float, codebook: float) -> float:
    """Against the derivative of the surrogate, in which sg(...) stands as a number."""
    parameters, theta = model.parameters, model.parameters.theta
    z0 = model.encoder.forward(x)[0]
    index = ((z0[:, None] - model.codebook.E[None]) ** 2).sum(axis=2).argmin(axis=1)
    e0 = model.codebook.E[index].copy()

    def surrogate(values: np.ndarray) -> Any:
        parameters.bind(values)
        z, e = model.encoder.forward(x)[0], model.codebook.E[index]
        out, _ = model.decoder.forward(z + (e0 - z0))
        pulls = codebook * ((z0 - e) ** 2).sum() + commitment * ((z - e0) ** 2).sum()
        return (pulls - model.likelihood(*out).log_prob(x).sum()) / len(x)

    parameters.zero_grad()
    quantisation.quantised(model, x, commitment, codebook)
    got = parameters.grad.copy()
    want = complex_step(surrogate, theta.copy())
    parameters.bind(theta)
    return gradient_error(got, want, float(np.abs(want).max()))


def _change_with_the_batch(model: VQVAE, x: np.ndarray) -> float:
    """The loss of three examples, and the mean of their losses one by one."""
    whole = float(quantisation.quantised(model, x, gradient=False).loss)
    alone = [
        float(quantisation.quantised(model, x[i : i + 1], gradient=False).loss) for i in range(3)
    ]
    return abs(whole - float(np.mean(alone)))


def _thrown(rng: np.random.Generator) -> float:
    """The largest entry after one step from a fresh codebook, most of which nobody chose."""
    layer = Codebook(40, 3)
    Parameters({"codebook": layer}, rng, "float64")
    z = rng.normal(size=(10, 3))
    before = Averages(layer.E, layer.share, layer.total)
    after = moved(before, nearest(z, layer.E), z).E
    sizes = [float(np.linalg.norm(a, axis=1).max()) for a in (after, layer.E, z)]
    return sizes[0] / (1.001 * max(sizes[1:]))


def _wrong_beside_a_far_entry(rng: np.random.Generator) -> float:
    """In float32, where the far entry's |e|^2 is rounded to more than all other distances."""
    z, E = (rng.normal(size=(n, 3)).astype(np.float32) for n in (30, 4))
    index = ((z[:, None].astype(np.float64) - E[None]) ** 2).sum(axis=2).argmin(axis=1)
    far = np.full((1, 3), 1e4, np.float32)
    return float((nearest(z, np.concatenate([far, E])) != index + 1).mean())


def _dead_after_an_epoch(case: int) -> float:
    """How far from the codes of the epoch an entry is that none of them chose."""
    model, x = _drawn(case)
    model.codebook.E[0] = 1e3
    model.before_epoch()
    result = model.objective(x, codebook="gradient")
    model.after_step(result)
    model.after_epoch(np.random.default_rng([62, case]))
    return float(np.sqrt(((model.codebook.E[0] - result.z) ** 2).sum(axis=1).min()))


def _rate() -> float:
    """A prior that has seen nothing holds all codes equally likely."""
    prior = IndependentPrior(np.zeros((0, 3), np.int64), 5)
    return abs(float(prior.log_prob(np.array([[0, 1, 4]]))[0]) + hidden_rate(3, 5))
