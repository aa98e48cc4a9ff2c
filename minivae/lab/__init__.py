"""The laboratory: experiments on run folders, and what they say.

`minivae.evaluation` measures a model; here runs are trained, compared, judged and reported.

sweep.py     trainings at many KL weights, side by side, each in a process of its own
frontier.py  their points in the plane of rate and distortion
"""

from minivae.lab.frontier import Measured, measure
from minivae.lab.sweep import Trial, plan, train_all

__all__ = ["Measured", "Trial", "measure", "plan", "train_all"]
