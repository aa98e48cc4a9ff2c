"""An objective as a formula, and as the lines to write in PyTorch, Keras and minivae."""

from minivae.conventions.translation import Objective

FORMULAS = {
    "mse": "(x - x_hat)^2",
    "l1": "|x - x_hat|",
    "bce": "cross-entropy(x, x_hat)",
    "gaussian-nll": "1/2 [log v + (x - x_hat)^2 / v]",
}
"""The reconstruction terms, one pixel each; v is the decoder's variance."""

PIXELS = {
    "gaussian": "sum_d (x - x_hat)^2 / (2 sigma^2) + D/2 log(2 pi sigma^2)",
    "laplace": "sum_d |x - x_hat| / b + D log(2 b)",
    "bernoulli": "sum_d cross-entropy(x, x_hat)",
    "learned": "sum_d 1/2 [log(2 pi v) + (x - x_hat)^2 / v]",
}
"""-log p(x|z) with its constants, by kind of objective."""


def formula(objective: Objective) -> str:
    """The objective in nats per example, all constants included.

    >>> formula(Objective("laplace", 1.0, 0.1))
    'sum_d |x - x_hat| / b + D log(2 b) + sum_k KL'
    """
    weight = "" if objective.beta == 1.0 else "beta "
    return f"{PIXELS[_kind(objective)]} + {weight}sum_k KL"


def pytorch(objective: Objective) -> list[str]:
    """The loss in PyTorch.  Its `reduction="sum"` runs over pixels and batch, hence the len(x).

    >>> print(pytorch(Objective("gaussian", 1.0, 0.2))[1])
    rec = F.mse_loss(x_hat, x, reduction="sum") / (2 * sigma**2)
    """
    reconstruction = {
        "gaussian": 'F.mse_loss(x_hat, x, reduction="sum") / (2 * sigma**2)',
        "laplace": 'F.l1_loss(x_hat, x, reduction="sum") / b',
        "bernoulli": 'F.binary_cross_entropy_with_logits(logits, x, reduction="sum")',
        "learned": 'F.gaussian_nll_loss(x_hat, x, var, reduction="sum")',
    }[_kind(objective)]
    return [
        _assignment(objective),
        f"rec = {reconstruction}",
        "kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()",
        "loss = (rec + beta * kl) / len(x)",
    ]


def keras(objective: Objective, dim: int) -> list[str]:
    """The same in Keras, whose losses average over the last axis: x is (B, D), hence the D."""
    reconstruction = {
        "gaussian": f"{dim} * losses.mean_squared_error(x, x_hat) / (2 * sigma**2)",
        "laplace": f"{dim} * losses.mean_absolute_error(x, x_hat) / b",
        "bernoulli": f"{dim} * losses.binary_crossentropy(x, logits, from_logits=True)",
        "learned": "0.5 * ops.sum(ops.log(var) + (x - x_hat) ** 2 / var, axis=-1)",
    }[_kind(objective)]
    return [
        _assignment(objective),
        f"rec = {reconstruction}",
        "kl = 0.5 * ops.sum(mu**2 + ops.exp(logvar) - logvar - 1, axis=-1)",
        "loss = ops.mean(rec + beta * kl)",
    ]


def minivae_options(objective: Objective) -> dict[str, str | float] | None:
    """The options of `minivae train` with the same objective; None: minivae has no Laplace."""
    if objective.likelihood == "laplace":
        return None
    options: dict[str, str | float] = {"likelihood": objective.likelihood}
    if objective.likelihood == "gaussian":
        options["variance"] = "pixel" if objective.scale is None else "fixed"
    if objective.scale is not None:
        options["sigma"] = objective.scale
    return {**options, "kl-weight": objective.beta}


def _kind(objective: Objective) -> str:
    learned = objective.likelihood == "gaussian" and objective.scale is None
    return "learned" if learned else objective.likelihood


def _assignment(objective: Objective) -> str:
    if objective.scale is None:
        return f"beta = {objective.beta:.8g}"
    name = "b" if objective.likelihood == "laplace" else "sigma"
    return f"beta, {name} = {objective.beta:.8g}, {objective.scale:.8g}"
