"""Bugs of vector quantisation."""

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae import codebook
from minivae.codebook import Averages, Codebook
from minivae.models import VQVAE, quantisation
from minivae.verify import quantised as rung
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]


def swapped_terms() -> Plant:
    """The commitment's weight on the entries, the codebook's on the encoder."""
    right = quantisation.quantised

    def wrong(model: Any, x: Any, commitment: float = 0.25, codebook: float = 1.0,
              gradient: bool = True) -> Any:  # fmt: skip
        return right(model, x, codebook, commitment, gradient)

    return replaced(quantisation, "quantised", wrong)


def summed_over_the_batch() -> Plant:
    """The distance summed over the batch and added to every example."""
    right = quantisation.quantised

    def wrong(model: Any, x: Any, *weights: Any, **options: Any) -> Any:
        result = right(model, x, *weights, **options)
        total = result.distance.sum() - result.distance.mean()
        return result._replace(loss=result.loss + 1.25 * total)

    return replaced(quantisation, "quantised", wrong)


def lost_gradient() -> Plant:
    """The derivative of the nearest entry, which is 0: nothing reaches the encoder."""
    return after(Codebook, "backward", lambda dz, *_: 0.0 * dz)


def averages_from_zero() -> Plant:
    """The shares start at 0, the totals at the entries: total / share throws the unused far off."""

    def start(values: dict, self: Codebook, rng: Any) -> dict:
        return {**values, "share": 0.0 * values["share"] + 1e-5, "total": values["E"]}

    return after(Codebook, "initial", start)


def counted_not_averaged() -> Plant:
    """total is divided by the smoothed counts of the batch, not by its own share."""
    right = codebook.moved

    def wrong(before: Averages, index: Any, z: Any, decay: float = 0.99,
              smoothing: float = 1e-5) -> Averages:  # fmt: skip
        now = right(before, index, z, decay, smoothing)
        n = np.maximum(np.bincount(index, minlength=len(now.share)), 1.0)
        return now._replace(E=now.total * len(z) / (n + 1.0)[:, None])

    return both(replaced(codebook, "moved", wrong), replaced(rung, "moved", wrong))


def last_of_equals() -> Plant:
    """Of equal entries the last: duplicates, made by a restart, are never told apart."""
    right = codebook.nearest

    def wrong(z: Any, E: Any) -> Any:
        return len(E) - 1 - right(z, E[::-1])

    return both(replaced(codebook, "nearest", wrong), replaced(rung, "nearest", wrong))


def blurred_by_a_far_entry() -> Plant:
    """What counts as equally near is measured by the longest entry, not by each entry's own."""

    def wrong(z: Any, E: Any) -> Any:
        lengths = (E * E).sum(axis=1)
        distance = lengths - 2.0 * (z @ E.T)
        size = (z * z).sum(axis=1, keepdims=True) + lengths.max()
        least = distance.min(axis=1, keepdims=True)
        return (distance <= least + 8.0 * np.finfo(z.dtype).eps * size).argmax(axis=1)

    return both(replaced(codebook, "nearest", wrong), replaced(rung, "nearest", wrong))


def dead_for_good() -> Plant:
    """Entries that nobody chose are counted, and left where they are."""
    return replaced(VQVAE, "after_epoch", lambda self, rng: {"perplexity": 1.0, "restarted": 0.0})


def base_and_exponent() -> Plant:
    """M^n_codes codes where there are n_codes^M."""

    def wrong(M: int, n_codes: int) -> float:
        return n_codes * math.log(M)

    return both(replaced(codebook, "hidden_rate", wrong), replaced(rung, "hidden_rate", wrong))


BUGS = (
    Bug("codebook and commitment terms swapped", 21,
        "Codes hardly stay near their entries, or entries hardly follow.", "quantisation",
        swapped_terms),
    Bug("a VQ term that grows with the batch", 2,
        "The same images cost four times as much in batches of four times the size.",
        "quantisation", summed_over_the_batch),
    Bug("no gradient through the codebook", 21,
        "The encoder hears of its commitment alone, and reconstructions stay poor.",
        "quantisation", lost_gradient),
    Bug("moving averages that start at zero", 21,
        "Unused codes at 100 times the data's norm after a step.", "quantisation",
        averages_from_zero),
    Bug("moving averages without their share", 21,
        "Entries shorter or longer than the codes they stand for.", "quantisation",
        counted_not_averaged),
    Bug("of equal entries the last", 21,
        "Which of two equal entries is used depends on the code, and codes are not repeated.",
        "quantisation", last_of_equals),
    Bug("nearness measured by the longest entry", 21,
        "One entry runs away, and the codes of all images become the same few.", "quantisation",
        blurred_by_a_far_entry),
    Bug("dead entries that stay dead", 21,
        "The perplexity falls, and never rises again.", "quantisation", dead_for_good),
    Bug("a hidden rate of n_codes log M", 21,
        "More codes seem to cost hardly more than few.", "quantisation", base_and_exponent),
)  # fmt: skip
