"""The bug zoo: mistakes that VAE code has been seen to make, each caught by a named rung.

A bug is a context manager that replaces one function of the library, or a few that make the mistake
together; no line of the library knows of it.  A check that has never failed proves little: the zoo
shows that every rung can.

planting.py       how a function is replaced and given back
distributions.py, training.py, steps.py, runs.py, evaluation.py, estimates.py, order.py,
conditions.py, quantised.py    the bugs
nans.py           one number that is none, for the rungs that gather figures
hunt.py           each bug's rung with and without it
"""

from minivae.verify.bugs import (
    conditions,
    distributions,
    estimates,
    evaluation,
    nans,
    order,
    quantised,
    runs,
    steps,
    training,
)
from minivae.verify.bugs.hunt import Catch, as_json, hunt
from minivae.verify.bugs.planting import Bug

ZOO: tuple[Bug, ...] = (
    *distributions.BUGS, *training.BUGS, *steps.BUGS, *runs.BUGS, *evaluation.BUGS,
    *estimates.BUGS, *order.BUGS, *conditions.BUGS, *quantised.BUGS, *nans.BUGS,
)  # fmt: skip
"""All of them."""

__all__ = ["ZOO", "Bug", "Catch", "as_json", "hunt"]
