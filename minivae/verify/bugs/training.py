"""Bugs in the objective, the loop over batches and the initial values."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae import arrays, objectives, training
from minivae.layers import Dense
from minivae.models import VAE, networks
from minivae.training import loop
from minivae.training.history import Meter
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]


def elbo_with(change: Any) -> Plant:
    """``change(result, model, x, eps, kl_weight, free_bits)`` for the objective's result."""

    def wrong(
        result: Any, model: Any, x: Any, eps: Any,
        kl_weight: float = 1.0, free_bits: float = 0.0, gradient: bool = True,
    ) -> Any:  # fmt: skip
        return change(result, model, x, eps, kl_weight, free_bits)

    return after(objectives, "elbo", wrong)


def mean_over_latents() -> Plant:
    """The KL averaged over latents: beta / K; the gradient is right for it."""
    right = objectives.elbo

    def wrong(
        model: Any, x: Any, eps: Any,
        kl_weight: float = 1.0, free_bits: float = 0.0, gradient: bool = True,
    ) -> Any:  # fmt: skip
        return right(model, x, eps, kl_weight / eps.shape[-1], free_bits, gradient)

    return replaced(objectives, "elbo", wrong)


def mean_over_pixels() -> Plant:
    """The reconstruction averaged over pixels: beta D, with the right gradient of it.

    -rec / D + beta KL is 1/D of the loss with the weight D beta, and so is its gradient.
    """
    right = objectives.elbo

    def wrong(
        model: Any, x: Any, eps: Any,
        kl_weight: float = 1.0, free_bits: float = 0.0, gradient: bool = True,
    ) -> Any:  # fmt: skip
        D, before = x.shape[1], model.parameters.grad.copy()
        result = right(model, x, eps, kl_weight * D, free_bits, gradient)
        model.parameters.grad[...] = before + (model.parameters.grad - before) / D
        reconstruction = result.reconstruction / D
        return result._replace(
            elbo=reconstruction - result.kl.sum(axis=-1),
            reconstruction=reconstruction,
            loss=result.loss / D,
        )

    return replaced(objectives, "elbo", wrong)


def sum_over_batch() -> Plant:
    """A loss, and its gradient, that grow with the batch."""

    def change(result: Any, model: Any, x: Any, *_: Any) -> Any:
        model.parameters.grad[...] *= len(x)
        return result._replace(loss=result.loss * len(x))

    return elbo_with(change)


def weight_in_the_bound() -> Plant:
    """reconstruction - beta KL is reported as the ELBO."""
    return elbo_with(
        lambda result, model, x, eps, weight, floor: result._replace(
            elbo=result.reconstruction - weight * result.kl.sum(axis=-1)
        )
    )


def weight_in_validation() -> Plant:
    """The held-out bound is charged with the training's KL weight."""

    def wrong(model: Any, x: Any, rng: Any, batch_size: int = 500, **_: Any) -> Any:
        result = model.objective(x, rng, gradient=False)
        return {"elbo": float((result.reconstruction - 0.1 * result.kl.sum(axis=-1)).mean())}

    return replaced(loop, "evaluate_objective", wrong)


def floor_per_example() -> Plant:
    """The floor is applied to each example, then averaged."""
    return elbo_with(
        lambda result, model, x, eps, weight, floor: result._replace(
            loss=weight * np.maximum(result.kl, floor).mean(axis=0).sum()
            - result.reconstruction.mean()
        )
    )


def floor_in_total() -> Plant:
    """One floor for the sum of all latents."""
    return elbo_with(
        lambda result, model, x, eps, weight, floor: result._replace(
            loss=weight * max(floor, float(result.kl.mean(axis=0).sum()))
            - result.reconstruction.mean()
        )
    )


def one_noise_for_the_batch() -> Plant:
    """eps (K,) for all examples alike."""

    def wrong(
        self: VAE, x: Any, rng: Any, gradient: bool = True, samples: int = 1, **o: Any
    ) -> Any:
        x = self.array(x)
        eps = arrays.standard_normal(rng, (samples, 1, self.architecture.latent), x)
        return objectives.elbo(self, x, np.repeat(eps, len(x), axis=1), gradient=gradient, **o)

    return replaced(VAE, "objective", wrong)


def mean_of_batch_means() -> Plant:
    """Every batch counts the same, the small last one too."""

    def add(self: Any, result: Any) -> None:
        self.seen = [*getattr(self, "seen", []), result.terms()]

    def means(self: Any) -> dict[str, float]:
        return {
            name: float(np.mean([float(t[name].mean()) for t in self.seen]))
            for name in self.seen[0]
        }

    return both(replaced(Meter, "add", add), replaced(Meter, "means", means))


def return_in_the_loop() -> Plant:
    """The held-out mean is that of the first batch."""
    right = loop.evaluate_objective

    def wrong(model: Any, x: Any, rng: Any, batch_size: int = 500, **options: Any) -> Any:
        return right(model, x[:batch_size], rng, batch_size, **options)

    return both(
        replaced(loop, "evaluate_objective", wrong), replaced(training, "evaluate_objective", wrong)
    )


def blank_bias() -> Plant:
    """The decoder's bias starts at 0, not at the data's logit."""
    return replaced(networks, "logit", lambda mean: 0.0 * mean)


def bias_is_the_mean() -> Plant:
    """The mean itself where its logit belongs."""
    return replaced(networks, "logit", lambda mean: mean)


def small_weights() -> Plant:
    """Weights with the standard deviation 0.05 in every layer."""
    return after(
        Dense,
        "initial",
        lambda values, self, rng: {**values, "W": 0.05 * rng.standard_normal(values["W"].shape)},
    )


BUGS = (
    Bug("the KL averaged over latents", 1,
        "beta = 1 / K is called a VAE: good reconstructions, bad samples.", "water-filling",
        mean_over_latents),
    Bug("the reconstruction averaged over pixels", 1,
        "beta = D: every latent collapses.", "linear VAE", mean_over_pixels),
    Bug("a sum over the batch", 2,
        "The best learning rate changes with the batch size.", "batch size", sum_over_batch),
    Bug("a KL weight in the reported ELBO", 11,
        "A smaller beta gives a 'better bound'.", "charges", weight_in_the_bound),
    Bug("a KL weight in the held-out bound", 11,
        "The best checkpoint is the one with the smallest weight.", "charges",
        weight_in_validation),
    Bug("free bits for each example", 18,
        "The floor costs more than it says.", "charges", floor_per_example),
    Bug("free bits in total", 18,
        "One latent takes the whole allowance.", "charges", floor_in_total),
    Bug("one eps for the whole batch", 13,
        "Gradients of a batch are as noisy as those of one example.", "moments",
        one_noise_for_the_batch),
    Bug("a mean of batch means", 10,
        "Scores change with the batch size.", "batch size", mean_of_batch_means),
    Bug("a return inside the batch loop", 10,
        "The score is that of the first batch.", "batch size", return_in_the_loop),
    Bug("an output bias of zero", 23,
        "The first epochs are spent on learning the mean.", "step 0", blank_bias),
    Bug("an output bias at the mean, not its logit", 23,
        "The first loss is far from the entropy of the pixels.", "step 0", bias_is_the_mean),
    Bug("initial weights that ignore the width", 23,
        "Deep networks start out silent.", "step 0", small_weights),
)  # fmt: skip
