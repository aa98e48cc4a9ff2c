"""Worlds whose numbers are known exactly, so that an estimate can be held against the truth.

`discrete` is small enough to count, and `forms` derives the ELBO in it eight times; `quadrature`
integrates any decoder with one or two latents, on a `lattice`.
"""

from minivae.exact.discrete import DiscreteWorld
from minivae.exact.forms import FORMS, eight_forms, evidence_upper_bound, iwae
from minivae.exact.lattice import Quadrature, log_integral
from minivae.exact.quadrature import ExactBound, exact_bound, exact_evidence

__all__ = [
    "FORMS",
    "DiscreteWorld",
    "ExactBound",
    "Quadrature",
    "eight_forms",
    "evidence_upper_bound",
    "exact_bound",
    "exact_evidence",
    "iwae",
    "log_integral",
]
