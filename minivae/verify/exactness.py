"""Rungs on worlds whose log p(x) is known: the bound is the number it claims to be."""

import itertools
import math

import numpy as np

from minivae import evaluation, exact, objectives
from minivae.datasets import load_digits
from minivae.exact import forms, linear_vae
from minivae.exact.discrete import DiscreteWorld
from minivae.models import VAE
from minivae.verify import integrals
from minivae.verify.derivatives import drawn_model
from minivae.verify.figures import Figure, Setting, worst

LATENT = 8
"""Latents of the linear VAE on the digits."""

DIRECTIONS = 40
"""Latents where none may be missing: of the digits' 64 directions 39 have a variance above 0.01."""


def eight_forms(setting: Setting) -> list[Figure]:
    """The eight derivations of the ELBO agree, and IWAE rises from it to log p(x)."""
    rng, spread, order, above = np.random.default_rng(41), 0.0, 0.0, 0.0
    for _ in range(setting.pick(5, 500, 5000)):
        world = DiscreteWorld.random(rng, 5, 3, scale=rng.uniform(0.0, 3.0))
        values = list(forms.eight_forms(world).values())
        spread = worst(spread, np.ptp(values))
        rising = [forms.iwae(world, k) for k in (1, 2, 4)] + [world.log_evidence]
        order = worst(order, *(a - b for a, b in itertools.pairwise(rising)))
        upper = forms.evidence_upper_bound(world)
        above = worst(above, world.log_evidence - upper)
    return [
        Figure("spread of the eight forms", spread, 1e-12, "nats"),
        Figure("ELBO <= IWAE_2 <= IWAE_4 <= log p(x), missed by", order, 1e-12, "nats"),
        Figure("log p(x) <= the upper bound, missed by", above, 1e-12, "nats"),
    ]


def ppca(setting: Setting) -> list[Figure]:
    """The linear VAE at its optimum on the digits is probabilistic PCA: ELBO = log p(x).

    The library's whole path, encoder to KL, against log N(x; b, C) from NumPy's linear algebra.
    """
    x = load_digits().train.x.astype(np.float64)
    spectrum = exact.Spectrum.of(x)
    world = exact.fit_ppca(spectrum, LATENT)
    x = x[: setting.pick(40, len(x), len(x))]
    log_p = _log_normal(x, world.b, world.W.T @ world.W + world.variance * np.eye(x.shape[1]))
    model = exact.as_vae(world)
    eps = exact.cubature(len(x), LATENT)
    bound = objectives.elbo(model, x, eps, gradient=False)
    nll = evaluation.estimate_likelihood(model, x, np.random.default_rng(42), 3).nll
    gap = _gap_by_pieces(model, x, log_p)
    return [
        Figure("ELBO against log p(x)", worst(np.abs(bound.elbo - log_p)), 1e-8, "nats"),
        Figure("NLL of 3 draws against -log p(x)", worst(np.abs(nll + log_p)), 1e-8, "nats"),
        Figure("log p(x) less the gap of another q", gap, 1e-8, "nats"),
        Figure("slope of the likelihood at the optimum", _slope(spectrum, 1.0), 1e-8, "nats"),
    ]


def bounds(setting: Setting) -> list[Figure]:
    """ELBO <= IWAE_k <= IWAE_2k <= log p(x), each by quadrature too, for a nonlinear decoder.

    From k draws every smaller bound is the mean over groups of these draws, so the order holds on
    each example without exception.  Against log p(x) only the mean has to be below, so repetitions
    of each example give it a standard error, and 3 of them are allowed.  And each IWAE_k has to be
    the one of k draws, from both sides: no more draws, and no fewer.
    """
    rng, copies = np.random.default_rng(43), setting.pick(20, 400, 4000)
    model, x, _ = drawn_model(VAE, rng, B=setting.pick(4, 8, 8), n_features=6, latent=1)
    view = model.parameters.views(model.parameters.theta)
    view["decoder.logits.W"][...] *= 3.0
    log_p = exact.exact_evidence(model, x, 1e-8).log_evidence
    sizes = [2**i for i in range(9)]
    found = evaluation.iwae_bounds(model, np.repeat(x, copies, axis=0), rng, sizes)
    order = worst(0.0, *[found[j] - found[2 * j] for j in sizes[:-1]])
    level = worst(*[np.mean(~(found[2 * j] - found[j] > 1e-12)) for j in sizes[:-1]])
    exactly, above, off = integrals.iwae(model, x, log_p, sizes), 0.0, 0.0
    for j in sizes:
        table = found[j].reshape(len(x), copies)
        error = _standard_error(table)
        above = worst(above, float((table - log_p[:, None]).mean()) / error)
        off = worst(off, abs(float((table - exactly[j][:, None]).mean())) / error)
    elbo = exact.exact_bound(model, x, 1e-8)
    return [
        Figure("order of IWAE_1 ... IWAE_256, missed by", order, 1e-12, "nats"),
        Figure("bounds above log p(x)", above, 3.0, "standard errors"),
        Figure("examples whose bound does not rise", level, 0.01, "of 1"),
        Figure("IWAE_1 ... IWAE_256 against their integrals", off, 4.5, "standard errors"),
        Figure(
            "integral of IWAE_1 less the ELBO's",
            worst(np.abs(exactly[1] - elbo.elbo)),
            1e-7,
            "nats",
        ),
        Figure("log p - ELBO - KL(q || p(z|x))", worst(np.abs(elbo.gap - elbo.kl)), 1e-7, "nats"),
    ]


def water_filling(setting: Setting) -> list[Figure]:
    """The best linear beta-VAE lies on Shannon's curve, and the gradient of its loss is zero.

    There are latents for all directions above the water: with fewer, a VAE lies above the curve.
    Shannon's curve is found here by bisection for the water level at the model's distortion; the
    gradient is that of `objectives.elbo` with kl_weight = beta.
    """
    spectrum = exact.Spectrum.of(load_digits().train.x.astype(np.float64))
    variance, l = 0.02, np.maximum(spectrum.eigenvalues, 0.0)
    above, apart, slope, active = 0.0, 0.0, 0.0, 0
    for beta in (0.5, 1.0, 4.0, 16.0, 32.0)[: setting.pick(3, 5, 5)]:
        world = linear_vae.best_decoder(spectrum, DIRECTIONS, variance, beta)
        point = exact.operating_point(exact.as_vae(world, beta), spectrum.stand_ins())
        level = _level(l, point.distortion)
        within = min(point.distortion, float(l.sum()))  # more is a mistake that figures tell
        rate = sum(0.5 * math.log(v / level) for v in l.tolist() if v > level)
        above = worst(above, abs(point.rate - rate), abs(level - beta * variance))
        again = exact.reverse_water_filling(l, beta * variance, DIRECTIONS)
        apart = worst(
            apart, *(np.abs(a - b) for a, b in zip(point, again, strict=True)),
            abs(exact.water_level(l, within) - level),
            abs(exact.shannon_rate(l, within) - rate),
        )  # fmt: skip
        active += abs(point.active() - int((l > level).sum()))
        slope = worst(slope, _slope(spectrum, beta, variance, DIRECTIONS))
    return [
        Figure("rate and water level off Shannon's curve", above, 1e-8, "nats, variance"),
        Figure("the formulas of water_filling.py", apart, 1e-8, "nats, squared error"),
        Figure("latents that are wrongly in use", float(active), 0.0, "latents"),
        Figure("slope of the beta-loss at its optimum", slope, 1e-8, "nats"),
    ]


def _level(l: np.ndarray, distortion: float) -> float:
    """The water level at which sum_i min(l_i, level) is the distortion, by bisection."""
    low, high = 0.0, float(l.max())
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.minimum(l, middle).sum() < distortion else (low, middle)
    return 0.5 * (low + high)


def _standard_error(table: np.ndarray) -> float:
    """Of the mean over examples (rows) and repetitions, over the draws; at least rounding."""
    variance = table.var(axis=1, ddof=1) / table.shape[1]
    return max(1e-12, math.sqrt(float(variance.sum())) / len(table))


def _slope(
    spectrum: exact.Spectrum, beta: float, variance: float | None = None, latent: int = LATENT
) -> float:
    """The largest |gradient| at the known optimum; that of the variance counts if it was free."""
    fitted = variance is None
    if variance is None:
        variance = exact.noise_variance(spectrum.eigenvalues, latent)
    data = spectrum.stand_ins()
    model = exact.as_vae(linear_vae.best_decoder(spectrum, latent, variance, beta), beta)
    eps = exact.cubature(len(data), latent)
    model.parameters.zero_grad()
    objectives.elbo(model, data, eps, kl_weight=beta)
    views = model.parameters.views(model.parameters.grad)
    used = [g for name, g in views.items() if fitted or name != "decoder.logvar.c"]
    return worst(*[np.abs(g) for g in used])


def _gap_by_pieces(model: VAE, x: np.ndarray, log_p: np.ndarray) -> float:
    """With q moved, ELBO = log p(x) - KL(q || posterior), by the formula of two Gaussians."""
    right = model.encode(x)
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.b"][...] += 0.3
    view["encoder.logvar.0.b"][...] += 0.5
    q, eps = model.encode(x), exact.cubature(len(x), LATENT)
    bound = objectives.elbo(model, x, eps, gradient=False).elbo
    ratio = q.logvar - right.logvar
    kl = 0.5 * (np.exp(ratio) - 1.0 - ratio + (q.mu - right.mu) ** 2 / np.exp(right.logvar))
    return worst(np.abs(bound - (log_p - kl.sum(axis=-1))))


def _log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    r, (_, log_det) = x - mean, np.linalg.slogdet(covariance)
    distance = (r * np.linalg.solve(covariance, r.T).T).sum(axis=1)
    return -0.5 * (x.shape[1] * math.log(2.0 * math.pi) + log_det + distance)
