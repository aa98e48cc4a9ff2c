"""Objectives: the bound is read downwards, its gradient upwards.

Each function is one lesson.  The upper half computes the loss, step by step.  The lower half goes
back by hand: ``dv`` is d loss / d v, and it is found by undoing the line that *uses* v.  What is
used twice, like mu and logvar by the sample and by the KL, gets two contributions, which add.

A bound is maximised and the loss minimised: the sign changes once, in the line that defines the
loss.  Sums run over pixels and latents, the mean over the batch only, all constants included: every
number is in nats per example, and none depends on the batch size (but for the floors of the KL,
which are held against a mean over the batch).

Letters: S samples, B examples, K latents, D pixels.
"""

from typing import NamedTuple, Protocol

from minivae.arrays import Array, beside, cast, namespace
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.numerics import log_mean_exp, softmax
from minivae.parameters import Layer


class Networks(Protocol):
    """What an objective needs of a model: two networks, and what the decoder's output means."""

    encoder: Layer
    decoder: Layer
    likelihood: type[Bernoulli | ContinuousBernoulli | Gaussian]


class ConditionalNetworks(Networks, Protocol):
    """The same with a condition y: the networks see it, and so may the prior."""

    prior: Layer | None


class Elbo(NamedTuple):
    """The evidence lower bound of each example and its two terms, in nats.

    elbo            (B,)    reconstruction - sum of kl: the plain bound, also where kl_weight,
                            free_bits or kl_floor change the loss.
    reconstruction  (B,)    E_q log p(x|z), estimated by S samples.
    kl              (B, K)  KL(q(z|x) || p(z)) of every latent, in closed form.
    loss            ()      the one number that the gradient differentiates: -mean(elbo) if
                            kl_weight = 1 and both floors are 0, otherwise another objective, not
                            the ELBO.
    """

    elbo: Array
    reconstruction: Array
    kl: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        kl = namespace(self.kl).sum(self.kl, axis=-1)
        return {"elbo": self.elbo, "reconstruction": self.reconstruction, "kl": kl}


class Iwae(NamedTuple):
    """The importance-weighted bound of each example, in nats.

    bound  (B,)    log of the mean of S importance weights.
    elbo   (B,)    mean of their logarithms: the ELBO, its KL estimated by the same samples.
    loss   ()      -mean(bound).
    """

    bound: Array
    elbo: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        return {"iwae": self.bound, "elbo": self.elbo}


class Reconstruction(NamedTuple):
    """log p(x|z) of each example at its own code z = f(x), in nats.

    No bound on log p(x): f(x) is one point, and nothing is integrated.

    reconstruction  (B,)
    loss            ()    -mean(reconstruction).
    """

    reconstruction: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        return {"reconstruction": self.reconstruction}


def elbo(
    model: Networks,
    x: Array,
    eps: Array,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
    gradient: bool = True,
    kl_floor: float = 0.0,
) -> Elbo:
    """The evidence lower bound; its gradient is added to that of every parameter (dW, db, ...).

        log p(x) >= E_q(z|x) [ log p(x|z) ] - KL( q(z|x) || p(z) ),    p(z) = N(0, I)

    The expectation is estimated by z_s = mu + sigma eps_s, and the loss is

        loss = -1/B sum_b 1/S sum_s log p(x_b|z_sb)
               + kl_weight max( kl_floor, sum_k max( free_bits, 1/B sum_b KL_bk ) )

    S samples give a mean of logarithms, not the logarithm of a mean: the bound stays the ELBO.

    kl_weight   beta (Higgins and others 2017); 1 for the ELBO.
    free_bits   a floor in nats for each latent's KL, averaged over the batch (Kingma and others
                2016).  Below it the latent is charged the floor, a constant that does not pull;
                above it, its whole KL.  0 for the ELBO.
    kl_floor    a floor in nats for the KL of all latents together: the same in total, and
                training may choose which latents use it.  0 for the ELBO.
    gradient    False computes the values only.  True adds to the layers' gradients, so the caller
                empties them first (`Parameters.zero_grad`).

    Shapes  x (B, D), eps (S, B, K) standard normal; see `Elbo` for the result.
    Unit    nats per example.
    Source  Kingma and Welling (2013), equation 10.
    """
    xp = namespace(x)
    S, B, _ = eps.shape

    # The loss, downwards.
    (mu, logvar), enc_cache = model.encoder.forward(x)
    q = Gaussian(mu, logvar)  # q(z|x)
    z = q.sample(eps)  # (S, B, K)
    out, dec_cache = model.decoder.forward(fold(z))
    p = model.likelihood(*[unfold(v, S) for v in out])  # p(x|z)
    log_px = p.log_prob(x)  # (S, B): the same x for every sample
    reconstruction = xp.mean(log_px, axis=0)  # (B,)
    kl = q.kl_terms()  # (B, K)
    kl_bar = xp.mean(kl, axis=0)  # (K,)
    charged = xp.sum(xp.maximum(kl_bar, free_bits))
    loss = -xp.mean(reconstruction) + kl_weight * xp.maximum(charged, kl_floor)

    bound = reconstruction - xp.sum(kl, axis=-1)  # (B,): reported, never differentiated
    result = Elbo(bound, reconstruction, kl, loss)
    if not gradient:
        return result

    # Its gradient, upwards.  First through the sample ...
    dlog_px = -1.0 / (S * B)  # minus and 1/B from the loss, 1/S from the mean over samples
    dout = tuple(fold(dlog_px * score) for score in p.score(x))  # score = d log p(x|z) / d out
    dz = unfold(model.decoder.backward(dout, dec_cache), S)
    path_dmu, path_dlogvar = q.pathwise_grad(dz, eps)  # the same eps as in the sample

    # ... then through the closed-form KL ...
    dcharged = kl_weight * cast(charged > kl_floor, kl)  # the slope of max: 1 above it, or 0
    dkl_bar = dcharged * cast(kl_bar > free_bits, kl)  # and again
    dkl = dkl_bar / B  # (K,): the same for every example
    slope_mu, slope_logvar = q.kl_grad()  # d kl / d mu, d kl / d logvar

    # ... and mu and logvar, which both of them use, get the sum.
    dmu = path_dmu + dkl * slope_mu
    dlogvar = path_dlogvar + dkl * slope_logvar
    model.encoder.backward((dmu, dlogvar), enc_cache, need_dx=False)  # x is data: it needs no dx
    return result


def conditional_elbo(
    model: ConditionalNetworks,
    x: Array,
    y: Array,
    eps: Array,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
    gradient: bool = True,
    kl_floor: float = 0.0,
) -> Elbo:
    """The evidence lower bound of a conditional model: `elbo` with y behind every bar.

        log p(x|y) >= E_q(z|x,y) [ log p(x|z,y) ] - KL( q(z|x,y) || p(z|y) )

    Lay it beside `elbo`: y stands beside x in the encoder's input and beside z in the decoder's,
    and the prior may be a network of y.  Then the KL is one between two Gaussians that both move,
    and it pulls at both: at q by `kl_grad`, at p(z|y) by `kl_grad_prior`.

    y       (B, C): a class as a one-hot row, attributes, real numbers, the given part of an image.
    prior   of the model: a network y -> (mu, logvar) of p(z|y), or None for p(z) = N(0, I).

    The other arguments, shapes and the unit as in `elbo`; in the result p(z) is p(z|y).
    Source  Sohn, Lee and Yan (2015), equation 4.
    """
    xp = namespace(x)
    S, B, K = eps.shape

    # The loss, downwards.
    (mu, logvar), enc_cache = model.encoder.forward(beside(x, y))
    q = Gaussian(mu, logvar)  # q(z|x,y)
    p_z, prior_cache = None, None
    if model.prior is not None:
        (prior_mu, prior_logvar), prior_cache = model.prior.forward(y)
        p_z = Gaussian(prior_mu, prior_logvar)  # p(z|y)
    z = q.sample(eps)  # (S, B, K)
    out, dec_cache = model.decoder.forward(beside(fold(z), repeated(y, S)))
    p = model.likelihood(*[unfold(v, S) for v in out])  # p(x|z,y)
    log_px = p.log_prob(x)  # (S, B)
    reconstruction = xp.mean(log_px, axis=0)  # (B,)
    kl = q.kl_terms(p_z)  # (B, K)
    kl_bar = xp.mean(kl, axis=0)  # (K,)
    charged = xp.sum(xp.maximum(kl_bar, free_bits))
    loss = -xp.mean(reconstruction) + kl_weight * xp.maximum(charged, kl_floor)

    bound = reconstruction - xp.sum(kl, axis=-1)  # (B,): reported, never differentiated
    result = Elbo(bound, reconstruction, kl, loss)
    if not gradient:
        return result

    # Its gradient, upwards.  First through the sample; of d[z | y] only dz is kept: y is data ...
    dlog_px = -1.0 / (S * B)
    dout = tuple(fold(dlog_px * score) for score in p.score(x))
    dz = unfold(model.decoder.backward(dout, dec_cache)[:, :K], S)  # type: ignore[index]
    path_dmu, path_dlogvar = q.pathwise_grad(dz, eps)

    # ... then through the KL, to the prior that it is measured from ...
    dkl_bar = kl_weight * cast(charged > kl_floor, kl) * cast(kl_bar > free_bits, kl)
    dkl = dkl_bar / B  # (K,)
    if model.prior is not None and p_z is not None:
        dprior = tuple(dkl * slope for slope in q.kl_grad_prior(p_z))
        model.prior.backward(dprior, prior_cache, need_dx=False)

    # ... and to q.
    slope_mu, slope_logvar = q.kl_grad(p_z)
    dmu = path_dmu + dkl * slope_mu
    dlogvar = path_dlogvar + dkl * slope_logvar
    model.encoder.backward((dmu, dlogvar), enc_cache, need_dx=False)
    return result


def iwae(model: Networks, x: Array, eps: Array, gradient: bool = True) -> Iwae:
    """The importance-weighted bound: the log of a mean, where `elbo` has a mean of logs.

        log p(x) >= E [ log 1/S sum_s w_s ],    w_s = p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

    It rises with S, to log p(x), and S = 1 is the ELBO.  Lay it beside `elbo`: the KL is no longer
    split off, because a logarithm of a sum does not split; and each sample is pulled by its share
    of the sum, where there all had 1/S.

    The derivative of log 1/S sum_s e^(l_s) by l_s is the share  w_s / sum_r w_r  (a softmax).  The
    shares are numbers here: nothing is differentiated through them twice.  log q(z|x) at its own
    sample is  -1/2 sum_k [ log 2 pi + logvar_k + eps_k^2 ]: mu and the path through z cancel, and
    logvar alone is left, with the slope -1/2.

    Shapes  x (B, D), eps (S, B, K) standard normal; see `Iwae` for the result.
    Unit    nats per example.
    Source  Burda, Grosse and Salakhutdinov (2015), equations 8 and 14.
    """
    xp = namespace(x)
    S, B, _ = eps.shape

    # The loss, downwards.
    (mu, logvar), enc_cache = model.encoder.forward(x)
    q = Gaussian(mu, logvar)  # q(z|x)
    z = q.sample(eps)  # (S, B, K)
    out, dec_cache = model.decoder.forward(fold(z))
    p = model.likelihood(*[unfold(v, S) for v in out])  # p(x|z)
    prior = Gaussian(xp.zeros_like(mu), xp.zeros_like(mu))  # p(z)
    log_w = p.log_prob(x) + prior.log_prob(z) - q.log_prob(z)  # (S, B)
    bound = log_mean_exp(log_w, axis=0)  # (B,)
    loss = -xp.mean(bound)
    result = Iwae(bound, xp.mean(log_w, axis=0), loss)
    if not gradient:
        return result

    # Its gradient, upwards.  The share of each sample, in place of 1/S ...
    dlog_w = (-1.0 / B) * softmax(log_w, axis=0)  # (S, B)
    dlog_w = xp.expand_dims(dlog_w, axis=-1)  # for every pixel and every latent

    # ... through p(x|z) and p(z) to z, and from z to mu and logvar ...
    dout = tuple(fold(dlog_w * score) for score in p.score(x))
    dz = unfold(model.decoder.backward(dout, dec_cache), S) + dlog_w * prior.grad_value(z)
    path_dmu, path_dlogvar = q.pathwise_grad(dz, eps)

    # ... and through -log q(z|x), which sees logvar only.
    dmu = path_dmu
    dlogvar = path_dlogvar + 0.5 * xp.sum(dlog_w, axis=0)
    model.encoder.backward((dmu, dlogvar), enc_cache, need_dx=False)
    return result


def reconstruction(
    model: Networks, x: Array, gradient: bool = True, seen: Array | None = None
) -> Reconstruction:
    """The deterministic autoencoder: log p(x | z = f(x)), and its gradient.

    Lay it beside `elbo`: the noise and its samples are missing, the KL, and with them the bound.

    seen    (B, D) what the encoder sees in place of x: a damaged copy makes it the denoising
            autoencoder, log p(x | z = f(seen)) (Vincent and others 2008).
    Shapes  x (B, D).
    Unit    nats per example.
    """
    xp = namespace(x)
    B = x.shape[0]

    # The loss, downwards.
    (z,), enc_cache = model.encoder.forward(x if seen is None else seen)
    out, dec_cache = model.decoder.forward(z)
    p = model.likelihood(*out)  # p(x|z)
    log_px = p.log_prob(x)  # (B,)
    loss = -xp.mean(log_px)
    result = Reconstruction(log_px, loss)
    if not gradient:
        return result

    # Its gradient, upwards.
    dlog_px = -1.0 / B
    dout = tuple(dlog_px * score for score in p.score(x))
    dz = model.decoder.backward(dout, dec_cache)
    model.encoder.backward((dz,), enc_cache, need_dx=False)
    return result


def fold(a: Array) -> Array:
    """(S, B, n) -> (S * B, n): a network sees rows and does not ask which sample they are."""
    return namespace(a).reshape(a, (a.shape[0] * a.shape[1], a.shape[2]))


def unfold(a: Array, S: int) -> Array:
    """(S * B, n) -> (S, B, n), the inverse of `fold`."""
    return namespace(a).reshape(a, (S, a.shape[0] // S, a.shape[1]))


def repeated(y: Array, S: int) -> Array:
    """(B, C) -> (S * B, C): the same conditions for every sample, in the order of `fold`."""
    return fold(namespace(y).broadcast_to(y, (S, *y.shape)))
