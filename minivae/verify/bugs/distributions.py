"""Bugs in layers and distributions.  Several have the right gradient of the wrong formula."""

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae.arrays import sum_to
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.distributions import continuous_bernoulli as grey
from minivae.layers import Dense, Heads, SoftClip
from minivae.numerics import sigmoid
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]


def logvar_as_sigma() -> Plant:
    """z = mu + e^logvar eps, with the pathwise gradient of just that."""

    def sample(self: Gaussian, eps: Any) -> Any:
        return self.mu + np.exp(self.logvar) * eps

    def pathwise(self: Gaussian, dz: Any, eps: Any) -> Any:
        dlogvar = dz * eps * np.exp(self.logvar)
        return sum_to(dz, self.mu.shape), sum_to(dlogvar, self.logvar.shape)

    return both(replaced(Gaussian, "sample", sample), replaced(Gaussian, "pathwise_grad", pathwise))


def flipped_sigmoid() -> Plant:
    """P(x = 1) = sigmoid(-a) in log_prob and its score; training absorbs it."""
    log_prob, score = Bernoulli.log_prob, Bernoulli.score
    return both(
        replaced(Bernoulli, "log_prob", lambda self, x: log_prob(Bernoulli(-self.logits), x)),
        replaced(Bernoulli, "score", lambda self, x: (-score(Bernoulli(-self.logits), x)[0],)),
    )


def no_constant() -> Plant:
    """log p without 1/2 log 2 pi per pixel."""
    constant = 0.5 * math.log(2.0 * math.pi)
    return after(Gaussian, "log_prob", lambda p, self, v: p + constant * v.shape[-1])


def squared_error() -> Plant:
    """-|x - x_hat|^2 for log p: no 1/2, no log sigma, no constant; its gradient is right."""
    right = Gaussian.score
    return both(
        replaced(
            Gaussian,
            "log_prob",
            lambda self, v: -((v - self.mu) ** 2 * np.exp(-self.logvar)).sum(axis=-1),
        ),
        replaced(
            Gaussian,
            "score",
            lambda self, v: (2.0 * right(self, v)[0], 2.0 * right(self, v)[1] + 1.0),
        ),
    )


def no_log_sigma() -> Plant:
    """log p without the log sigma of every pixel."""
    return after(
        Gaussian,
        "log_prob",
        lambda p, self, v: p + 0.5 * (self.logvar + 0.0 * v).sum(axis=-1),
    )


def runaway_variance() -> Plant:
    """d log p / d logvar without the -1/2: the variance never stops at the mean squared error."""
    return after(Gaussian, "score", lambda s, self, v: (s[0], s[1] + 0.5))


def grey_coin() -> Plant:
    """The continuous Bernoulli without its normaliser: a Bernoulli on grey pixels."""
    return both(
        replaced(grey, "_log_normaliser", lambda a: 0.0 * a),
        replaced(grey, "_log_normaliser_slope", lambda a: 0.0 * a),
    )


def clipped_probabilities() -> Plant:
    """x log lambda + (1 - x) log(1 - lambda) with lambda clipped to [1e-7, 1 - 1e-7]."""

    def log_prob(self: Bernoulli, x: Any) -> Any:
        p = np.clip(sigmoid(self.logits), 1e-7, 1.0 - 1e-7)
        return (x * np.log(p) + (1.0 - x) * np.log(1.0 - p)).sum(axis=-1)

    return replaced(Bernoulli, "log_prob", log_prob)


def hard_clip() -> Plant:
    """min(max(x, -c), c), with its own right backward: zero outside."""

    def forward(self: SoftClip, x: Any) -> Any:
        return np.clip(x, -self.limit, self.limit), x

    def backward(self: SoftClip, dy: Any, x: Any, need_dx: bool = True) -> Any:
        return dy * (np.abs(x) < self.limit)

    return both(replaced(SoftClip, "forward", forward), replaced(SoftClip, "backward", backward))


def kl_without_half() -> Plant:
    """mu^2 + sigma^2 - log sigma^2 - 1: twice the KL, and twice its gradient."""
    return both(
        after(Gaussian, "kl_terms", lambda kl, *_: 2.0 * kl),
        after(Gaussian, "kl_grad", lambda g, *_: (2.0 * g[0], 2.0 * g[1])),
    )


def kl_reversed() -> Plant:
    """KL(p || q) where KL(q || p) should be."""
    right = Gaussian.kl_terms

    def wrong(self: Gaussian, p: Any = None) -> Any:
        return right(Gaussian(0.0 * self.mu, 0.0 * self.mu) if p is None else p, self)

    return replaced(Gaussian, "kl_terms", wrong)


def kl_in_bits() -> Plant:
    """The KL divided by log 2, beside a reconstruction in nats."""
    return both(
        after(Gaussian, "kl_terms", lambda kl, *_: kl / math.log(2.0)),
        after(Gaussian, "kl_grad", lambda g, *_: tuple(s / math.log(2.0) for s in g)),
    )


def kl_of_the_mean() -> Plant:
    """The KL's gradient reaches mu alone."""
    return after(Gaussian, "kl_grad", lambda g, *_: (g[0], 0.0 * g[1]))


def fresh_noise() -> Plant:
    """The backward draws an eps of its own."""
    right, rng = Gaussian.pathwise_grad, np.random.default_rng(5)
    return replaced(
        Gaussian, "pathwise_grad", lambda self, dz, eps: right(self, dz, rng.normal(size=eps.shape))
    )


def mean_as_sample() -> Plant:
    """The decoder's mean, shown as if it had been drawn."""
    return replaced(Bernoulli, "sample", lambda self, u: self.mean + 0.0 * u)


def transposed_weights() -> Plant:
    """dx = dy W: runs only where the layer is square."""

    def backward(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
        self.dW += x.T @ dy
        self.db += dy.sum(axis=0)
        return dy @ (self.W if self.W.shape[0] == self.W.shape[1] else self.W.T)

    return replaced(Dense, "backward", backward)


def overwritten_gradient() -> Plant:
    """= where += should be: a layer used twice forgets its first use."""

    def backward(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
        self.dW[...] = x.T @ dy
        self.db[...] = dy.sum(axis=0)
        return dy @ self.W.T

    return replaced(Dense, "backward", backward)


def state_on_the_layer() -> Plant:
    """The layer remembers its last input, whoever it was for."""
    forward, backward = Dense.forward, Dense.backward

    def remember(self: Any, x: Any) -> Any:
        self.x = x
        return forward(self, x)

    def recall(self: Any, dy: Any, x: Any, need_dx: bool = True) -> Any:
        return backward(self, dy[: len(self.x)], self.x, need_dx)

    return both(replaced(Dense, "forward", remember), replaced(Dense, "backward", recall))


def fork_forgets() -> Plant:
    """The trunk gets the gradient of the last head alone."""

    def backward(self: Heads, dy: Any, cache: Any, need_dx: bool = True) -> Any:
        trunk, caches = cache
        heads = zip(self.heads.values(), dy, caches, strict=True)
        dh = [head.backward(dy_k, cache_k) for head, dy_k, cache_k in heads][-1]
        return self.trunk.backward(dh, trunk, need_dx)

    return replaced(Heads, "backward", backward)


def ignored_logit() -> Plant:
    """The continuous Bernoulli's samples are the u themselves."""
    return replaced(ContinuousBernoulli, "sample", lambda self, u: u + 0.0 * self.logits)


BUGS = (
    Bug("log-variance taken as standard deviation", 3,
        "Gradient checks pass; samples are too narrow or too wide.", "moments", logvar_as_sigma),
    Bug("a sigmoid with the sign flipped", 3,
        "Training absorbs it: negatives of the pictures.", "scores", flipped_sigmoid),
    Bug("log 2 pi left out", 4,
        "Likelihoods are too good by 0.92 nats per pixel.", "normalised", no_constant),
    Bug("|x - x_hat|^2 + KL", 4,
        "Trains well, but at beta = 1/2, and the number is no bound.", "normalised", squared_error),
    Bug("log sigma left out", 4,
        "A learned sigma grows without end.", "normalised", no_log_sigma),
    Bug("a learned sigma without its -1/2", 5,
        "sigma does not come to rest at the mean squared error.", "gradients", runaway_variance),
    Bug("a Bernoulli on grey pixels", 6,
        "A loss that cannot reach 0 and is compared with densities.", "normalised", grey_coin),
    Bug("cross-entropy from clipped probabilities", 7,
        "No pixel costs more than 16.1 nats, however wrong.", "extremes", clipped_probabilities),
    Bug("a hard clip of logvar", 8,
        "A unit that ran away never comes back: its gradient is 0.", "extremes", hard_clip),
    Bug("the KL without its 1/2", 1,
        "beta = 2 is called a VAE.", "KL", kl_without_half),
    Bug("the KL the wrong way round", 12,
        "q spreads over all of the prior.", "KL", kl_reversed),
    Bug("the KL in bits, the rest in nats", 24,
        "beta = 1.44 is called a VAE.", "KL", kl_in_bits),
    Bug("the KL's gradient reaches mu alone", 13,
        "Variances shrink to nothing.", "gradients", kl_of_the_mean),
    Bug("another eps in the backward", 13,
        "The variance learns from noise that was never used.", "gradients", fresh_noise),
    Bug("the decoder's mean shown as a sample", 16,
        "Samples that look too good, or blurred.", "moments", mean_as_sample),
    Bug("samples that ignore their logit", 16,
        "Grey noise in place of samples.", "moments", ignored_logit),
    Bug("a transposed weight in the backward", 14,
        "Training crawls where layers are square, and crashes elsewhere.", "gradients",
        transposed_weights),
    Bug("a fork that forgets a branch", 13,
        "The encoder's trunk learns from the log-variance alone.", "inner products",
        fork_forgets),
    Bug("a gradient that overwrites", 14,
        "Only the last use of a layer counts.", "caches", overwritten_gradient),
    Bug("the input kept on the layer", 14,
        "Two forwards before a backward give a wrong gradient.", "caches", state_on_the_layer),
)  # fmt: skip
