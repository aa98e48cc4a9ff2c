"""What a loss written elsewhere means here: which beta, and which sigma.

minivae sums over pixels and latents, averages over the batch and keeps every constant,

    J = mean_b [ sum_d -log p(x_bd|z) + beta sum_k KL_bk ]               nats per example.

Elsewhere the sums are means, halves and constants are left out, and a KL weight w is tuned.  Of all
these choices a loss keeps two numbers, a in front of the pixels and c in front of the latents:

    L = mean_b [ a sum_d rho(x_bd, y_bd) + c sum_k KL_bk ],               y the decoder's output.

J and L train the same model if L = lambda J + constant with a lambda > 0: then every gradient of L
is lambda times that of J.  So write -log p(x|z) of one pixel by means of rho,

    mse           rho = (x - y)^2          -log p = rho / (2 sigma^2) + 1/2 log(2 pi sigma^2)
    l1            rho = |x - y|            -log p = rho / b           + log(2 b)
    bce           rho = cross-entropy      -log p = rho
    gaussian-nll  rho = 1/2 [log sigma^2 + (x - y)^2 / sigma^2],  sigma from the decoder
                                           -log p = rho               + 1/2 log(2 pi)

and compare coefficients: of rho first, then of the KL.

    mse           a = lambda / (2 sigma^2)     c = lambda beta     so  beta sigma^2 = c / (2 a)
    l1            a = lambda / b               c = lambda beta     so  beta b       = c / a
    the others    a = lambda                   c = lambda beta     so  beta         = c / a

The first two have one equation for two unknowns.  Only the product is determined: an ELBO at one
sigma is a beta-VAE at every other, with the same gradients up to a factor, and no training run can
tell them apart.  Only a likelihood can, and it is best where sigma^2 is the mean squared error.
"""

import math
from dataclasses import dataclass, replace

from minivae.numerics import LOG_2PI

LIKELIHOODS = {
    "mse": "gaussian",
    "l1": "laplace",
    "bce": "bernoulli",
    "gaussian-nll": "gaussian",
}
"""The reconstruction terms, and the distribution of a pixel that each is the -log of."""

PRESETS = {
    "mse-sum": ("mse", "sum", False),
    "mse-mean": ("mse", "mean", False),
    "mse-sum-half": ("mse", "sum", True),
    "mse-mean-half": ("mse", "mean", True),
    "l1-sum": ("l1", "sum", False),
    "l1-mean": ("l1", "mean", False),
    "bce-sum": ("bce", "sum", False),
    "bce-mean": ("bce", "mean", False),
    "gaussian-nll-sum": ("gaussian-nll", "sum", False),
    "gaussian-nll-mean": ("gaussian-nll", "mean", False),
}
"""Names that people use: (term, reduction over pixels, with the factor 1/2)."""


@dataclass(frozen=True)
class Loss:
    """A loss as somebody wrote it.

    term        "mse", "l1", "bce" (binary cross-entropy), or "gaussian-nll" (its variance comes
                from the decoder; without 1/2 log 2 pi, as F.gaussian_nll_loss has it).
    pixels      "sum" or "mean" over the D values of an example.
    kl_weight   w, in front of the KL.
    dim         D: pixels times channels.
    half        the mse has the factor 1/2.
    latents     "sum" or "mean" of the KL over the K latents.
    latent      K; needed for a mean over the latents.
    batch       "mean" or "sum" over the batch, of the reconstruction.
    kl_batch    the same of the KL; None: as ``batch``.
    batch_size  B; needed for a sum over the batch.
    Raises      ValueError, one line that says what was expected and what came.
    """

    term: str
    pixels: str
    kl_weight: float
    dim: int
    half: bool = False
    latents: str = "sum"
    latent: int | None = None
    batch: str = "mean"
    kl_batch: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _one_of("the reconstruction", self.term, LIKELIHOODS)
        for name in ("pixels", "latents", "batch"):
            _one_of(f"{name} reduced by", getattr(self, name), ("sum", "mean"))
        _one_of("kl_batch reduced by", self.kl_batch or self.batch, ("sum", "mean"))
        _positive("kl_weight", self.kl_weight)
        for name in ("dim", "latent", "batch_size"):
            _count(name, getattr(self, name))
        if self.half and self.term != "mse":
            raise ValueError(f"expected the factor 1/2 with mse only, got it with {self.term}")
        if self.latents == "mean" and self.latent is None:
            raise ValueError("a mean over the latents needs their number K (--latent)")
        if "sum" in self.batches and self.batch_size is None:
            raise ValueError("a sum over the batch needs the batch size B (--batch-size)")

    @property
    def batches(self) -> tuple[str, str]:
        """The reduction over the batch, of the reconstruction and of the KL."""
        return self.batch, self.kl_batch or self.batch

    @property
    def coefficients(self) -> tuple[float, float]:
        """(a, c) of  L = mean_b [ a sum_d rho + c sum_k KL ].

        A mean over D values is 1/D times their sum, a mean over K latents 1/K times theirs, and a
        sum over the batch is B times its mean:

            a = (1/2 if half)  (1/D if pixels are averaged)   (B if the batch is summed)
            c = w              (1/K if latents are averaged)  (B if the batch is summed)
        """
        of_pixels, of_latents = (
            float(self.batch_size or 1) if how == "sum" else 1.0 for how in self.batches
        )
        a = of_pixels * (0.5 if self.half else 1.0)
        c = of_latents * self.kl_weight
        if self.pixels == "mean":
            a /= self.dim
        if self.latents == "mean":
            c /= self.latent or 1
        return a, c


@dataclass(frozen=True)
class Objective:
    """-E_q log p(x|z) + beta KL, in nats per example.

    likelihood  of a pixel: "gaussian", "laplace" or "bernoulli".
    beta        weight of the KL; at 1 this is minus the ELBO.
    scale       sigma of the Gaussian, b of the Laplace density exp(-|x - y| / b) / (2 b); None for
                a Gaussian whose variance comes from the decoder, and for a Bernoulli, which has
                none.
    Raises      ValueError, one line that says what was expected and what came.
    """

    likelihood: str
    beta: float
    scale: float | None = None

    def __post_init__(self) -> None:
        _one_of("likelihood", self.likelihood, ("gaussian", "laplace", "bernoulli"))
        _positive("beta", self.beta)
        if self.scale is not None:
            _positive("b" if self.likelihood == "laplace" else "sigma", self.scale)
        if self.likelihood == "bernoulli" and self.scale is not None:
            raise ValueError("a Bernoulli has no scale: its beta is all there is")
        if self.likelihood == "laplace" and self.scale is None:
            raise ValueError("a Laplace likelihood needs its scale b")

    @property
    def terms(self) -> list[str]:
        """The reconstruction terms that can write it."""
        if self.likelihood == "gaussian":
            return ["gaussian-nll" if self.scale is None else "mse"]
        return [term for term, name in LIKELIHOODS.items() if name == self.likelihood]


def preset(name: str) -> tuple[str, str, bool]:
    """(term, pixels, half) of a name of `PRESETS`.

    >>> preset("mse-sum-half")
    ('mse', 'sum', True)
    """
    _one_of("the reconstruction", name, PRESETS)
    return PRESETS[name]


def invariant(loss: Loss) -> float:
    """What a loss determines: beta sigma^2 for mse, beta b for l1, otherwise beta itself.

    The right column of the table above: c / (2 a) for mse, c / a for the others.

    >>> round(invariant(Loss("mse", "mean", 0.00025, dim=12288)), 12)
    1.536
    """
    a, c = loss.coefficients
    return c / a / 2.0 if loss.term == "mse" else c / a


def at_scale(loss: Loss, scale: float | None = None) -> Objective:
    """The objective of a loss at a chosen sigma (mse) or b (l1): beta is what is left.

        beta = (beta sigma^2) / sigma^2,    beta = (beta b) / b

    The other terms have nothing to choose: scale is None.
    """
    likelihood, fixed = LIKELIHOODS[loss.term], invariant(loss)
    if loss.term not in ("mse", "l1"):
        if scale is not None:
            raise ValueError(f"{loss.term} has no scale to choose: it determines beta alone")
        return Objective(likelihood, fixed)
    if scale is None:
        raise ValueError(f"{loss.term} determines no scale: expected one, or see at_beta")
    _positive("b" if loss.term == "l1" else "sigma", scale)
    return Objective(likelihood, fixed / _power(loss.term, scale), scale)


def at_beta(loss: Loss, beta: float = 1.0) -> Objective:
    """The objective of a loss at a chosen beta (mse, l1): at 1 it is an ELBO, and this its scale.

        sigma = sqrt( (beta sigma^2) / beta ),    b = (beta b) / beta

    The other terms have nothing to choose: beta is what `invariant` says.

    >>> at_beta(Loss("mse", "sum", 1.0, dim=784)).scale ** 2  # the sum of squares + KL
    0.5000000000000001
    """
    if loss.term not in ("mse", "l1"):
        return at_scale(loss)
    _positive("beta", beta)
    rest = invariant(loss) / beta
    return Objective(LIKELIHOODS[loss.term], beta, math.sqrt(rest) if loss.term == "mse" else rest)


def factor(loss: Loss, objective: Objective) -> float:
    """lambda of  L = lambda J + constant: how many times steeper the loss is than the nats.

        c = lambda beta     so  lambda = c / beta

    A batch that is summed has a lambda B times that of its mean: the same objective, but gradients
    B times as large.  Plain SGD then has B times the learning rate.  Adam divides lambda out again,
    except in what does not scale with the gradient: its epsilon, a clipping threshold, and a weight
    decay that is added to the gradient.
    """
    return loss.coefficients[1] / objective.beta


def constant(objective: Objective, dim: int) -> float:
    """The nats per example that are in J and left out of the loss: J = L / lambda + this.

    Per pixel 1/2 log(2 pi sigma^2), log(2 b), 0 or 1/2 log(2 pi): the table above, D times.

    >>> round(constant(Objective("gaussian", 1.0, 1.0), dim=2), 6)  # log 2 pi
    1.837877
    """
    if objective.likelihood == "bernoulli":
        return 0.0
    if objective.likelihood == "laplace":
        return dim * math.log(2.0 * (objective.scale or 1.0))
    return dim * (0.5 * LOG_2PI + math.log(objective.scale or 1.0))


def rewritten(objective: Objective, like: Loss) -> Loss:
    """The loss with the reductions of ``like`` whose KL weight says ``objective``.

    a does not depend on the weight and c is proportional to it, c = w c_1.  From the comparison of
    coefficients, with 2 sigma^2 (mse), b (l1) or 1 as the unit u of rho,

        a = lambda / u,    c = lambda beta     so  w = beta a u / c_1

    >>> rewritten(Objective("gaussian", 1.0, 1.0), Loss("mse", "mean", 1.0, dim=100)).kl_weight
    0.02
    """
    if like.term not in objective.terms:
        known = " or ".join(objective.terms)
        raise ValueError(f"expected {known} to write this objective, got {like.term}")
    a, c_1 = replace(like, kl_weight=1.0).coefficients
    unit = _power(like.term, objective.scale or 1.0) * (2.0 if like.term == "mse" else 1.0)
    return replace(like, kl_weight=objective.beta * a * unit / c_1)


def _power(term: str, scale: float) -> float:
    """sigma^2 for mse, b for l1: what beta is multiplied by in the invariant."""
    return scale * scale if term == "mse" else scale


def _one_of(what: str, value: str, allowed: object) -> None:
    names = list(allowed)  # type: ignore[call-overload]
    if value not in names:
        raise ValueError(f"expected {what} one of {', '.join(names)}; got {value!r}")


def _positive(name: str, value: float) -> None:
    if not 1e-60 <= value <= 1e60:  # far inside the floating-point range, so no product leaves it
        raise ValueError(f"expected {name} above 0 and finite, got {value}")


def _count(name: str, value: int | None) -> None:
    if value is not None and not 1 <= value <= 10**9:
        raise ValueError(f"expected {name} of at least 1 (and at most 1e9), got {value}")
