"""Proofs that the numbers are right.

gradients.py    derivatives that use no backward: complex step and differences
figures.py      a figure with its tolerance, a rung, how much it is to do
derivatives.py, densities.py, exactness.py, conduct.py    the rungs, from bottom to top
ladder.py       the certificate: all rungs, as text and as JSON
bugs/           mistakes to plant, each with the rung that must catch it
"""

from minivae.verify.figures import Figure, Rung, Setting, Skipped
from minivae.verify.gradients import (
    central_difference,
    complex_step,
    gradient_error,
    layer_errors,
    model_errors,
)
from minivae.verify.ladder import LADDER, Certificate, Outcome, climb, heading

__all__ = [
    "LADDER",
    "Certificate",
    "Figure",
    "Outcome",
    "Rung",
    "Setting",
    "Skipped",
    "central_difference",
    "climb",
    "complex_step",
    "gradient_error",
    "heading",
    "layer_errors",
    "model_errors",
]
