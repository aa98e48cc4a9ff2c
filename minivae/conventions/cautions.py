"""What is strange about a loss, in one sentence each; nothing here is an error."""

import math

from minivae.conventions.translation import Loss, Objective


def cautions(loss: Loss, objective: Objective, data_range: float = 1.0) -> list[str]:
    """What is strange about a loss, one sentence each; none is an error.

    data_range  the largest pixel minus the smallest.  A variable with this range has a standard
                deviation of at most half of it (Popoviciu): noise above that hides any pixel.
    """
    notes = reduction_cautions(loss) + scale_cautions(objective, data_range)
    if loss.term == "bce":
        notes.append(
            "bce on grey pixels is no likelihood: its values are comparable with nothing, and "
            "its minimum is the entropy of the pixels, not 0. Binarise, or use mse."
        )
        if data_range > 1.0:
            notes.append(f"bce wants pixels from 0 to 1; a range of {data_range:g} is not.")
    return notes


def reduction_cautions(loss: Loss) -> list[str]:
    """What the means and sums of a loss make depend on a size that should not matter."""
    notes = []
    if loss.pixels == "mean":
        notes.append(
            "pixels are averaged: what the KL weight means depends on the image size. With twice "
            f"the pixels the same weight is twice the beta{_of_scale(loss.term)}."
        )
    if loss.latents == "mean":
        notes.append(
            f"the KL is averaged over the latents: beta is divided by K = {loss.latent}, and "
            "another number of latents is another beta."
        )
    if len(set(loss.batches)) == 2:
        notes.append(
            "one term is summed over the batch, the other averaged: beta depends on the batch "
            f"size, and a smaller last batch has another one. This is for B = {loss.batch_size}."
        )
    elif loss.batch == "sum":
        notes.append(
            "the batch is summed: loss and gradient grow with the batch size (for SGD a learning "
            f"rate times B = {loss.batch_size}), but not beta. Compare loss / B."
        )
    return notes


def scale_cautions(objective: Objective, data_range: float = 1.0) -> list[str]:
    """A noise larger than the data, or finer than their grey levels; a beta far from 1."""
    notes, beta, scale = [], objective.beta, objective.scale
    if scale is not None:
        sd = scale * (math.sqrt(2.0) if objective.likelihood == "laplace" else 1.0)
        if sd > data_range / 2.0:
            what = "the data's range" if sd > data_range else "half the data's range"
            notes.append(
                f"at beta = {beta:.4g} a pixel's sd is {sd:.3g}, larger than {what} "
                f"({data_range:g}): a blurry decoder, fine detail costs more nats than it earns."
            )
        elif sd < data_range / 255.0:
            notes.append(
                f"at beta = {beta:.4g} a pixel's sd is {sd:.3g}, below one of 256 grey levels: "
                "the density has no upper bound there. Add noise to the data first (dequantise)."
            )
    if beta >= 10.0:
        notes.append(
            f"beta = {beta:.4g} is far above 1: no ELBO. A latent must earn {beta:.4g} nats of "
            "reconstruction for each nat of its KL, or it is switched off."
        )
    elif beta <= 0.1:
        notes.append(
            f"beta = {beta:.4g} is far below 1: no ELBO, and nearly an autoencoder. Its samples "
            "from the prior suffer."
        )
    return notes


def _of_scale(term: str) -> str:
    return {"mse": " * sigma^2", "l1": " * b"}.get(term, "")
