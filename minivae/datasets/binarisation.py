"""Black and white from grey: four ways, because nats differ between them.

A Bernoulli decoder is a distribution of black-and-white images. On grey values its cross-entropy
is not a likelihood (its minimum is the data's own entropy, not 0), and thresholding makes the data
much easier to predict than drawing does. So the way belongs beside every number that is reported.

    none       the grey values as they are
    threshold  1 where x >= 1/2
    fixed      drawn once, each pixel 1 with probability x: a data set like any other
    new        drawn afresh at every visit: infinitely many examples, hardly any overfitting

`fixed` and `new` are the same draw; what differs is who calls it, and when. For the held-out
splits there is no difference: they are always drawn once, with a known seed, so that everyone
is measured on the same pixels.

Source    Salakhutdinov and Murray (2008) for drawing; Burda, Grosse and Salakhutdinov (2015),
          section 5 and appendix D, for what the choice does to the reported numbers.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from minivae.arrays import Array, cast, dtype_name, uniform
from minivae.datasets.base import Dataset, Split
from minivae.datasets.streamed import Streamed
from minivae.datasets.values import require_unit_interval

CHOICES = ("none", "threshold", "fixed", "new")
SEEDS = {"train": 776, "test": 777, "valid": 778}


def binarise(x: Array, how: str, rng: Any = None) -> Array:
    """Binarise grey values.

    Shapes    x any shape, float32 or float64, in [0, 1]; the result has x's shape and dtype.
    how       one of CHOICES; "none" returns x itself. "fixed" is for a caller that keeps the
              result, "new" for one that calls again at every use; the draw is the same.
    rng       a numpy.random.Generator, or a CuPy one if x is a CuPy array; only drawing needs it.
    Law       E[binarise(x, "new", rng)] = x, so 0 and 1 always stay what they are.
    Raises    ValueError for an unknown `how`, or if a draw is asked for without an rng or from
              values that are not float32 or float64.
    """
    check_how(how)
    if how == "none":
        return x
    if how == "threshold":
        return cast(x >= 0.5, x)
    if rng is None:
        raise ValueError(f"binarise: {how!r} draws pixels and needs rng=, a random generator")
    if dtype_name(x) not in ("float32", "float64"):
        raise ValueError(f"binarise: {how!r} expects x float32 or float64, got {x.dtype}")
    # The uniform numbers lie in [0, 1), hence < and not <=: x = 0 is never drawn, x = 1 always.
    return cast(uniform(rng, x.shape, x) < x, x)


def binarise_splits(dataset: Dataset, how: str) -> Dataset:
    """The data set as an experiment uses it: held-out splits that will never change again.

    none, threshold   applied to all splits.
    fixed             each split drawn once with its own seed: default_rng(776) for train,
                      default_rng(778) for valid, default_rng(777) for test.
    new               valid and test as in "fixed"; train stays grey, and whoever visits a batch
                      calls binarise(batch, "new", rng).
    So the test split is default_rng(777).random(x.shape, dtype=float32) < x, all at once.
    Raises            ValueError for an unknown `how`, for values outside [0, 1], which are no
                      probabilities, and for "threshold" and "fixed" of a streamed train, whose
                      result would have to be kept somewhere.
    """
    check_how(how)
    if how in ("threshold", "fixed") and isinstance(dataset.train.x, Streamed):
        raise ValueError(
            f"{dataset.name} is read from disk and cannot be binarised as {how!r}, which would "
            "have to be kept in memory: choose 'new' or 'none', or load_file(..., in_memory=True)"
        )

    def draw(part: str) -> Split:
        split: Split = getattr(dataset, part)
        if how != "none" and isinstance(split.x, np.ndarray):  # what is streamed: Model.check
            require_unit_interval(split.x, f"the binarisation of {dataset.name} ({part})")
        if how == "new" and part == "train":
            return split
        return replace(split, x=binarise(split.x, how, np.random.default_rng(SEEDS[part])))

    return replace(dataset, train=draw("train"), valid=draw("valid"), test=draw("test"))


def check_how(how: str) -> None:
    """Raise a ValueError that lists the choices unless `how` is one of them."""
    if how not in CHOICES:
        raise ValueError(f"binarisation: expected one of {', '.join(CHOICES)}, got {how!r}")
