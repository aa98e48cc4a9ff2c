"""The categorical distribution: one of C classes for every variable."""

import math
from dataclasses import dataclass
from typing import Optional

from minivae.arrays import Array, cast, namespace
from minivae.numerics import logsumexp, softmax


@dataclass(frozen=True)
class Categorical:
    """A die for every variable: P(class c) = p_c = softmax(l)_c, with the logits l as parameters.

    A value is one-hot: x_c = 1 for the class that came up, 0 for the others.  So a sum over classes
    picks the one that came up, and a formula needs no indices.  Adding a number to all logits of a
    variable changes nothing: C logits are C - 1 parameters.  For C = 2 this is the Bernoulli with
    the logit l_1 - l_0.

    Shapes  logits (..., B, D, C): D variables of C classes, C the last axis.
    Unit    log_prob, entropy and kl: nats per example, summed over the D variables.
    """

    logits: Array

    def log_prob(self, x: Array) -> Array:
        """log P(x), summed over classes and variables.

        From p_c = e^l_c / sum_k e^l_k:
            log p_c = l_c - logsumexp(l),    log P(x) = sum_c x_c log p_c
        which no logit makes infinite.

        Shapes  x (..., B, D, C) one-hot, result (..., B).
        """
        return _over_variables(x * self._log_p())

    def score(self, x: Array) -> tuple[Array]:
        """(d log P / d logits,): observed minus expected.

        d logsumexp / d l_c = p_c, and the x_c of a variable sum to one:
            d/dl_c  sum_k x_k (l_k - logsumexp(l))  =  x_c - p_c sum_k x_k  =  x_c - p_c

        Shapes  x (..., B, D, C) one-hot, result of the broadcast shape.
        """
        return (x - self.mean,)

    def grad_value(self, x: Array) -> Array:
        """d log P / d x_c = log p_c: the formula is linear in x."""
        return self._log_p() + 0.0 * x

    def sample(self, u: Array) -> Array:
        """One-hot x by the inverse distribution function, with u ~ U[0, 1), one for each variable.

        Class c comes up where  p_0 + ... + p_(c-1) <= u < p_0 + ... + p_c,  an interval of length
        p_c.  (Adding Gumbel noise to the logits and taking the largest is the same law, for C
        random numbers a variable instead of one.)  There is no pathwise gradient: x jumps.

        Shapes  u (..., B, D), or (S, ..., B, D) for S samples; x the same with C at the end.
        """
        xp, p = namespace(u), self.mean
        # Whether u lies below each edge; the last edge is 1, whatever rounding made of the sum.
        edge, below, previous, classes = 0.0 * p[..., 0], None, 0.0 * u, []
        for c in range(p.shape[-1]):
            edge = edge + p[..., c]
            below = cast(u < edge, u) if c + 1 < p.shape[-1] else 0.0 * u + 1.0
            classes.append(below - previous)
            previous = below
        return xp.stack(classes, axis=-1)

    def entropy(self) -> Array:
        """H = -E log P(x) = -sum_c p_c log p_c, summed over the variables; log C for equal p.

        Shapes  result (..., B).
        """
        return -_over_variables(self.mean * self._log_p())

    def kl(self, p: Optional["Categorical"] = None) -> Array:
        """KL(q || p) from self = q to p, the uniform distribution by default.

        KL = E_q [ log q(x) - log p(x) ] = sum_c q_c (log q_c - log p_c),  and log p_c = -log C for
        the uniform p: then it is log C - H, all that a code of C symbols can hold less the entropy.

        Shapes  result (..., B).
        """
        return _over_variables(self.mean * self._log_ratio(p))

    def kl_grad(self, p: Optional["Categorical"] = None) -> tuple[Array]:
        """(d KL / d logits,) in every variable.

        With r_k = log q_k - log p_k,  d q_k / d l_c = q_k (1[k = c] - q_c)  and
        d log q_k / d l_c = 1[k = c] - q_c:
            d/dl_c sum_k q_k r_k  =  q_c r_c - q_c sum_k q_k r_k  +  q_c - q_c sum_k q_k
                                  =  q_c (r_c - KL of this variable)

        Shapes  as logits, or broadcast with p's.
        """
        q, ratio = self.mean, self._log_ratio(p)
        kl = namespace(q).sum(q * ratio, axis=-1, keepdims=True)
        return (q * (ratio - kl),)

    @property
    def mean(self) -> Array:
        """E[x] = (p_1, ..., p_C): the expected one-hot vector is the probabilities."""
        return softmax(self.logits, axis=-1)

    def _log_p(self) -> Array:
        total = logsumexp(self.logits, axis=-1)
        return self.logits - namespace(total).expand_dims(total, axis=-1)

    def _log_ratio(self, p: Optional["Categorical"]) -> Array:
        if p is None:
            return self._log_p() + math.log(self.logits.shape[-1])
        return self._log_p() - p._log_p()


def _over_variables(a: Array) -> Array:
    """(..., B, D, C) -> (..., B)."""
    return namespace(a).sum(a, axis=(-2, -1))
