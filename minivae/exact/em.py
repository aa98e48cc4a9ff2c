"""EM for probabilistic PCA: the ELBO climbed by turns, first in q and then in the parameters.

    log p(x) = ELBO(q, theta) + KL( q(z|x) || p(z|x) )

E step   q(z|x) = p(z|x), the exact posterior: the KL is zero, and the ELBO touches log p(x).
M step   theta = argmax ELBO(q, theta) with q held: the ELBO rises, and log p(x) is above it.

So the log-likelihood never falls.  A VAE climbs the same ELBO; it has a network in place of the E
step, which answers for all x at once, and takes gradient steps in both together.

Source  Dempster, Laird and Rubin (1977); Tipping and Bishop (1999), section 3.3 and appendix B.
"""

from dataclasses import replace
from typing import Any

from minivae.arrays import Array, namespace, standard_normal
from minivae.exact.linear_gaussian import LinearGaussian

COLLAPSED = 1e-14
"""A noise variance of so small a share of the start's is no estimate: the data have no noise."""


def e_step(world: LinearGaussian, x: Array) -> tuple[Array, Array]:
    """The posterior's means m (N, K) and its covariance V (K, K), one for all examples.

        m_n = r_n W^T M^-1,    V = sigma^2 M^-1            r_n = x_n - b

    Source  Tipping and Bishop (1999), equations 25 and 26, where <z z^T> is V + m^T m.
    """
    return world.posterior_mean(x), world.posterior_covariance


def m_step(world: LinearGaussian, x: Array, m: Array, V: Array) -> LinearGaussian:
    """The W and sigma^2 that make the ELBO largest for q(z|x_n) = N(m_n, V).

    Of the ELBO, W and sigma^2 enter only

        sum_n E_q log p(x_n|z) = -1/2 [ N D log 2 pi sigma^2 + sum_n E_q |r_n - z W|^2 / sigma^2 ]

    The derivative with respect to W is  sum_n E_q z^T (r_n - z W) / sigma^2 = 0,  a regression of r
    on z with z uncertain, and then sigma^2 is the mean squared error that is left:

        [ sum_n m_n^T m_n + N V ] W = sum_n m_n^T r_n
        sigma^2 = 1/(N D) [ sum_n |r_n - m_n W|^2 + N tr( V W W^T ) ]

    The mean b stays; its best value, the mean of the data, is known beforehand.

    Source  Tipping and Bishop (1999), equations 27 and 28.
    """
    xp, (N, D) = namespace(x), x.shape
    r = x - world.b
    W = xp.linalg.solve(m.T @ m + N * V, m.T @ r)
    rest = r - m @ W
    error = float(xp.sum(rest * rest) + N * xp.sum(V * (W @ W.T)))
    return replace(world, W=W, variance=error / (N * D))


def run_em(x: Array, latent: int, steps: int, rng: Any) -> tuple[LinearGaussian, list[float]]:
    """Rounds of EM from a random start, and the log-likelihood before each and at the end.

    x       (N, D), examples that are not all the same.
    latent  K.
    rng     draws the first W: a row of zeros would stay one for ever.
    Returns the world, and steps + 1 means of log p(x) in nats per example, which never fall.
    Raises  ValueError for sizes out of range, or when sigma^2 goes to 0 because the data lie in K
            dimensions: the likelihood then has no maximum.
    """
    xp = namespace(x)
    if x.ndim != 2 or x.shape[0] == 0 or not 0 <= latent < x.shape[1] or steps < 0:
        raise ValueError(
            "expected data of shape (N, D), 0 to D - 1 latents and no negative number of steps, "
            f"got {x.shape}, {latent} and {steps}"
        )
    x = x.astype(xp.float64)
    b = xp.mean(x, axis=0)
    start = float(xp.mean((x - b) ** 2))
    if not start > 0.0:
        raise ValueError("expected examples that differ, got one example or many copies of it")
    W = start**0.5 * standard_normal(rng, (latent, x.shape[1]), b)
    world = LinearGaussian(W, b, start)
    history = [float(xp.mean(world.log_prob(x)))]
    for _ in range(steps):
        world = m_step(world, x, *e_step(world, x))
        if world.variance < COLLAPSED * start:
            raise ValueError(f"expected data of more than {latent} dimensions: sigma^2 goes to 0")
        history.append(float(xp.mean(world.log_prob(x))))
    return world, history
