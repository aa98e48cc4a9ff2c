"""Sum or mean?  Which KL weight?  What a loss that was written elsewhere means here.

`translation` derives beta and sigma from the coefficients of a loss, and back; `cautions` says what
is strange about it; `snippets` writes an objective in PyTorch, Keras and minivae.
"""

from minivae.conventions.cautions import cautions, scale_cautions
from minivae.conventions.snippets import FORMULAS, formula, keras, minivae_options, pytorch
from minivae.conventions.translation import (
    LIKELIHOODS,
    PRESETS,
    Loss,
    Objective,
    at_beta,
    at_scale,
    constant,
    factor,
    invariant,
    preset,
    rewritten,
)

__all__ = [
    "FORMULAS",
    "LIKELIHOODS",
    "PRESETS",
    "Loss",
    "Objective",
    "at_beta",
    "at_scale",
    "cautions",
    "constant",
    "factor",
    "formula",
    "invariant",
    "keras",
    "minivae_options",
    "preset",
    "pytorch",
    "rewritten",
    "scale_cautions",
]
