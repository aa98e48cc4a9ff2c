"""The linear VAE: our VAE without hidden layers, where ELBO = log p(x) can be reached and checked.

`as_vae` writes the exact answer into the parameters of a `VAE`, `as_world` reads a trained decoder
back into a world whose log p(x) is known.  Between the two stands the whole library: encoder,
SoftClip, sample, decoder, likelihood, KL.

The expectation under q of a square needs no Monte Carlo.  `cubature` replaces the noise by a few
points that give it exactly, through the very `objectives.elbo` that trains every VAE;
`expected_elbo` does it by hand, in one pass in place of 2K, and is what `train_exactly` climbs.

Source  Lucas, Tucker, Grosse and Norouzi (2019); Dai, Wang, Aston, Hua and Wipf (2018).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minivae.arrays import Array, generator, like, namespace, to_numpy
from minivae.distributions import Gaussian
from minivae.exact.linear_gaussian import LinearGaussian
from minivae.exact.ppca import Spectrum, fit_ppca
from minivae.exact.water_filling import RateDistortion
from minivae.models import VAE, Architecture
from minivae.models.networks import LOGVAR_LIMIT
from minivae.objectives import Elbo
from minivae.optimizers import Adam

BATCHES = 7
"""The purpose, in the key (seed, epoch, purpose) of the generator, of the order of the batches."""


def as_vae(world: LinearGaussian, beta: float = 1.0) -> VAE:
    """The VAE with this decoder and the best encoder that a diagonal q can be, in float64.

    The encoder of the linear VAE is affine, and so is the posterior's mean; the variances do not
    depend on x.  With M = W W^T + t I and t = beta sigma^2 (`minivae.exact.water_filling`):

        mu(x)      = (x - b) W^T M^-1        weights W^T M^-1, bias -b W^T M^-1
        logvar(x)  = log( t / M_kk )         weights 0; the bias is what SoftClip turns into it,
                                             c atanh( logvar / c )
        decoder    z W + b, log sigma^2

    At beta = 1 its ELBO is log p(x) less `LinearGaussian.diagonal_gap`, so log p(x) itself if the
    rows of W are orthogonal, as those of `fit_ppca` are.

    Raises  ValueError if there is no latent, or if a variance is beyond the encoder's limit.
    """
    if not 0.0 < beta < math.inf:
        raise ValueError(f"expected a positive, finite beta, got {beta}")
    tempered = replace(world, variance=beta * world.variance)
    W, b, M = (to_numpy(a) for a in (world.W, world.b, tempered.M))
    logvar = np.log(tempered.variance / np.diagonal(M))
    if not np.all(np.abs(logvar) < LOGVAR_LIMIT):
        low, limit = logvar.min(), LOGVAR_LIMIT
        raise ValueError(f"expected the posterior's log-variance within {limit}, got {low:.3g}")
    gain = np.linalg.solve(M, W).T  # (D, K)
    sigma = math.sqrt(world.variance)  # the decoder's log-variance starts at 2 log sigma
    architecture = Architecture(
        world.n_features, world.latent, (), likelihood="gaussian", sigma=sigma
    )
    model = VAE(architecture, dtype="float64")
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.W"][...], view["encoder.mu.b"][...] = gain, -b @ gain
    view["encoder.logvar.0.W"][...] = 0.0
    view["encoder.logvar.0.b"][...] = LOGVAR_LIMIT * np.arctanh(logvar / LOGVAR_LIMIT)
    view["decoder.mu.W"][...], view["decoder.mu.b"][...] = W, b
    return model


def best_decoder(spectrum: Spectrum, latent: int, variance: float, beta: float) -> LinearGaussian:
    """The decoder of the best linear beta-VAE with a given sigma^2: W of pPCA at beta sigma^2.

    ``as_vae(best_decoder(spectrum, K, variance, beta), beta)`` is the whole VAE; its rate and
    distortion are those of `reverse_water_filling` at t = beta sigma^2, where this is derived.

    Raises  as `fit_ppca`.
    """
    return replace(fit_ppca(spectrum, latent, beta * variance), variance=variance)


def as_world(model: VAE) -> LinearGaussian:
    """The linear-Gaussian world that a linear VAE's decoder describes; the encoder plays no part.

    Raises  ValueError, as every function here, if the model is not a linear VAE: hidden=(), a
            Gaussian likelihood, and one variance for all pixels.
    """
    _require_linear(model)
    view = model.parameters.views(model.parameters.theta)
    W, b, c = (view[f"decoder.{name}"] for name in ("mu.W", "mu.b", "logvar.c"))
    xp = namespace(W)
    return LinearGaussian(W.astype(xp.float64), b.astype(xp.float64), math.exp(float(c[0])))


def cubature(B: int, K: int) -> np.ndarray:
    """2K points that stand for noise eps ~ N(0, I): exact for every polynomial up to degree 3.

    The points are +- sqrt(K) along each axis, with equal weights.  Their mean is 0, and so are all
    their odd moments, and their covariance is 1/(2K) 2 K I = I.  The expectation of log p(x|z) of a
    linear Gaussian decoder has degree 2, so as the S samples of `objectives.elbo` they give
    the ELBO and its gradient exactly, up to rounding.

    Shapes  (2K, B, K): all examples get the same points.
    """
    points = math.sqrt(K) * np.concatenate([np.eye(K), -np.eye(K)])
    return np.repeat(points[:, None, :], B, axis=1)


def expected_elbo(model: VAE, x: Array, kl_weight: float = 1.0, gradient: bool = True) -> Elbo:
    """The ELBO of a linear VAE with its expectation done by hand; adds to the gradient.

    Lay it beside `objectives.elbo`: no noise, no samples.  With z = mu + sigma eps the output of
    the decoder is x_hat = mu W + b plus a noise of variance sum_k v_k W_kd^2, v = e^logvar.  So

        E_q (x_d - x_hat_d)^2 = (x_d - mu W_d - b_d)^2 + noise_d,    noise = v W^2

    (W^2 elementwise), and with l = log sigma^2 of the decoder

        E_q log p(x|z) = log p(x | mu) - 1/2 sum_d noise_d e^(-l_d)

    Shapes  x (B, D); see `Elbo` for the result.
    Unit    nats per example.
    """
    _require_linear(model)
    xp, B = namespace(x), x.shape[0]
    dense: Any = model.decoder.parts()["mu"]

    # The loss, downwards.
    (mu, logvar), enc_cache = model.encoder.forward(x)
    q = Gaussian(mu, logvar)
    v = xp.exp(logvar)  # (B, K)
    (x_hat, px_logvar), dec_cache = model.decoder.forward(mu)
    p = Gaussian(x_hat, px_logvar)  # p(x | z = mu)
    noise = v @ (dense.W * dense.W)  # (B, D)
    precision = xp.exp(-px_logvar)
    reconstruction = p.log_prob(x) - 0.5 * xp.sum(noise * precision, axis=-1)
    kl = q.kl_terms()
    loss = -xp.mean(reconstruction) + kl_weight * xp.sum(xp.mean(kl, axis=0))
    result = Elbo(reconstruction - xp.sum(kl, axis=-1), reconstruction, kl, loss)
    if not gradient:
        return result

    # Its gradient, upwards.  First through the noise, then through the mean code ...
    dreconstruction = -1.0 / B
    dnoise = dreconstruction * -0.5 * precision
    dense.dW += 2.0 * dense.W * (v.T @ dnoise)
    dv = dnoise @ (dense.W * dense.W).T
    score_x_hat, score_logvar = p.score(x)
    dpx_logvar = dreconstruction * (score_logvar + 0.5 * noise * precision)
    dmu = model.decoder.backward((dreconstruction * score_x_hat, dpx_logvar), dec_cache)

    # ... and with the KL.
    slope_mu, slope_logvar = q.kl_grad()
    dkl = kl_weight / B
    dlogvar = dv * v + dkl * slope_logvar  # v = e^logvar
    model.encoder.backward((dmu + dkl * slope_mu, dlogvar), enc_cache, need_dx=False)
    return result


def train_exactly(
    model: VAE,
    x: np.ndarray,
    steps: int = 2000,
    learning_rate: float = 2e-2,
    kl_weight: float = 1.0,
    batch_size: int | None = None,
    seed: int = 0,
    beta2: float = 0.999,
) -> list[float]:
    """Climb `expected_elbo` with Adam, the rate falling to zero along a cosine.

    The rate of step t is  learning_rate (1 + cos( pi t / steps )) / 2.  Adam's steps have the size
    of the rate, so that the end can be no closer to the optimum than the rate is to zero.

    x           (N, D).
    beta2       Adam's memory of squared gradients.  With all examples at each step there is no
                noise to average over, and a memory of 0.95 forgets the large gradients of the first
                steps sooner: with 10 latents on MNIST 1,000 steps at 0.05 end 0.002 nats short of
                the maximum instead of 0.08.  (On the small digits it gains nothing.)
    batch_size  None for all examples at each step: then nothing is random but the start.
    seed        draws the order of the batches.
    Returns     the loss before each step, in nats per example.
    Raises      ValueError for data that the model cannot take, or a batch_size below 1.
    """
    model.check(x)
    data, parameters, adam = model.array(x), model.parameters, Adam(learning_rate, beta2=beta2)
    losses = []
    for step, batch in zip(range(steps), _batches(data, batch_size, seed), strict=False):
        adam.learning_rate = 0.5 * learning_rate * (1.0 + math.cos(math.pi * step / steps))
        parameters.zero_grad()
        losses.append(float(expected_elbo(model, batch, kl_weight).loss))
        adam.step(parameters.theta, parameters.grad)
    return losses


def _batches(x: Array, batch_size: int | None, seed: int) -> Iterator[Array]:
    """All of x (N, D) for ever; or batches of it, in a new order each time round."""
    N = x.shape[0]
    if batch_size is None or batch_size >= N:
        while True:
            yield x
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
    for epoch in itertools.count():
        order = generator("cpu", seed, epoch, BATCHES).permutation(N)
        for start in range(0, N - batch_size + 1, batch_size):  # a smaller last one is dropped
            rows = order[start : start + batch_size]
            yield namespace(x).take(x, like(rows, x), axis=0)


def operating_point(model: VAE, x: np.ndarray) -> RateDistortion:
    """Where a linear VAE stands in the plane of rate and distortion, on data x (N, D).

    The rate is the mean KL; the distortion is E_q |x - x_hat(z)|^2, its expectation done by hand.
    Lay it beside `reverse_water_filling` of the data's eigenvalues at t = beta sigma^2.
    """
    _require_linear(model)
    model.check(x)
    data = model.array(x)
    xp, q = namespace(data), model.encode(data)
    dense: Any = model.decoder.parts()["mu"]
    error = data - model.decode(q.mu).mean
    mean_distortion = float(xp.mean(xp.sum(error * error, axis=-1)))
    noise = xp.exp(q.logvar) @ xp.sum(dense.W * dense.W, axis=1)  # as in `expected_elbo`
    rates = xp.mean(q.kl_terms(), axis=0)
    distortion = mean_distortion + float(xp.mean(noise))
    return RateDistortion(float(xp.sum(rates)), distortion, mean_distortion, rates)


def _require_linear(model: VAE) -> None:
    a = model.architecture
    if a.hidden or a.likelihood != "gaussian" or a.variance == "pixel":
        raise ValueError(
            "expected a linear VAE: hidden=(), likelihood='gaussian', variance 'shared' or "
            f"'fixed'; got hidden={a.hidden}, {a.likelihood!r}, {a.variance!r}"
        )
