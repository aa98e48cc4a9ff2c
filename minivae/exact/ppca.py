"""Probabilistic PCA: the maximum-likelihood linear-Gaussian world, from eigenvalues.

*The problem.*  Data x_1 .. x_N with mean b and covariance S = 1/N sum_n (x_n - b)^T (x_n - b), of
eigenvalues l_1 >= ... >= l_D and eigenvectors u_i (rows).  Which C = W^T W + sigma^2 I, with W of
shape (K, D), makes

    1/N sum_n log p(x_n) = -1/2 [ D log 2 pi + log det C + tr( C^-1 S ) ]

largest?  (The mean of the data is the best b for any C, since it makes the trace smallest.)

*The answer, in three steps.*
1. Only eigenvalues matter.  Let c_1 >= ... >= c_D be those of C.  By von Neumann's trace inequality
   tr(C^-1 S) >= sum_i l_i / c_i, with equality when C has the eigenvectors of S, in the same order.
   So C = sum_i c_i u_i^T u_i, and what is left to minimise is  sum_i [ log c_i + l_i / c_i ].
2. What C can be.  W^T W has rank K: all c_i are at least sigma^2, and at most K of them are more.
   log c + l / c falls until c = l and rises after, so where c is free it is l, and

       c_i = max( l_i, sigma^2 )  for i <= K,      c_i = sigma^2  for i > K

   The K go to the largest eigenvalues, because l / sigma^2 - 1 - log( l / sigma^2 ), which setting
   c free gains, grows with l.
3. sigma^2.  Among the directions without a latent, sum_{i > K} [ log sigma^2 + l_i / sigma^2 ] is
   smallest where sigma^2 is the mean of their eigenvalues:

       sigma^2 = 1/(D - K) sum_{i > K} l_i

   It is at most l_K, so the maximum in step 2 is l_i.

Hence W = R diag( sqrt(l_i - sigma^2) ) U_K, with any orthogonal R: the likelihood cannot see the
rotation (`LinearGaussian`).  We return R = I: orthogonal rows, and a diagonal posterior.  A linear
VAE has the same optimum, but its diagonal q pays for any other rotation.

Source  Tipping and Bishop (1999), section 3.2 and appendix A; Lucas and others (2019) for the VAE.
"""

import math
from dataclasses import dataclass

from minivae.arrays import Array, namespace
from minivae.exact.linear_gaussian import LinearGaussian
from minivae.numerics import LOG_2PI

ROWS = 2_000
"""Examples at a time: a block in float64 is what `Spectrum.of` needs beside the data."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean, eigenvalues and eigenvectors of the covariance of a data set: all that pPCA needs.

    mean         (D,)
    eigenvalues  (D,) of the covariance, the largest first, in squared units of the data.  The sum
                 of squares is divided by N: the maximum-likelihood estimate, not the unbiased one.
    axes         (R, D), R = min(N, D): orthonormal rows, the eigenvectors in the same order.  Those
                 of the other D - R eigenvalues, which are 0, are never needed.
    """

    mean: Array
    eigenvalues: Array
    axes: Array

    @classmethod
    def of(cls, x: Array) -> "Spectrum":
        """The spectrum of data x (N, D), N smaller or larger than D, in float64.

        The covariance is never formed.  If x - b = Q T with orthonormal columns in Q, then
        N S = T^T T: the triangle T knows all about S, and has at most D rows.  With its singular
        values T = U diag(s) V follows  N S = V^T diag(s^2) V,  so l_i = s_i^2 / N.  An eigenvalue
        that is small by 1e-20 keeps its digits, where forming S would bury it under rounding.  The
        rows come in blocks, each set under the triangle of those before it: (T; block)^T (T; block)
        is T^T T + block^T block, so the triangle of the pile has the products of all of them.

        Singular values below the rounding of the largest, or of the mean that was taken off, are
        set to 0: below max(N, D) 2^-52 times s_1, or times sqrt(N) |b|.

        Raises  ValueError unless x is (N, D), N and D at least 1, and finite.
        """
        xp = namespace(x)
        if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] == 0:
            raise ValueError(f"expected data of shape (N, D), both at least 1, got {x.shape}")
        N, D = x.shape
        mean = xp.mean(x, axis=0, dtype=xp.float64)
        if not bool(xp.isfinite(mean).all()):
            raise ValueError("expected finite data, got a nan or an infinity")
        triangle = xp.zeros((0, D))
        for start in range(0, N, ROWS):
            block = x[start : start + ROWS].astype(xp.float64) - mean
            triangle = xp.linalg.qr(xp.concatenate([triangle, block]), mode="r")
        _, s, axes = xp.linalg.svd(triangle, full_matrices=False)
        largest = max(float(s[0]), math.sqrt(N * float(mean @ mean)))
        s = s * (s > largest * max(N, D) * 2.0**-52)
        eigenvalues = xp.zeros(D)
        eigenvalues[: len(s)] = s * s / N
        return cls(mean, eigenvalues, axes)

    def stand_ins(self) -> Array:
        """A few examples with exactly this mean and covariance.

        With r eigenvalues above 0 they are  x_n = mean + sum_i H_ni sqrt(l_i) u_i,  where the signs
        H_ni are r columns of Sylvester's matrix of n rows, the power of two above r:

            H_1 = ( 1 ),    H_2n = ( H_n  H_n )
                                   ( H_n -H_n )

        Its columns are orthogonal, H^T H = n I, and all but the first, which we leave out, sum to
        0.  So the mean is the mean, and the covariance is 1/n sum_i n l_i u_i^T u_i = S.

        The mean of log p(x) over a data set depends on nothing else, for any linear-Gaussian world,
        and so does the mean ELBO of a linear VAE whose q has one variance for all x, as at the
        optimum.  They stand in for the data, all N of them.

        Shapes  (n, D), r < n <= 2 r (n = 1 if all examples are the same).
        Source  Sylvester (1867).
        """
        xp = namespace(self.mean)
        r = int((self.eigenvalues > 0.0).sum())
        H = xp.ones((1, 1))
        while len(H) <= r:
            H = xp.concatenate(
                [xp.concatenate([H, H], axis=1), xp.concatenate([H, -H], axis=1)], axis=0
            )
        scaled = xp.sqrt(self.eigenvalues[:r])[:, None] * self.axes[:r]
        return self.mean + H[:, 1 : r + 1] @ scaled


def fit_ppca(spectrum: Spectrum, latent: int, variance: float | None = None) -> LinearGaussian:
    """The world with K latents that gives the data the highest likelihood.

    latent    K, from 0 to D - 1.
    variance  sigma^2 if it is known; by default it is estimated too, as in step 3.  Latents whose
              eigenvalue is not above a given sigma^2 get a row of zeros in W: they stay unused.
    Returns   a `LinearGaussian` with orthogonal rows of W, the longest first.
    Raises    ValueError if K is out of range or more than the data have axes, or if sigma^2 would
              be 0, because the data lie in K dimensions: then the likelihood has no maximum.
    """
    xp = namespace(spectrum.eigenvalues)
    if variance is None:
        variance = noise_variance(spectrum.eigenvalues, latent)
    if not 0 <= latent <= len(spectrum.axes):
        raise ValueError(f"expected 0 to {len(spectrum.axes)} latents, got {latent}")
    squares = xp.maximum(spectrum.eigenvalues[:latent] - variance, 0.0)
    W = xp.sqrt(squares)[:, None] * spectrum.axes[:latent]
    return LinearGaussian(W, spectrum.mean, variance)


def noise_variance(eigenvalues: Array, latent: int) -> float:
    """sigma^2, the mean of the D - K smallest eigenvalues.

    Shapes  eigenvalues (D,), the largest first.
    Raises  ValueError unless 0 <= K < D and the mean is positive.
    """
    D = len(eigenvalues)
    if not 0 <= latent < D:
        raise ValueError(f"expected 0 to {D - 1} latents for {D} features, got {latent}")
    variance = float(namespace(eigenvalues).mean(eigenvalues[latent:]))
    if not variance > 0.0:
        raise ValueError(
            f"expected data of more than {latent} dimensions for {latent} latents, got rank "
            f"{int((eigenvalues > 0.0).sum())}: the noise variance is 0 and the likelihood infinite"
        )
    return variance


def max_log_likelihood(eigenvalues: Array, latent: int) -> float:
    """The mean of log p(x) over the data at its maximum, from the eigenvalues alone.

    At the optimum tr(C^-1 S) = sum_{i <= K} l_i / l_i + sum_{i > K} l_i / sigma^2 = D, so

        -1/2 [ D log 2 pi + sum_{i <= K} log l_i + (D - K) log sigma^2 + D ]

    Shapes  eigenvalues (D,), the largest first.
    Unit    nats per example.
    Raises  as `noise_variance`.
    """
    D, xp = len(eigenvalues), namespace(eigenvalues)
    variance = noise_variance(eigenvalues, latent)
    log_det = float(xp.sum(xp.log(eigenvalues[:latent]))) + (D - latent) * math.log(variance)
    return -0.5 * (D * LOG_2PI + log_det + D)


def mean_kl(eigenvalues: Array, latent: int) -> float:
    """The mean over the data of KL( p(z|x) || p(z) ) at the optimum.

    It is 1/2 sum_{k <= K} log( l_k / sigma^2 ).

    Latent k has w_k^2 = l_k - sigma^2, hence M_kk = l_k, and
        the posterior's variance   v = sigma^2 / l_k
        its mean                   m = (w_k / l_k) r u_k^T,  whose mean square over the data is
                                   w_k^2 / l_k = 1 - v
    so that the mean of 1/2 [ m^2 + v - 1 - log v ] is -1/2 log v: the mean square and the variance
    add up to the prior's 1, for each latent, and only the logarithm is left.

    Shapes  eigenvalues (D,), the largest first.
    Unit    nats per example.
    Raises  as `noise_variance`.
    """
    variance, xp = noise_variance(eigenvalues, latent), namespace(eigenvalues)
    return 0.5 * float(xp.sum(xp.log(eigenvalues[:latent] / variance)))
