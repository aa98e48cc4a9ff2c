"""The linear autoencoder: what it learns is a subspace, the one of the principal components.

    x_hat = (x - b) A W + b        A (D, K) the encoder, W (K, D) the decoder

*The optimum.*  A W has rank K.  Of all matrices of rank K the projection P on the first K
eigenvectors of the covariance S loses least (Eckart and Young):

    E |x - x_hat|^2 = tr( (I - P) S ) = sum_{i > K} l_i

Any A G and G^-1 W give the same x_hat, for any invertible G: so the codes are the principal
components only up to G, and nothing says what their scale or direction should be.  A linear VAE
leaves no G at all (`minivae.exact.ppca`): its noise fixes the scale, and a diagonal q the axes.

*The landscape.*  The loss is not convex, yet it has no local minimum but this.  Where the gradient
vanishes and W has rank K, A W is the projection on some K eigenvectors, with the loss

    sum of the l_i of the eigenvectors that are left out

and unless they are the K largest the point is a saddle: turn a kept u_i a little towards a better
one that was left out, u_j, and the loss falls by (l_j - l_i) sin^2 of the angle.

Source  Eckart and Young (1936); Bourlard and Kamp (1988); Baldi and Hornik (1989).
"""

from collections.abc import Sequence

from minivae.arrays import Array, namespace, to_numpy
from minivae.exact.ppca import Spectrum
from minivae.models import Architecture, Autoencoder


def principal_angles(A: Array, B: Array) -> Array:
    """The angles between the spans of the rows of A and of B, in radians, the smallest first.

    The first angle is the smallest between any vector of one space and any of the other; the next
    is the same among vectors that are orthogonal to this pair; and so on.  All are 0 where A's
    space contains B's, and pi/2 where the two are orthogonal.

    With orthonormal rows Q_A and Q_B the cosines are the singular values of Q_A Q_B^T (K, L), and
    the sines those of the part of Q_B that A lacks, Q_B - Q_B Q_A^T Q_A.  A cosine near 1 has lost
    small angles: 1 - 1e-16 is an angle of 1e-8.  So the angle is taken from both, as atan2.

    Shapes  A (K, D), B (L, D), L <= K; result (L,).
    Raises  ValueError if D differs, L > K, or the rows of one are linearly dependent.
    Source  Bjoerck and Golub (1973).
    """
    xp = namespace(A)
    if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[1] or len(B) > len(A):
        got = f"{A.shape} and {B.shape}"
        raise ValueError(f"expected rows of one length, in A at least as many as in B, got {got}")
    QA, QB = _orthonormal(A), _orthonormal(B)
    products = QB @ QA.T
    cosines = xp.linalg.svd(products, compute_uv=False)  # descending
    sines = xp.linalg.svd(QB - products @ QA, compute_uv=False)[::-1]  # ascending
    return xp.arctan2(sines, cosines)


def least_error(eigenvalues: Array, latent: int) -> float:
    """sum_{i > K} l_i: the least E |x - x_hat|^2 of K linear codes, in squared units of the data.

    Shapes  eigenvalues (D,), the largest first.
    Raises  ValueError unless 0 <= K <= D.
    """
    if not 0 <= latent <= len(eigenvalues):
        raise ValueError(f"expected 0 to {len(eigenvalues)} latents, got {latent}")
    return float(namespace(eigenvalues).sum(eigenvalues[latent:]))


def as_autoencoder(spectrum: Spectrum, kept: Sequence[int]) -> Autoencoder:
    """The linear `Autoencoder` that projects on some of the eigenvectors, in float64.

    The decoder is a Gaussian with sigma = 1, so the loss is 1/2 |x - x_hat|^2 plus constants.

    kept    the numbers of the eigenvectors, 0 the one of the largest eigenvalue.  range(K) is the
            optimum; anything else is a critical point of the loss too, but a saddle.
    Raises  ValueError if a number is out of range or comes twice.
    """
    n, K = len(spectrum.axes), len(kept)
    if K == 0 or len(set(kept)) != K or not all(0 <= i < n for i in kept):
        raise ValueError(f"expected different numbers from 0 to {n - 1}, got {list(kept)}")
    axes, mean = to_numpy(spectrum.axes)[list(kept)], to_numpy(spectrum.mean)
    architecture = Architecture(
        len(mean), K, (), likelihood="gaussian", variance="fixed", sigma=1.0
    )
    model = Autoencoder(architecture, dtype="float64")
    view = model.parameters.views(model.parameters.theta)
    view["encoder.code.W"][...], view["encoder.code.b"][...] = axes.T, -mean @ axes.T
    view["decoder.mu.W"][...], view["decoder.mu.b"][...] = axes, mean
    return model


def _orthonormal(A: Array) -> Array:
    """Orthonormal rows with the span of those of A (K, D), whatever their lengths."""
    xp = namespace(A)
    length = xp.sqrt(xp.sum(A * A, axis=1))
    if len(A) > A.shape[1] or not bool((length > 0.0).all()):
        raise ValueError("expected linearly independent rows")
    Q, triangle = xp.linalg.qr((A / length[:, None]).T)
    size = xp.abs(xp.diagonal(triangle))  # what each row adds to those before it, of its length 1
    if not bool((size > 100.0 * float(xp.finfo(A.dtype).eps)).all()):
        raise ValueError("expected linearly independent rows")
    return Q.T
