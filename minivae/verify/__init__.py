"""Proofs that the numbers are right.

gradients.py    derivatives that use no backward: complex step and differences
figures.py      a figure with its tolerance, a rung, how much it is to do
values.py, derivatives.py, densities.py, exactness.py, estimates.py, conduct.py, running.py,
machines.py     the rungs, about from bottom to top
integrals.py    what sampling only estimates
ladder.py, certificate.py    all rungs, as text and as JSON
derivatives.py, densities.py, exactness.py, quantised.py, conduct.py    the rungs, upwards
ladder.py       the certificate: all rungs, as text and as JSON
bugs/           mistakes to plant, each with the rung that must catch it
"""

from minivae.verify.certificate import Certificate, Outcome, circumstances, heading
from minivae.verify.figures import Figure, Rung, Setting, Skipped, worst
from minivae.verify.gradients import (
    central_difference,
    complex_step,
    gradient_error,
    layer_errors,
    model_errors,
)
from minivae.verify.ladder import LADDER, climb

__all__ = [
    "LADDER",
    "Certificate",
    "Figure",
    "Outcome",
    "Rung",
    "Setting",
    "Skipped",
    "central_difference",
    "circumstances",
    "climb",
    "complex_step",
    "gradient_error",
    "heading",
    "layer_errors",
    "model_errors",
    "worst",
]
