"""The ELBO, derived eight times: eight equations, and under each the lines that compute it.

All of them are one number, in the mean over the data.  Seven are even equal for every single x; the
surgery (6) is not, because the mutual information belongs to the data as a whole.

All of them start from the joint p(x, z) = p(z) p(x|z).  Its sum over z is what we want and, in a
real VAE, cannot have:

    log p(x)  =  log sum_z p(x, z)

Which way round.  Every expectation here is under q, since q is what we can sample, and so q is the
first argument of every KL.  KL(true || approximation), the "surprise at reality" with which the KL
is often introduced, is not what stands in a VAE: in form 2 the truth p(z|x) is the second argument,
and in form 3 the second argument p(z) is no truth at all, but the prior that the model has chosen.
Swap the two in form 2 and the lower bound becomes an upper one: see `evidence_upper_bound`.

Shapes  a form takes a `DiscreteWorld` and gives the number of every x, (X,); the surgery gives its
        mean, ().  Sums over z run along axis 1.
Unit    nats per example.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from minivae.arrays import Array, namespace
from minivae.exact.discrete import DiscreteWorld


def jensen(world: DiscreteWorld) -> Array:
    """Form 1, Jensen's inequality:  E_q log [ p(x, z) / q(z|x) ].

    Multiply and divide by q, and the sum over z becomes an expectation, of which the concave
    logarithm may be taken too early:

        log p(x) = log sum_z q(z|x) p(x, z) / q(z|x)  =  log E_q [ p(x, z) / q(z|x) ]
                >= E_q log [ p(x, z) / q(z|x) ]

    Source  Jordan, Ghahramani, Jaakkola and Saul (1999).
    """
    log_ratio = world.log_joint - world.log_q
    return expectation(world.log_q, log_ratio)


def evidence_minus_gap(world: DiscreteWorld) -> Array:
    """Form 2, what Jensen lost:  log p(x) - KL( q(z|x) || p(z|x) ).

    Put p(x, z) = p(x) p(z|x) into form 1: log p(x) does not depend on z and leaves the
    expectation, and what stays behind is a KL to the *true posterior*.  So the bound is tight
    exactly where q(z|x) = p(z|x).
    """
    return world.log_evidence - kl(world.log_q, world.log_posterior)


def reconstruction_minus_kl(world: DiscreteWorld) -> Array:
    """Form 3, the one that is trained:  E_q log p(x|z) - KL( q(z|x) || p(z) ).

    Put p(x, z) = p(x|z) p(z) into form 1 instead.  Nothing in it needs p(x) or p(z|x).  The KL is
    another one than in form 2, to the *prior*, and it is not to become 0: where it does, z says
    nothing about x.

    Source  Kingma and Welling (2013), equation 3.
    """
    reconstruction = expectation(world.log_q, world.log_likelihood)
    return reconstruction - kl(world.log_q, world.log_prior)


def minus_free_energy(world: DiscreteWorld) -> Array:
    """Form 4, physics:  -F,  F = E_q [ energy ] - H[ q(z|x) ],  energy = -log p(x, z).

    Split the logarithm of form 1 the third way.  A low energy alone would put all of q on the best
    z; the entropy H pays for keeping options open.  F is least, and equal to -log p(x), at
    Boltzmann's q = e^-energy / sum e^-energy, which is the posterior.

    Source  Hinton and Zemel (1994); Neal and Hinton (1998).
    """
    energy = -world.log_joint
    return -(expectation(world.log_q, energy) - entropy(world.log_q))


def minus_distortion_and_rate(world: DiscreteWorld) -> Array:
    """Form 5, coding:  -(D + R),  distortion D = -E_q log p(x|z),  rate R = E_q[-log p(z)] - H[q].

    Send x: first z, with a code made for p(z), which costs -log p(z) nats; then x itself with a
    code made for p(x|z), which costs -log p(x|z).  The choice of z among q(z|x) was free, and can
    carry H[q] nats of some other message, which are refunded ("bits back").  What is left of the
    first cost is R = KL( q(z|x) || p(z) ).

    Source  Hinton and van Camp (1993); Alemi and others (2018).
    """
    distortion = -expectation(world.log_q, world.log_likelihood)
    cost_of_z = -expectation(world.log_q, world.log_prior)
    refund = entropy(world.log_q)
    return -(distortion + (cost_of_z - refund))


def surgery(world: DiscreteWorld) -> Array:
    """Form 6, only in the mean over the data:  E log p(x|z) - [ I_q(x; z) + KL( q(z) || p(z) ) ].

    With the aggregated posterior q(z) = sum_x data(x) q(z|x), write the ratio in form 3's KL as
    q(z|x) / p(z) = [ q(z|x) / q(z) ] [ q(z) / p(z) ], and take the mean over the data:

        E_x KL( q(z|x) || p(z) )  =  E_x KL( q(z|x) || q(z) )  +  KL( q(z) || p(z) )
                                  =  I_q(x; z)                 +  how wrong the prior is

    For a single x the second term would be E_q(z|x) log [ q(z) / p(z) ], which is no KL and may be
    negative; only the mean turns q(z|x) into q(z).  So the KL of form 3 bounds the information in
    z from above, and is not that information.

    Shapes  result (), the mean over the data.
    Source  Hoffman and Johnson (2016).
    """
    reconstruction = world.mean(expectation(world.log_q, world.log_likelihood))
    information = world.mean(kl(world.log_q, world.log_aggregate))
    marginal_kl = expectation(world.log_aggregate, world.log_aggregate - world.log_prior)
    return reconstruction - (information + marginal_kl)


def em_bound(world: DiscreteWorld) -> Array:
    """Form 7, what EM climbs:  Q + H[ q(z|x) ],  Q = E_q log p(x, z), the complete-data part.

    Expectation-maximisation goes up in turns.  The E step moves q, for which the best is the
    posterior, where the bound equals log p(x) (`e_step`, form 2).  The M step moves the model, on
    which the entropy does not depend, so that Q alone is maximised (`m_step`).  Each turn can only
    raise the bound, and since it starts a turn at log p(x), log p(x) can only rise.  A VAE climbs
    the same bound with both at once and by gradients, and its q is a network.

    Source  Dempster, Laird and Rubin (1977); Neal and Hinton (1998).
    """
    complete_data = expectation(world.log_q, world.log_prior) + expectation(
        world.log_q, world.log_likelihood
    )
    return complete_data + entropy(world.log_q)


def iwae(world: DiscreteWorld, k: int = 1) -> Array:
    """Form 8, importance weights:  E log 1/k sum_i w_i,  w_i = p(x, z_i) / q(z_i|x),  at k = 1.

    The expectation is over k independent draws z_1 .. z_k ~ q(z|x).  The weights have the mean
    p(x) whatever q is; the average of k of them lies closer to it, so the logarithm of the average
    loses less:

        ELBO = IWAE_1  <=  IWAE_2  <=  IWAE_3  <=  ...  <=  log p(x)

    Enumerated: one term for each of the Z^k tuples of codes, built up a draw at a time.

    Shapes  result (X,); the last table is (X, Z^k).
    Raises  ValueError if k < 1.
    Source  Burda, Grosse and Salakhutdinov (2015), equation 8 and theorem 1.
    """
    if k < 1:
        raise ValueError(f"expected k of at least 1, got {k}")
    xp = namespace(world.log_q)
    X = world.log_q.shape[0]
    log_w = world.log_joint - world.log_q  # (X, Z)
    log_sum, log_q = log_w, world.log_q  # of the tuples so far, which are single codes
    for _ in range(k - 1):
        log_sum = xp.reshape(xp.logaddexp(log_sum[:, :, None], log_w[:, None, :]), (X, -1))
        log_q = xp.reshape(log_q[:, :, None] + world.log_q[:, None, :], (X, -1))
    return expectation(log_q, log_sum - math.log(k))


FORMS: dict[str, Callable[[DiscreteWorld], Array]] = {
    "Jensen": jensen,
    "log p(x) - KL(q || p(z|x))": evidence_minus_gap,
    "reconstruction - KL(q || p(z))": reconstruction_minus_kl,
    "-(energy - entropy)": minus_free_energy,
    "-(distortion + rate)": minus_distortion_and_rate,
    "reconstruction - (information + marginal KL)": surgery,
    "Q + entropy": em_bound,
    "IWAE with k = 1": iwae,
}
"""The eight, in order; all but the surgery give a number for every x."""


def eight_forms(world: DiscreteWorld) -> dict[str, float]:
    """The mean over the data of every form, in nats per example: eight times the same number."""
    values = {name: form(world) for name, form in FORMS.items()}
    return {name: float(world.mean(v) if v.ndim else v) for name, v in values.items()}


def evidence_upper_bound(world: DiscreteWorld) -> Array:
    """What the KL does the other way round:  log p(x) + KL( p(z|x) || q(z|x) )  >=  log p(x).

    The same ratio as in Jensen's form, but expected under the true posterior, from which in a real
    VAE nobody can draw (but for data that the model itself has made: `evaluation.annealed`):

        E_p(z|x) log [ p(x, z) / q(z|x) ]  =  log p(x) + E_p(z|x) log [ p(z|x) / q(z|x) ]

    Shapes  result (X,).
    """
    return expectation(world.log_posterior, world.log_joint - world.log_q)


def e_step(world: DiscreteWorld) -> DiscreteWorld:
    """The world with the best q for its model, q(z|x) = p(z|x): there the bound is log p(x)."""
    return replace(world, log_q=world.log_posterior)


def m_step(world: DiscreteWorld) -> DiscreteWorld:
    """The world with the best model for its q.

    Q in the mean over the data is  sum_xz data(x) q(z|x) [ log p(z) + log p(x|z) ],  two cross
    entropies, each best where the model's table is the distribution that it is averaged over:

        p(z) = q(z),      p(x|z) = data(x) q(z|x) / q(z)

    These tables are free to take any values, so a single step goes all the way: p(x) becomes the
    data's own distribution.  A model with fewer parameters needs many turns.
    """
    aggregate = world.log_aggregate
    return replace(
        world,
        log_prior=aggregate,
        log_likelihood=world.log_data[:, None] + world.log_q - aggregate,
    )


def expectation(log_p: Array, values: Array) -> Array:
    """E_p [ values ] = sum_z p(z) values(z) along the last axis, log_p of values' shape."""
    xp = namespace(values)
    return xp.sum(xp.exp(log_p) * values, axis=-1)


def entropy(log_p: Array) -> Array:
    """H[p] = -E_p log p."""
    return -expectation(log_p, log_p)


def kl(log_a: Array, log_b: Array) -> Array:
    """KL(a || b) = E_a log [ a / b ]: the expectation is under the first of the two."""
    return expectation(log_a, log_a - log_b)
