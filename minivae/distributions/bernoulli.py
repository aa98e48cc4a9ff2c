"""The Bernoulli distribution: p(x|z) of black-and-white pixels."""

from dataclasses import dataclass

from minivae.arrays import Array, cast, fused, namespace
from minivae.numerics import sigmoid, softplus


@dataclass(frozen=True)
class Bernoulli:
    """A coin for every pixel: P(x = 1) = lambda = sigmoid(a), with the logit a as parameter.

    It is a distribution of x in {0, 1}.  Put grey pixels into log_prob and a number comes out, but
    no density: it does not integrate to one and its best value is not zero.  Binarise first.

    Shapes  logits (..., B, D).
    Unit    log_prob: nats per example.
    """

    logits: Array

    def log_prob(self, x: Array) -> Array:
        """log P(x), summed over the last axis.

        From lambda = e^a / (1 + e^a):
            log lambda = a - softplus(a),    log(1 - lambda) = -softplus(a)
            x log lambda + (1 - x) log(1 - lambda)  =  x a - softplus(a)
        which no logit makes infinite; clipping lambda instead would bias it.

        Shapes  x (..., B, D), result (..., B).
        """
        return namespace(x).sum(_log_density(self.logits, x), axis=-1)

    def score(self, x: Array) -> tuple[Array]:
        """(d log P / d logits,) in every dimension: observed minus expected.

            d/da [ x a - softplus(a) ]  =  x - sigmoid(a)

        Shapes  x (..., B, D), result of the broadcast shape.
        """
        return (_observed_minus_expected(self.logits, x),)

    def grad_value(self, x: Array) -> Array:
        """d log P / d x = a: the formula is linear in x, so the slope is the logit."""
        return self.logits + 0.0 * x

    def sample(self, u: Array) -> Array:
        """x = 1 where u < lambda, with u ~ U[0, 1).

        There is no pathwise gradient: x jumps.

        Shapes  u as logits, or (S, ..., B, D).
        """
        return cast(u < self.mean, u)

    @property
    def mean(self) -> Array:
        """E[x] = P(x = 1) = sigmoid(a)."""
        return sigmoid(self.logits)


@fused
def _log_density(a: Array, x: Array) -> Array:
    return x * a - softplus(a)


@fused
def _observed_minus_expected(a: Array, x: Array) -> Array:
    return x - sigmoid(a)
