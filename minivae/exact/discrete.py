"""A world small enough to count: every distribution is a table, every expectation a sum.

Here z is one of Z codes and x one of X things.  Nothing is sampled and nothing is approximated, so
that an identity between bounds holds to rounding, and an inequality without exception.
"""

from dataclasses import dataclass

import numpy as np

from minivae.arrays import Array, Device, namespace, to_device
from minivae.numerics import logsumexp

SUMS_TO_ONE = 1e-5
"""How far the sum of a distribution may be from 1; enough for tables in float32."""


@dataclass(frozen=True)
class DiscreteWorld:
    """A model p(z) p(x|z), an encoder q(z|x) and a data distribution, as tables of logarithms.

    Rows are the X things that an example can be, columns the Z codes.

    log_prior       (Z,)    log p(z)
    log_likelihood  (X, Z)  log p(x|z): every column is a distribution over x
    log_q           (X, Z)  log q(z|x): every row is a distribution over z
    log_data        (X,)    log of the fraction of the data that is x

    Logarithms, because a probability of e^-800 is 0 as a number, and 0 log 0 is no number.  For the
    same reason a probability of exactly 0 is refused; -1e4 is as good as minus infinity.

    Unit    nats.
    Raises  ValueError, one line, for tables that do not fit each other, that hold an infinity, or
            that are no distributions.
    """

    log_prior: Array
    log_likelihood: Array
    log_q: Array
    log_data: Array

    def __post_init__(self) -> None:
        if self.log_likelihood.ndim != 2:
            got = self.log_likelihood.shape
            raise ValueError(f"expected log_likelihood of shape (X, Z), got {got}")
        X, Z = self.log_likelihood.shape
        shapes = {"log_prior": (Z,), "log_q": (X, Z), "log_data": (X,)}
        for name, shape in shapes.items():
            got = getattr(self, name).shape
            if got != shape:
                raise ValueError(
                    f"expected {name} of shape {shape} beside log_likelihood of shape {(X, Z)}, "
                    f"got {got}"
                )
        for name in ("log_likelihood", *shapes):
            table = getattr(self, name)
            if not bool(namespace(table).all(namespace(table).isfinite(table))):
                raise ValueError(f"expected {name} to hold finite logarithms, got log 0 or a nan")
        for name, axis in (("log_prior", 0), ("log_likelihood", 0), ("log_q", 1), ("log_data", 0)):
            _check_sums(name, logsumexp(getattr(self, name), axis=axis))

    @classmethod
    def from_logits(cls, prior: Array, likelihood: Array, q: Array, data: Array) -> "DiscreteWorld":
        """The world whose tables are the softmax of the given ones, of the shapes above."""
        return cls(
            _log_softmax(prior, 0),
            _log_softmax(likelihood, 0),
            _log_softmax(q, 1),
            _log_softmax(data, 0),
        )

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        n_x: int = 5,
        n_z: int = 3,
        scale: float = 1.0,
        device: Device = "cpu",
    ) -> "DiscreteWorld":
        """Logits ~ N(0, scale^2): 0 makes every table uniform, 10 almost deterministic."""
        if n_x < 1 or n_z < 1:
            raise ValueError(f"expected n_x and n_z of at least 1, got {n_x} and {n_z}")
        shapes = ((n_z,), (n_x, n_z), (n_x, n_z), (n_x,))
        logits = [to_device(scale * rng.standard_normal(shape), device) for shape in shapes]
        return cls.from_logits(*logits)

    @property
    def log_joint(self) -> Array:
        """log p(x, z) = log p(z) + log p(x|z), (X, Z)."""
        return self.log_prior + self.log_likelihood

    @property
    def log_evidence(self) -> Array:
        """log p(x) = log sum_z p(x, z), (X,): what a VAE can only bound."""
        return logsumexp(self.log_joint, axis=1)

    @property
    def log_posterior(self) -> Array:
        """log p(z|x) = log p(x, z) - log p(x), (X, Z): Bayes' rule, every row a distribution."""
        return self.log_joint - self.log_evidence[:, None]

    @property
    def log_aggregate(self) -> Array:
        """log q(z) = log sum_x data(x) q(z|x), (Z,): where the encoder puts the data as a whole."""
        return logsumexp(self.log_data[:, None] + self.log_q, axis=0)

    def mean(self, values: Array) -> Array:
        """The mean over the data of a number for each x, (X,) -> ()."""
        xp = namespace(values)
        return xp.sum(xp.exp(self.log_data) * values)


def _log_softmax(logits: Array, axis: int) -> Array:
    total = logsumexp(logits, axis=axis)
    return logits - namespace(logits).expand_dims(total, axis=axis)


def _check_sums(name: str, log_sums: Array) -> None:
    xp = namespace(log_sums)
    low, high = float(xp.min(log_sums)), float(xp.max(log_sums))
    if not (low >= -SUMS_TO_ONE and high <= SUMS_TO_ONE):  # a nan is not in order either
        raise ValueError(
            f"expected {name} to hold distributions, whose probabilities sum to 1; "
            f"got the logarithms of sums from {low:.3g} to {high:.3g}, not 0"
        )
