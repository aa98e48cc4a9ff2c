"""Rungs on worlds whose log p(x) is known: the bound is the number it claims to be."""

import itertools
import math

import numpy as np

from minivae import evaluation, exact, objectives
from minivae.datasets import load_digits
from minivae.exact import forms, linear_vae
from minivae.exact.discrete import DiscreteWorld
from minivae.models import VAE
from minivae.verify.derivatives import drawn_model
from minivae.verify.figures import Figure, Setting

LATENT = 8
"""Latents of the linear VAE on the digits."""


def eight_forms(setting: Setting) -> list[Figure]:
    """The eight derivations of the ELBO agree, and IWAE rises from it to log p(x)."""
    rng, spread, order, above = np.random.default_rng(41), 0.0, 0.0, 0.0
    for _ in range(setting.pick(5, 500, 5000)):
        world = DiscreteWorld.random(rng, 5, 3, scale=rng.uniform(0.0, 3.0))
        values = list(forms.eight_forms(world).values())
        spread = max(spread, max(values) - min(values))
        rising = [forms.iwae(world, k) for k in (1, 2, 4)] + [world.log_evidence]
        order = max(order, *(float((a - b).max()) for a, b in itertools.pairwise(rising)))
        upper = forms.evidence_upper_bound(world)
        above = max(above, float((world.log_evidence - upper).max()))
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
        Figure("ELBO against log p(x)", float(np.abs(bound.elbo - log_p).max()), 1e-8, "nats"),
        Figure("NLL of 3 draws against -log p(x)", float(np.abs(nll + log_p).max()), 1e-8, "nats"),
        Figure("log p(x) less the gap of another q", gap, 1e-8, "nats"),
        Figure("slope of the likelihood at the optimum", _slope(spectrum, 1.0), 1e-8, "nats"),
    ]


def bounds(setting: Setting) -> list[Figure]:
    """ELBO <= IWAE_k <= IWAE_2k <= log p(x), the last by quadrature, for a nonlinear decoder.

    From k draws every smaller bound is the mean over groups of these draws, so the order holds on
    each example without exception.  Against log p(x) only the mean has to be below, so repetitions
    of each example give it a standard error, and 3 of them are allowed.
    """
    rng, copies = np.random.default_rng(43), setting.pick(20, 400, 4000)
    model, x, _ = drawn_model(VAE, rng, B=setting.pick(4, 8, 8), n_features=6, latent=1)
    view = model.parameters.views(model.parameters.theta)
    view["decoder.logits.W"][...] *= 3.0
    log_p = exact.exact_evidence(model, x, 1e-8).log_evidence
    sizes = [2**i for i in range(9)]
    found = evaluation.iwae_bounds(model, np.repeat(x, copies, axis=0), rng, sizes)
    order = float(np.max([0.0, *((found[j] - found[2 * j]).max() for j in sizes[:-1])]))
    above = gap = 0.0
    for j in sizes:
        table = found[j].reshape(len(x), copies) - log_p[:, None]
        error = _standard_error(table)
        gap = float(table.mean())
        above = max(above, gap / error)
    elbo = exact.exact_bound(model, x, 1e-8)
    mean_elbo = found[1].reshape(len(x), copies) - elbo.elbo[:, None]
    noise = _standard_error(mean_elbo)
    off, apart = abs(float(mean_elbo.mean())) / noise, float(np.abs(elbo.gap - elbo.kl).max())
    return [
        Figure("order of IWAE_1 ... IWAE_256, missed by", order, 1e-12, "nats"),
        Figure("bounds above log p(x)", above, 3.0, "standard errors"),
        Figure("IWAE_256 against log p(x)", abs(gap), 0.05, "nats"),
        Figure("IWAE_1 against the exact ELBO", off, 4.0, "standard errors"),
        Figure("log p - ELBO - KL(q || p(z|x))", apart, 1e-7, "nats"),
    ]


def water_filling(setting: Setting) -> list[Figure]:
    """The best linear beta-VAE lies on Shannon's curve, and the gradient of its loss is zero.

    Rate and distortion on the curve are summed here direction by direction, at the level
    t = beta sigma^2, and not by `reverse_water_filling`; only the eigenvalues are the library's.
    The gradient is that of `objectives.elbo` with kl_weight = beta.
    """
    x = load_digits().train.x.astype(np.float64)
    spectrum = exact.Spectrum.of(x)
    variance, off, slope, active = 0.02, 0.0, 0.0, 0
    betas = (0.5, 1.0, 4.0, 16.0, 64.0)[: setting.pick(3, 5, 5)]
    for beta in betas:
        world = linear_vae.best_decoder(spectrum, LATENT, variance, beta)
        model = exact.as_vae(world, beta)
        data = spectrum.stand_ins()
        point = exact.operating_point(model, data)
        eigenvalues = spectrum.eigenvalues
        level = beta * variance
        largest, rest = eigenvalues[:LATENT], float(eigenvalues[LATENT:].sum())
        rate = sum(0.5 * math.log(l / level) for l in largest.tolist() if l > level)
        error = sum(min(l, level) for l in largest.tolist()) + rest
        off = max(off, abs(point.rate - rate), abs(point.distortion - error))
        active += abs(point.active() - sum(l > level for l in largest.tolist()))
        slope = max(slope, _slope(spectrum, beta, variance))
    return [
        Figure("rate and distortion off the curve", off, 1e-8, "nats, squared error"),
        Figure("latents that are wrongly in use", float(active), 0.0, "latents"),
        Figure("slope of the beta-loss at its optimum", slope, 1e-8, "nats"),
    ]


def _standard_error(table: np.ndarray) -> float:
    """Of the mean over examples (rows) and repetitions, over the draws; at least rounding."""
    variance = table.var(axis=1, ddof=1) / table.shape[1]
    return max(1e-12, math.sqrt(float(variance.sum())) / len(table))


def _slope(spectrum: exact.Spectrum, beta: float, variance: float | None = None) -> float:
    """The largest |gradient| at the known optimum; that of the variance counts if it was free."""
    fitted = variance is None
    if variance is None:
        variance = exact.noise_variance(spectrum.eigenvalues, LATENT)
    data = spectrum.stand_ins()
    model = exact.as_vae(linear_vae.best_decoder(spectrum, LATENT, variance, beta), beta)
    eps = exact.cubature(len(data), LATENT)
    model.parameters.zero_grad()
    objectives.elbo(model, data, eps, kl_weight=beta)
    views = model.parameters.views(model.parameters.grad)
    used = [g for name, g in views.items() if fitted or name != "decoder.logvar.c"]
    return max(float(np.abs(g).max()) for g in used)


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
    return float(np.abs(bound - (log_p - kl.sum(axis=-1))).max())


def _log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    r, (_, log_det) = x - mean, np.linalg.slogdet(covariance)
    distance = (r * np.linalg.solve(covariance, r.T).T).sum(axis=1)
    return -0.5 * (x.shape[1] * math.log(2.0 * math.pi) + log_det + distance)
