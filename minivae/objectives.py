"""Objectives: the bound is read downwards, its gradient upwards.

Each function is one lesson.  The upper half computes the bound; the lower half differentiates it by
hand, line by line from the bottom up, and every line undoes the line above it that has the same
noun.  A bound is maximised; the loss, which is minimised, is its negative mean over the batch: that
is the one change of sign.  Sums run over pixels and latents, the mean over the batch only, all
constants included, so that every number is in nats per example and none depends on the batch size.
"""

from typing import NamedTuple, Protocol

from minivae.arrays import Array, cast, namespace
from minivae.distributions import Bernoulli, Gaussian
from minivae.parameters import Layer


class Networks(Protocol):
    """What an objective needs of a model: two networks, and what the decoder's output means."""

    encoder: Layer
    decoder: Layer
    likelihood: type[Bernoulli] | type[Gaussian]


class Elbo(NamedTuple):
    """The evidence lower bound of each example and its two terms, in nats.

    elbo            (B,)    reconstruction - sum of kl: always the plain bound, whatever the loss.
    reconstruction  (B,)    E_q log p(x|z), by S samples.
    kl              (B, K)  KL(q(z|x) || p(z)) in every latent, in closed form.
    loss            ()      what the gradient belongs to: -mean(elbo) if kl_weight = 1 and
                            free_bits = 0, otherwise an objective that is no bound.
    """

    elbo: Array
    reconstruction: Array
    kl: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        kl = namespace(self.kl).sum(self.kl, axis=-1)
        return {"elbo": self.elbo, "reconstruction": self.reconstruction, "kl": kl}


class Reconstruction(NamedTuple):
    """log p(x|z) of each example at its own code z = f(x), in nats: no bound on log p(x).

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
) -> Elbo:
    """The evidence lower bound, and its gradient added to every layer's dW and db.

        log p(x) >= E_q(z|x) [ log p(x|z) ] - KL( q(z|x) || p(z) )

    with z = mu + sigma eps, S samples averaged outside the logarithm, and p(z) = N(0, 1).

    The loss, with the KL of each latent averaged over the batch before it is compared, is

        loss = -mean_b E_q log p(x_b|z) + kl_weight sum_j max( free_bits, mean_b KL_bj )

    kl_weight   beta (Higgins and others 2017); 1 is the ELBO.
    free_bits   nats of KL per latent that cost nothing (Kingma and others 2016); 0 is the ELBO.
    gradient    False: only the upper half.

    Shapes  x (B, D), eps (S, B, K) standard normal; see `Elbo` for the result.
    Unit    nats per example.
    Source  Kingma and Welling (2013), equation 10.
    """
    xp = namespace(x)
    S, B, _ = eps.shape

    # The bound, downwards.
    (mu, logvar), enc = model.encoder.forward(x)
    q = Gaussian(mu, logvar)  # q(z|x)
    z = q.sample(eps)  # (S, B, K)
    params, dec = model.decoder.forward(fold(z))
    p = model.likelihood(*[unfold(a, S) for a in params])  # p(x|z)
    reconstruction = xp.mean(p.log_prob(x), axis=0)  # over the S samples
    kl = q.kl_terms()  # (B, K)
    bound = reconstruction - xp.sum(kl, axis=-1)

    kl_bar = xp.mean(kl, axis=0)  # (K,)
    charged = xp.maximum(kl_bar, free_bits)
    loss = kl_weight * xp.sum(charged) - xp.mean(reconstruction)
    result = Elbo(bound, reconstruction, kl, loss)
    if not gradient:
        return result

    # Its gradient, upwards: d loss / d everything.
    dkl = cast(kl_bar > free_bits, kl) * (kl_weight / B)  # (K,): no pull on latents below the floor
    dparams = [fold(score * (-1.0 / (S * B))) for score in p.score(x)]
    dz = unfold(model.decoder.backward(tuple(dparams), dec), S)
    dmu, dlogvar = q.pathwise_grad(dz, eps)  # through the sample ...
    kl_dmu, kl_dlogvar = q.kl_grad()  # ... and through the closed-form KL
    model.encoder.backward((dmu + dkl * kl_dmu, dlogvar + dkl * kl_dlogvar), enc, need_dx=False)
    return result


def reconstruction(model: Networks, x: Array, gradient: bool = True) -> Reconstruction:
    """The deterministic autoencoder: log p(x | z = f(x)), and its gradient.

    Laid beside `elbo`, three things are missing: the noise, the KL, and with them the bound.

    Shapes  x (B, D).
    Unit    nats per example.
    """
    xp = namespace(x)
    B = x.shape[0]

    (z,), enc = model.encoder.forward(x)
    params, dec = model.decoder.forward(z)
    p = model.likelihood(*params)  # p(x|z)
    value = p.log_prob(x)
    result = Reconstruction(value, -xp.mean(value))
    if not gradient:
        return result

    dparams = [score * (-1.0 / B) for score in p.score(x)]
    dz = model.decoder.backward(tuple(dparams), dec)
    model.encoder.backward((dz,), enc, need_dx=False)
    return result


def fold(a: Array) -> Array:
    """(S, B, n) -> (S * B, n): a network sees rows and does not ask which sample they are."""
    return namespace(a).reshape(a, (a.shape[0] * a.shape[1], a.shape[2]))


def unfold(a: Array, S: int) -> Array:
    """(S * B, n) -> (S, B, n), the inverse of `fold`."""
    return namespace(a).reshape(a, (S, a.shape[0] // S, a.shape[1]))
