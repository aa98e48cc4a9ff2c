"""The VQ-VAE: an image as a grid of numbers, each the number of an entry of a codebook."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minivae.arrays import Array, dtype_name, like, namespace, to_numpy
from minivae.codebook import Averages, Codebook, k_means, moved, perplexity, sums
from minivae.datasets.base import spread_rows
from minivae.distributions import Bernoulli
from minivae.models import quantisation
from minivae.models.base import Model
from minivae.models.quantised_networks import QuantisedArchitecture, require_codes
from minivae.parameters import Layer

CODEBOOKS = ("ema", "gradient")
START_IMAGES = 1_000
"""Images whose codes k-means starts from; more if they have fewer codes than there are entries."""

POOL = 10_000
"""Codes of an epoch that dead entries may become; and that k-means is done with."""


class VQVAE(Model):
    """z = f(x) as a grid of M vectors, each replaced by the nearest of n_codes entries e.

    Trained by `minivae.models.quantisation.quantised`.  The code of an image is M numbers, and
    M log n_codes nats name it; what its codes really cost is the matter of a prior, which is
    trained afterwards (`minivae.models.made.prior_over`): only then can images be drawn.

    commitment  weight of what pulls the codes to their entries.
    codebook    "ema", entries follow the means of their codes by moving averages, or "gradient".
    decay, smoothing  of the moving averages, `minivae.codebook.moved`.
    restart     entries that an epoch used less than this part of an equal share, 1 / n_codes,
                become codes of that epoch, drawn at random.
    Source  van den Oord, Vinyals and Kavukcuoglu (2017).
    """

    Architecture: ClassVar[Any] = QuantisedArchitecture
    OPTIONS: ClassVar[Mapping[str, float | int | str]] = {
        "commitment": 0.25, "codebook": "ema", "decay": 0.99, "smoothing": 1e-5, "restart": 0.05,
    }  # fmt: skip

    codebook: Codebook

    def make_parts(self, data_mean: np.ndarray | None) -> dict[str, Layer]:
        """The encoder, the codebook and the decoder."""
        self.encoder = self.architecture.encoder()
        self.codebook = Codebook(self.architecture.n_codes, self.architecture.code_size)
        self.decoder = self.architecture.decoder(data_mean)
        self.before_epoch()
        self.rule: dict[str, Any] = dict(self.OPTIONS)
        return {"encoder": self.encoder, "codebook": self.codebook, "decoder": self.decoder}

    def start(self, x: Array, rng: Any) -> None:
        """k-means on the codes that the untrained encoder gives to training images x (N, D).

        Raises  ValueError if there are fewer codes than entries.
        """
        N, a = len(x), self.architecture
        require_codes(a, N)
        enough = max(START_IMAGES, -(-a.n_codes // a.M))  # a code for every entry
        rows = np.asarray(x[spread_rows(N, min(N, enough))])
        if self.likelihood is Bernoulli:  # grey pixels are black or white when they are used
            rows = (rng.random(rows.shape) < rows).astype(rows.dtype)
        z = to_numpy(self.unquantised(self.array(rows)))
        most = max(a.n_codes, POOL)
        z = z[rng.choice(len(z), most, replace=False)] if len(z) > most else z
        self._set(k_means(z, a.n_codes, rng))

    def objective(  # type: ignore[override]
        self,
        x: Array,
        rng: Any = None,
        gradient: bool = True,
        commitment: float = 0.25,
        codebook: str = "ema",
        decay: float = 0.99,
        smoothing: float = 1e-5,
        restart: float = 0.05,
    ) -> quantisation.Quantised:
        """The objective of x (B, D); ``rng`` is not used.  See the class for the options."""
        if gradient:
            check_rule(commitment, codebook, decay, smoothing, restart)
            self.rule = {
                "codebook": codebook, "decay": decay, "smoothing": smoothing, "restart": restart,
            }  # fmt: skip
            if codebook == "ema":  # as they were before the optimiser, which decays weights
                self.before = Averages(*[+a for a in self._averages()])
        weight = 1.0 if codebook == "gradient" else 0.0
        return self.quantised(self.array(x), commitment, weight, gradient)

    def quantised(
        self, x: Array, commitment: float, weight: float, gradient: bool
    ) -> quantisation.Quantised:
        """`minivae.models.quantisation.quantised` with the weights of its two pulls."""
        return quantisation.quantised(self, x, commitment, weight, gradient)

    def unquantised(self, x: Array) -> Array:
        """The encoder's vectors, as many rows of C numbers as x (B, D) has codes."""
        return self.encoder.forward(x)[0]

    def before_epoch(self) -> None:
        """Forget how often the entries were used, and by what."""
        self.count: Any = 0.0
        self.pool: list[Array] = []

    def after_step(self, result: quantisation.Quantised) -> None:
        """Move the averages, count, and remember some codes for dead entries."""
        n_codes = self.architecture.n_codes
        self.count = self.count + sums(result.index, result.z, n_codes)[0]
        self.pool.append(result.z)
        while sum(z.shape[0] for z in self.pool[1:]) >= POOL:
            self.pool.pop(0)
        if self.rule["codebook"] == "ema":
            decay, smoothing = self.rule["decay"], self.rule["smoothing"]
            self._set(moved(self.before, result.index, result.z, decay, smoothing))

    def after_epoch(self, rng: Any) -> dict[str, float]:
        """The perplexity over the epoch; then entries that are hardly used become codes of it.

        A dead entry becomes one of the last `POOL` codes of the epoch, and its averages those of an
        entry with an equal share.
        """
        count = to_numpy(self.count).astype(np.float64)
        dead = np.flatnonzero(count < self.rule["restart"] * count.sum() / len(count))
        if len(dead):
            pool = np.concatenate([to_numpy(z) for z in self.pool])
            E, share, total = (np.array(to_numpy(a)) for a in self._averages())
            E[dead] = pool[rng.integers(len(pool), size=len(dead))]
            share[dead], total[dead] = 1.0 / len(count), E[dead] / len(count)
            self._set(Averages(E, share, total))
        return {"perplexity": perplexity(count), "restarted": float(len(dead))}

    def codes(self, x: Array) -> Array:
        """The numbers of the entries that stand for x (B, D): integers (B, M), row by row."""
        index = self.codebook.forward(self.unquantised(self.array(x)))[1]
        return namespace(index).reshape(index, (-1, self.architecture.M))

    def vectors(self, codes: Array) -> Array:
        """The entries of codes (B, M), one after the other: (B, M C).

        Raises  ValueError for codes of another length, or numbers that no entry has.
        """
        a = self.architecture
        if codes.ndim != 2 or codes.shape[1] != a.M:
            raise ValueError(f"expected codes of shape (N, {a.M}), got {codes.shape}")
        numbers = to_numpy(codes)
        if numbers.dtype.kind not in "iu":
            raise ValueError(f"expected codes that are integers, got {numbers.dtype}")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < a.n_codes:
            raise ValueError(
                f"expected codes from 0 to {a.n_codes - 1}, got {numbers.min()} to {numbers.max()}"
            )
        index = like(numbers.reshape(-1).astype(np.int64), self.parameters.theta)
        e = self.codebook.entries(index)
        return namespace(e).reshape(e, (-1, a.latent))

    def means(self, x: Array) -> Array:
        """The entries that stand for x, (B, M C)."""
        return self.vectors(self.codes(x))

    def decode(self, z: Array) -> Any:
        """p(x|e) for the entries of B images, (B, M C), or other vectors in their place."""
        z = self.array(z)
        z = namespace(z).reshape(z, (-1, self.architecture.code_size))
        params, _ = self.decoder.forward(z)
        return self.likelihood(*params)

    def sample(self, n: int, rng: Any) -> Array:
        """Not without a prior over codes: N(0, 1) is none of theirs.

        Raises  ValueError that says where there is one.
        """
        raise ValueError("a VQ-VAE has no prior over codes: train one, `minivae prior RUN`")

    def _averages(self) -> Averages:
        return Averages(self.codebook.E, self.codebook.share, self.codebook.total)

    def _set(self, new: Averages) -> None:
        for mine, value in zip(self._averages(), new, strict=True):
            if isinstance(value, np.ndarray):
                value = like(value.astype(dtype_name(mine)), mine)
            mine[...] = value


def check_rule(
    commitment: float, codebook: str, decay: float, smoothing: float, restart: float
) -> None:
    """Raise ValueError for options that no training can have."""
    if codebook not in CODEBOOKS:
        raise ValueError(f"expected codebook one of {', '.join(CODEBOOKS)}; got {codebook!r}")
    for name, value, most in (
        ("commitment", commitment, math.inf), ("decay", decay, 1.0),
        ("smoothing", smoothing, math.inf), ("restart", restart, 1.0),
    ):  # fmt: skip
        if not 0.0 <= value <= most or value == math.inf:
            limit = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
            raise ValueError(f"expected {name} {limit}, got {value}")
