"""A codebook: n_codes vectors, and each vector of an encoder is replaced by the nearest of them.

    e, index = codebook.forward(z)      # z (N, C) -> its nearest entries (N, C), their numbers (N,)

The numbers are the code: whoever knows the codebook can do with log n_codes nats for each vector.

nearest   the entry that is nearest, in chunks that bound the memory
k_means   entries to start from
moved     one step of the moving averages that may take the place of the codebook's gradient
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from minivae.arrays import Array, cast, dtype_name, like, namespace
from minivae.parameters import Layer

CHUNK = 2**22
"""Squared distances that stand in memory at a time: 16 MB in float32."""


class Codebook:
    """y = the entry of the codebook nearest to z, and the straight-through estimator.

    Shapes    z (N, C), E (n_codes, C), y (N, C).  ``share`` (n_codes,) and ``total`` (n_codes, C)
              are the moving averages of `moved`; no gradient reaches them.
    Keeps     index (N,), the number of each vector's entry.
    Backward  y is constant in z almost everywhere, so its derivative is 0 and says nothing.  The
              straight-through estimator pretends that y = z:
                dz = dy
              It is no derivative of this forward, but that of  z + sg(e - z),  sg a number that is
              not differentiated.  E gets no gradient from here, but by `learn`.
    Raises    ValueError if n_codes or code_size < 1.
    Source    Bengio, Leonard and Courville (2013); van den Oord, Vinyals and Kavukcuoglu (2017).
    """

    E: Array
    dE: Array
    share: Array
    total: Array

    def __init__(self, n_codes: int, code_size: int) -> None:
        if n_codes < 1 or code_size < 1:
            raise ValueError(
                f"expected n_codes and code_size of at least 1, got {n_codes} and {code_size}"
            )
        self.n_codes, self.code_size = n_codes, code_size

    def forward(self, z: Array) -> tuple[Array, Array]:
        index = nearest(z, self.E)
        return self.entries(index), index

    def backward(self, dy: Array, index: Array, need_dx: bool = True) -> Array | None:
        return dy if need_dx else None

    def entries(self, index: Array) -> Array:
        """The vectors of some entries: index (N,) -> (N, C)."""
        return namespace(self.E).take(self.E, index, axis=0)

    def learn(self, de: Array, index: Array) -> None:
        """Add the gradient of the entries that were used: dE_k = sum of de_n over index(n) = k."""
        self.dE += sums(index, de, self.n_codes)[1]

    def parts(self) -> Mapping[str, Layer]:
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Entries of N(0, 1 / C), and averages that agree with them: E = total / share."""
        E = rng.standard_normal((self.n_codes, self.code_size)) / math.sqrt(self.code_size)
        return {
            "E": E,
            "share": np.full(self.n_codes, 1.0 / self.n_codes),
            "total": E / self.n_codes,
        }


def nearest(z: Array, E: Array) -> Array:
    """The number of the entry nearest to each vector; of several that are as near, the first.

        |z - e_k|^2 = |z|^2 - 2 z e_k + |e_k|^2

    and |z|^2 is the same for all k, so a matrix product is all the work.  Entries whose distances
    differ by no more than the rounding of this sum count as equally near.  So the choice between
    equal entries does not depend on how a BLAS orders its sums.

    Shapes  z (N, C), E (n_codes, C), result (N,) integers; at most `CHUNK` distances at a time.
    """
    xp = namespace(z)
    n = E.shape[0]
    lengths = xp.sum(E * E, axis=1)
    numbers, last = like(np.arange(n), z), like(np.array([n - 1]), z)
    rounding = 8.0 * float(np.finfo(dtype_name(z)).eps)
    index = xp.zeros_like(z[:, 0], dtype=xp.int64)
    for rows in _chunks(z.shape[0], n):
        part = z[rows, :]
        distance = lengths - 2.0 * (part @ E.T)  # less |z|^2
        size = xp.sum(part * part, axis=1, keepdims=True) + lengths  # of what was added
        near = distance <= xp.min(distance, axis=1, keepdims=True) + rounding * size
        index[rows] = xp.min(xp.where(near, numbers, last), axis=1)  # the first of the near
    return index


def sums(index: Array, z: Array, n_codes: int) -> tuple[Array, Array]:
    """How many vectors each entry has, (n_codes,), and their sum, (n_codes, C).

    With h_nk = 1 where index(n) = k, else 0:  count = sum_n h_nk  and  sum = h^T z, in chunks.
    """
    xp = namespace(z)
    numbers = like(np.arange(n_codes), z)
    count, total = 0.0, 0.0
    for rows in _chunks(z.shape[0], n_codes):
        part = z[rows, :]
        one_hot = cast(xp.expand_dims(index[rows], axis=1) == numbers, part)
        count = count + xp.sum(one_hot, axis=0)
        total = total + one_hot.T @ part
    return count, total


def _chunks(N: int, n_codes: int) -> Iterator[slice]:
    """The rows 0 to N - 1, so many at a time that all their distances are one `CHUNK` or less."""
    step = max(1, CHUNK // n_codes)
    return (slice(start, min(start + step, N)) for start in range(0, N, step))


class Averages(NamedTuple):
    """A codebook and its moving averages.

    E      (n_codes, C)  the entries.
    share  (n_codes,)    the share of the vectors that chose each of them; together 1 (a little
                         more for some steps after an entry was restarted with a share of its own).
    total  (n_codes, C)  share times the mean of those vectors.
    """

    E: Array
    share: Array
    total: Array


def moved(
    before: Averages, index: Array, z: Array, decay: float = 0.99, smoothing: float = 1e-5
) -> Averages:
    """One step of the moving averages: every entry moves towards the mean of its vectors.

    With n_k of the N vectors at entry k, whose sum is s_k,

        share_k  <-  decay share_k + (1 - decay) n_k / N
        total_k  <-  decay total_k + (1 - decay) s_k / N
        e_k       =  total_k / smoothed_k,    smoothed_k = (share_k + a / n_codes) / (1 + a)

    with a = ``smoothing`` (Laplace): as if a share a of all vectors were spread evenly.  Shares,
    not counts: the step does not depend on the size of the batch.  With decay = 0 and a = 0, and
    all the data as the batch, e_k is the mean of its vectors: one step of Lloyd's k-means.

    An entry that nobody chooses keeps its place for a while, since share and total shrink together;
    once its share is below a / n_codes the smoothing draws it to 0.  With a = 1e-5 and a decay of
    0.99 that takes 1,100 steps: long before, `VQVAE.after_epoch` should have found it dead.  With
    a share of exactly 0 it stays where it is.

    Shapes  index (N,), z (N, C).
    Source  van den Oord, Vinyals and Kavukcuoglu (2017), appendix A.1; the smoothing is not in the
            paper but in its authors' program.
    """
    n_codes, N = before.share.shape[0], z.shape[0]
    count, total = sums(index, z, n_codes)
    share = decay * before.share + ((1.0 - decay) / N) * count
    total = decay * before.total + ((1.0 - decay) / N) * total
    smoothed = (share + smoothing / n_codes) / (1.0 + smoothing)
    xp = namespace(share)
    share_k, smoothed_k = (xp.expand_dims(v, axis=1) for v in (share, smoothed))
    used = cast(share_k > 0.0, share)
    unused = 1.0 - used  # their smoothed share may be 0: it becomes 1, and divides a 0
    E = used * total / (smoothed_k + unused) + unused * before.E
    return Averages(E, share, total)


def k_means(z: np.ndarray, n_codes: int, rng: np.random.Generator, steps: int = 10) -> Averages:
    """Entries to start from: k-means++ and then ``steps`` steps of Lloyd's algorithm.

    k-means++ takes a vector at random, then n_codes - 1 times one with a probability in proportion
    to its squared distance from the nearest taken so far: spread out, but dense where data are.

    Shapes  z (N, C) on the host.
    Raises  ValueError if n_codes is larger than N.
    Source  Arthur and Vassilvitskii (2007); Lloyd (1982).
    """
    if n_codes > len(z):
        raise ValueError(
            f"expected n_codes of at most {len(z):,}, the vectors there are; got {n_codes:,}"
        )
    taken = [int(rng.integers(len(z)))]
    distance = np.full(len(z), np.inf)
    for _ in range(n_codes - 1):
        distance = np.minimum(distance, ((z - z[taken[-1]]) ** 2).sum(axis=1, dtype=np.float64))
        edges = np.cumsum(distance)
        if edges[-1] > 0.0:
            at = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
        else:  # fewer different vectors than entries: some entries are equal, and one of them idle
            at = int(rng.integers(len(z)))
        taken.append(min(at, len(z) - 1))
    E = z[np.array(taken)]
    state = Averages(E, np.full(n_codes, 1.0 / n_codes, z.dtype), E / n_codes)
    for _ in range(steps):
        state = moved(state, nearest(z, state.E), z, decay=0.0, smoothing=0.0)
    return state


def perplexity(count: np.ndarray) -> float:
    """e^H of the entries' shares: as many entries, used equally, would have that entropy.

    count  (n_codes,) how often each entry was used, over an epoch or a data set.  Over a batch of
           a few hundred vectors it could not come out larger than their number.
    """
    p = np.asarray(count, np.float64)
    p = p[p > 0] / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def hidden_rate(M: int, n_codes: int) -> float:
    """M log n_codes, in nats per image: what a code costs if all codes are held equally likely."""
    return M * math.log(n_codes)
