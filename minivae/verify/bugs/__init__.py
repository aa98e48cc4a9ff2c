"""The bug zoo: mistakes that VAE code has been seen to make, each caught by a named rung.

A bug is a context manager that replaces one function of the library, or two that make the mistake
together; no line of the library knows of it.  A check that has never failed proves little: the zoo
shows that every rung can.

planting.py       how a function is replaced and given back
distributions.py, training.py, steps.py, evaluation.py    the bugs
hunt.py           each bug's rung with and without it
"""

from minivae.verify.bugs import distributions, evaluation, steps, training
from minivae.verify.bugs.hunt import Catch, hunt
from minivae.verify.bugs.planting import Bug

ZOO: tuple[Bug, ...] = (*distributions.BUGS, *training.BUGS, *steps.BUGS, *evaluation.BUGS)
"""All of them."""

__all__ = ["ZOO", "Bug", "Catch", "hunt"]
